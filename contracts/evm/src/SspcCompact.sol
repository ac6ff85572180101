// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Stale, TooEarly, UnknownToken, WrongAmount, WrongPhase, WrongRound, WrongSender, WrongTerms} from "./Errors.sol";
import {Signed} from "./Signed.sol";
import {Terms} from "./Terms.sol";
import {Vault} from "./Vault.sol";
import {CLOSING_BY_A, CLOSING_BY_B, OPEN, PROPOSED} from "./Word.sol";

/// @title Two-party payment channels for chains where calldata is dear
/// @notice The rules of `Sspc`; the parameters lie in storage and the id is a counter, so that a call takes at most 100 bytes.
/// @dev Arguments are packed by hand, the lowest bits last. Only `disputeFor` and `closeMany` are longer. Rules: SPECIFICATION.md.
contract SspcCompact is Signed, Terms, Vault {
    /// What is kept of a channel: three words, deleted at the close. Ids are counted and do not come back.
    struct Channel {
        address a;
        uint8 phase;
        uint40 deadline;
        uint48 round;
        address b;
        uint32 period;
        uint32 token;
        uint128 balanceA;
        uint128 balanceB;
    }

    /// @notice One agreed close in `closeMany`: `close` as in `cooperativeClose`, r and vs a's signature over `Close`
    struct Item {
        uint256 close;
        bytes32 r;
        bytes32 vs;
    }

    /// @notice A channel exists; it is open at once when b deposits nothing
    event Opened(uint64 indexed id, address indexed a, address indexed b);
    /// @notice b made its deposit; the channel is open
    event Accepted(uint64 indexed id);
    /// @notice A unilateral close is on record; it can be finished after the deadline
    event Closing(uint64 indexed id, uint48 round, uint128 balanceA, uint40 deadline);
    /// @notice The channel is closed and paid out, balanceA to a and the rest to b; a cancelled one has no rest
    event Closed(uint64 indexed id, uint128 balanceA);
    /// @notice A token can be used by its index from now on
    event TokenRegistered(uint32 indexed index, address indexed token);

    bytes32 private constant _STATE =
        keccak256("State(uint64 channel,address a,address b,uint128 balanceA,uint128 balanceB,uint48 round)");
    bytes32 private constant _CLOSE =
        keccak256("Close(uint64 channel,address a,address b,uint128 balanceA,uint128 balanceB)");

    /// @notice How many channels were opened; the newest has this id
    uint64 public count;
    /// @notice How many tokens were registered; their indexes start at 1
    uint32 public tokenCount;
    /// @notice What is on record of a channel: phase 0 none or closed, 1 proposed, 2 open, 3 closing by a, 4 closing by b
    mapping(uint64 id => Channel) public channels;
    /// @notice The token of an index; index 0 is the native coin
    mapping(uint32 index => address) public tokens;
    /// @notice The index of a token
    mapping(address token => uint32) public tokenIndex;

    constructor(uint32 shortest, uint32 longest) Terms(shortest, longest) {}

    /// @notice Gives a token an index; anyone, once per token
    function registerToken(address token) external returns (uint32 index) {
        if (tokenIndex[token] != 0 || token.code.length == 0) revert UnknownToken();
        index = ++tokenCount;
        tokens[index] = token;
        tokenIndex[token] = index;
        emit TokenRegistered(index, token);
    }

    /// @notice Makes a channel in the native coin with the value sent as a's deposit; the caller is a
    /// @param terms period (32 bits) | b (160)
    function open(uint256 terms, uint128 valueB) external payable returns (uint64) {
        if (terms >> 192 != 0) revert WrongTerms();
        return _open(terms, msg.value, valueB);
    }

    /// @notice Makes a channel in a token; the caller is a
    /// @param terms token index (32 bits) | period (32) | b (160)
    /// @param values valueA (128) | valueB (128)
    function openToken(uint256 terms, uint256 values) external payable returns (uint64) {
        if (terms >> 224 != 0) revert WrongTerms();
        return _open(terms, values >> 128, uint128(values));
    }

    /// @notice Makes b's deposit; b calls it
    function accept(uint64 id) external payable {
        Channel storage channel = channels[id];
        if (channel.phase != PROPOSED) revert WrongPhase();
        if (msg.sender != channel.b) revert WrongSender();
        channel.phase = uint8(OPEN);
        emit Accepted(id);
        _take(_token(channel.token), channel.balanceB);
    }

    /// @notice Takes back a channel that b has not accepted; a calls it
    function cancel(uint64 id) external {
        Channel memory channel = channels[id];
        if (channel.phase != PROPOSED) revert WrongPhase();
        if (msg.sender != channel.a) revert WrongSender();
        address token = _token(channel.token);
        _close(id, channel.balanceA);
        _pay(token, channel.a, channel.balanceA);
    }

    /// @notice Closes with balances the other party signed as final; a or b calls it, also during a unilateral close
    /// @param close id (64 bits) | balanceA (128)
    function cooperativeClose(uint256 close, bytes32 r, bytes32 vs) external {
        (uint64 id, uint128 balanceA) = _unpackClose(close);
        Channel memory channel = channels[id];
        if (channel.phase < OPEN) revert WrongPhase();
        (, address peer) = _sides(channel);
        _requireSigned(_hashClose(id, channel, balanceA), r, vs, peer);
        _settle(id, channel, balanceA);
    }

    /// @notice Starts a unilateral close with the newest state the other party signed, or with round 0 and the deposits
    /// @param state id (64 bits) | round (48) | balanceA (128)
    function challenge(uint256 state, bytes32 r, bytes32 vs) external {
        (uint64 id, uint48 round, uint128 balanceA) = _unpackState(state);
        Channel memory channel = channels[id];
        if (channel.phase != OPEN) revert WrongPhase();
        (bool byA, address peer) = _sides(channel);
        if (round == 0) {
            if (balanceA != channel.balanceA) revert WrongAmount();
        } else {
            _requireState(id, channel, balanceA, round, r, vs, peer, !byA);
        }
        uint40 deadline = uint40(block.timestamp + channel.period);
        _record(id, channel, uint8(byA ? CLOSING_BY_A : CLOSING_BY_B), deadline, round, balanceA);
    }

    /// @notice Ends a unilateral close at once with a newer state that the closer signed; the other party calls it
    /// @dev An honest closer put its newest state on record: what it signed after that only gives the other party more.
    /// @param state id (64 bits) | round (48) | balanceA (128)
    function disputeChallenge(uint256 state, bytes32 r, bytes32 vs) external {
        (uint64 id, uint48 round, uint128 balanceA) = _unpackState(state);
        Channel memory channel = channels[id];
        bool byA = _closingByA(channel);
        (address closer, address other) = byA ? (channel.a, channel.b) : (channel.b, channel.a);
        if (msg.sender != other) revert WrongSender();
        if (round <= channel.round) revert Stale();
        _requireState(id, channel, balanceA, round, r, vs, closer, byA);
        _settle(id, channel, balanceA);
    }

    /// @notice Puts a newer state that both parties signed on record, the deadline as it was; anyone calls it
    /// @dev One signature would let a closer bring a last state of its own by a second account.
    /// @param state id (64 bits) | round (48) | balanceA (128)
    function disputeFor(uint256 state, bytes32 rA, bytes32 vsA, bytes32 rB, bytes32 vsB) external {
        (uint64 id, uint48 round, uint128 balanceA) = _unpackState(state);
        Channel memory channel = channels[id];
        _closingByA(channel);
        if (round <= channel.round) revert Stale();
        bytes32 hash = _hashState(id, channel, balanceA, round);
        _requireSigned(hash, rA, vsA, channel.a);
        _requireSigned(hash, rB, vsB, channel.b);
        _record(id, channel, channel.phase, channel.deadline, round, balanceA);
    }

    /// @notice Finishes a unilateral close after its deadline; anyone calls it
    function forceClose(uint64 id) external {
        Channel memory channel = channels[id];
        _closingByA(channel);
        if (block.timestamp <= channel.deadline) revert TooEarly();
        _settle(id, channel, channel.balanceA);
    }

    /// @notice Closes many channels of one token in which the caller is b, each with a's signature; b is paid once
    function closeMany(Item[] calldata items) external {
        if (items.length == 0) revert WrongTerms();
        address[] memory payers = new address[](items.length);
        uint32 index;
        uint256 owed;
        for (uint256 i; i < items.length; ++i) {
            (uint64 id, uint128 balanceA) = _unpackClose(items[i].close);
            Channel memory channel = channels[id];
            if (channel.phase < OPEN) revert WrongPhase();
            if (msg.sender != channel.b) revert WrongSender();
            if (i == 0) index = channel.token;
            else if (channel.token != index) revert WrongTerms();
            owed += _rest(channel, balanceA);
            _requireSigned(_hashClose(id, channel, balanceA), items[i].r, items[i].vs, channel.a);
            _close(id, balanceA);
            payers[i] = channel.a;
        }
        address token = _token(index);
        for (uint256 i; i < items.length; ++i) {
            (, uint128 balanceA) = _unpackClose(items[i].close);
            _pay(token, payers[i], balanceA);
        }
        _pay(token, msg.sender, owed);
    }

    function _open(uint256 terms, uint256 valueA, uint128 valueB) private returns (uint64 id) {
        address b = address(uint160(terms));
        uint32 period = uint32(terms >> 160);
        uint32 token = uint32(terms >> 192);
        _requireTerms(msg.sender, b, period);
        unchecked {
            if (valueA > type(uint128).max || valueA + valueB > type(uint128).max) revert WrongAmount();
            id = ++count;
        }
        Channel storage channel = channels[id];
        channel.a = msg.sender;
        channel.phase = uint8(valueB == 0 ? OPEN : PROPOSED);
        channel.deadline = 0;
        channel.round = 0;
        channel.b = b;
        channel.period = period;
        channel.token = token;
        channel.balanceA = uint128(valueA);
        channel.balanceB = valueB;
        emit Opened(id, msg.sender, b);
        _take(_token(token), valueA);
    }

    function _token(uint32 index) private view returns (address token) {
        if (index == 0) return _NATIVE;
        token = tokens[index];
        if (token == address(0)) revert UnknownToken();
    }

    function _unpackClose(uint256 close) private pure returns (uint64 id, uint128 balanceA) {
        if (close >> 192 != 0) revert WrongTerms();
        return (uint64(close >> 128), uint128(close));
    }

    function _unpackState(uint256 state) private pure returns (uint64 id, uint48 round, uint128 balanceA) {
        if (state >> 240 != 0) revert WrongTerms();
        return (uint64(state >> 176), uint48(state >> 128), uint128(state));
    }

    /// Whether the caller is a, and the other party. Reverts when the caller is neither.
    function _sides(Channel memory channel) private view returns (bool callerIsA, address peer) {
        if (msg.sender == channel.a) return (true, channel.b);
        if (msg.sender == channel.b) return (false, channel.a);
        revert WrongSender();
    }

    function _closingByA(Channel memory channel) private pure returns (bool) {
        if (channel.phase == CLOSING_BY_A) return true;
        if (channel.phase == CLOSING_BY_B) return false;
        revert WrongPhase();
    }

    /// What b has when a has `balanceA`.
    function _rest(Channel memory channel, uint128 balanceA) private pure returns (uint256) {
        unchecked {
            uint256 total = uint256(channel.balanceA) + channel.balanceB;
            if (balanceA > total) revert WrongAmount();
            return total - balanceA;
        }
    }

    /// Reverts unless the state is signed by `signer` in one of the rounds that are its own.
    function _requireState(
        uint64 id,
        Channel memory channel,
        uint128 balanceA,
        uint48 round,
        bytes32 r,
        bytes32 vs,
        address signer,
        bool signerIsA
    ) private view {
        if ((round & 1 == 1) != signerIsA) revert WrongRound();
        _requireSigned(_hashState(id, channel, balanceA, round), r, vs, signer);
    }

    function _hashState(uint64 id, Channel memory channel, uint128 balanceA, uint48 round) internal pure returns (bytes32) {
        return keccak256(abi.encode(_STATE, id, channel.a, channel.b, balanceA, _rest(channel, balanceA), round));
    }

    function _hashClose(uint64 id, Channel memory channel, uint128 balanceA) internal pure returns (bytes32) {
        return keccak256(abi.encode(_CLOSE, id, channel.a, channel.b, balanceA, _rest(channel, balanceA)));
    }

    /// Puts a state of a unilateral close on record.
    function _record(uint64 id, Channel memory channel, uint8 phase, uint40 deadline, uint48 round, uint128 balanceA) private {
        Channel storage stored = channels[id];
        if (balanceA != channel.balanceA) {
            (stored.balanceA, stored.balanceB) = (balanceA, uint128(_rest(channel, balanceA)));
        }
        (stored.a, stored.phase, stored.deadline, stored.round) = (channel.a, phase, deadline, round);
        emit Closing(id, round, balanceA, deadline);
    }

    function _close(uint64 id, uint128 balanceA) private {
        delete channels[id];
        emit Closed(id, balanceA);
    }

    function _settle(uint64 id, Channel memory channel, uint128 balanceA) private {
        uint256 rest = _rest(channel, balanceA);
        address token = _token(channel.token);
        _close(id, balanceA);
        _pay(token, channel.a, balanceA);
        _pay(token, channel.b, rest);
    }
}
