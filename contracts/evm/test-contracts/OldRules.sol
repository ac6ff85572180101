// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

// The rules of the first generation of these channels, as small as the attacks on them need (sspc.md 2.1, 2.2). Never deploy these.

/// What both share: a bare hash is signed, the window is a day, payouts get 2300 gas and nobody looks at the result.
abstract contract OldRules {
    uint256 internal constant WINDOW = 1 days;

    function _signed(bytes32 hash, uint8 v, bytes32 r, bytes32 s, address by) internal pure {
        require(ecrecover(hash, v, r, s) == by, "signature");
    }

    function _payBoth(address a, uint256 valueA, address b, uint256 valueB) internal {
        _send(a, valueA);
        _send(b, valueB);
    }

    /// The stipend of 2300 gas and no more.
    function _send(address to, uint256 value) private {
        (bool _done,) = to.call{value: value, gas: 0}("");
        _done;
    }
}

/// Parameters in storage, a close is round 2^128 - 1 (the "L2" rules).
contract OldStored is OldRules {
    struct Channel {
        address a;
        address b;
        uint256 valueA;
        uint256 valueB;
        uint8 progress;
        address closer;
        uint256 time;
    }

    mapping(bytes32 id => Channel) public channels;

    function open(bytes32 id, address b, uint256 valueB) external payable {
        require(channels[id].progress == 0, "taken");
        channels[id] = Channel(msg.sender, b, msg.value, valueB, 1, address(0), 0);
    }

    function accept(bytes32 id) external payable {
        Channel storage c = channels[id];
        require(c.progress == 1 && msg.sender == c.b && msg.value == c.valueB);
        c.progress = 2;
    }

    function hashState(bytes32 id, uint256 valueA, uint256 valueB, uint128 round) public view returns (bytes32) {
        Channel storage c = channels[id];
        return keccak256(abi.encode(id, c.a, c.b, valueA, valueB, round));
    }

    function challenge(bytes32 id, uint256 valueA, uint256 valueB, uint128 round, uint8 v, bytes32 r, bytes32 s) external {
        Channel storage c = channels[id];
        require(c.progress == 2, "phase");
        _signed(hashState(id, valueA, valueB, round), v, r, s, msg.sender == c.a ? c.b : c.a);
        // Neither the balances nor the round are kept.
        (c.progress, c.closer, c.time) = (3, msg.sender, block.timestamp);
    }

    function disputeChallenge(bytes32 id, uint256 valueA, uint256 valueB, uint128 round, uint8 v, bytes32 r, bytes32 s) external {
        Channel storage c = channels[id];
        require(c.progress == 3 && round > 0 && c.closer != msg.sender);
        _signed(hashState(id, valueA, valueB, round), v, r, s, msg.sender == c.a ? c.b : c.a);
        (c.closer, c.time) = (msg.sender, block.timestamp);
    }

    function cooperativeClose(bytes32 id, uint256 valueA, uint256 valueB, uint8 v, bytes32 r, bytes32 s) external {
        Channel storage c = channels[id];
        require(c.progress == 2, "phase");
        _signed(hashState(id, valueA, valueB, type(uint128).max), v, r, s, msg.sender == c.a ? c.b : c.a);
        c.progress = 4;
        _payBoth(c.a, valueA, c.b, valueB);
    }

    function forceClose(bytes32 id) external {
        Channel storage c = channels[id];
        require(c.progress == 3 && block.timestamp > c.time + WINDOW);
        c.progress = 4;
        _payBoth(c.a, c.valueA, c.b, c.valueB);
    }
}

/// The hash of the state in storage, without the id; a close is a phase inside the signed state (the "mainnet" rules).
contract OldHashed is OldRules {
    struct State {
        address a;
        address b;
        uint256 valueA;
        uint256 valueB;
        uint8 progress;
        uint128 round;
    }

    mapping(bytes32 id => bytes32) public channels;
    mapping(bytes32 id => uint256) public disputes;

    function hashState(State calldata state) public pure returns (bytes32) {
        return keccak256(abi.encode(state));
    }

    /// Stands for open and accept together: both deposits come from the caller.
    function open(State calldata state, bytes32 id) external payable {
        require(channels[id] == 0 && state.progress == 1 && msg.value == state.valueA + state.valueB);
        channels[id] = hashState(state);
    }

    function challenge(State calldata from, State calldata to, uint8 v, bytes32 r, bytes32 s, bytes32 id) external {
        require(disputes[id] == 0, "disputed");
        _record(from, to, v, r, s, id);
    }

    function disputeChallenge(State calldata from, State calldata to, uint8 v, bytes32 r, bytes32 s, bytes32 id) external {
        require(to.round > from.round, "stale");
        _record(from, to, v, r, s, id);
    }

    function _record(State calldata from, State calldata to, uint8 v, bytes32 r, bytes32 s, bytes32 id) private {
        require(from.progress == 1 && channels[id] == hashState(from));
        _signed(hashState(to), v, r, s, msg.sender == to.a ? to.b : to.a);
        channels[id] = hashState(to);
        disputes[id] = block.timestamp;
    }

    function cooperativeClose(State calldata from, State calldata to, uint8 v, bytes32 r, bytes32 s, bytes32 id) external {
        require(from.progress == 1 && to.progress == 2 && channels[id] == hashState(from));
        _signed(hashState(to), v, r, s, msg.sender == to.a ? to.b : to.a);
        channels[id] = 0;
        _payBoth(to.a, to.valueA, to.b, to.valueB);
    }

    function forceClose(State calldata from, bytes32 id) external {
        require(from.progress == 1 && channels[id] == hashState(from));
        require(disputes[id] != 0 && block.timestamp > disputes[id] + WINDOW);
        channels[id] = 0;
        _payBoth(from.a, from.valueA, from.b, from.valueB);
    }
}
