// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Stale, TooEarly, WrongAmount, WrongPhase, WrongRound, WrongSender, WrongTerms} from "./Errors.sol";
import {Signed} from "./Signed.sol";
import {Terms} from "./Terms.sol";
import {Vault} from "./Vault.sol";
import {CLOSED, CLOSING_BY_A, CLOSING_BY_B, NONE, OPEN, PROPOSED, Word, pack} from "./Word.sol";

/// @title Two-party payment channels, one storage word each
/// @notice a opens and deposits, b accepts and deposits; they exchange signed balances; either leaves, with the other or alone.
/// @dev The parameters travel in calldata and hash to the id. Rules: SPECIFICATION.md.
contract Sspc is Signed, Terms, Vault {
    /// @notice What a channel is made of; its id is the hash of these seven words
    /// @param a the party that opens; signs the odd rounds
    /// @param b the other party; signs the even rounds
    /// @param token the ERC-20 token, or zero for the native coin
    /// @param valueA what a deposits
    /// @param valueB what b deposits; zero makes the channel live without `accept`
    /// @param period seconds between a unilateral close and its end
    /// @param salt tells channels apart that agree in everything else
    struct Params {
        address a;
        address b;
        address token;
        uint128 valueA;
        uint128 valueB;
        uint32 period;
        uint64 salt;
    }

    /// @notice One agreed close in `closeMany`: r and vs are a's signature over `Close`
    struct Item {
        Params params;
        uint128 balanceA;
        bytes32 r;
        bytes32 vs;
    }

    /// @notice A channel exists; it is open at once when b deposits nothing
    event Opened(bytes32 indexed id, address indexed a, address indexed b);
    /// @notice b made its deposit; the channel is open
    event Accepted(bytes32 indexed id);
    /// @notice A unilateral close is on record; it can be finished after the deadline
    event Closing(bytes32 indexed id, uint48 round, uint128 balanceA, uint40 deadline);
    /// @notice The channel is closed and paid out, balanceA to a and the rest to b; a cancelled one has no rest
    event Closed(bytes32 indexed id, uint128 balanceA);

    bytes32 private constant _STATE = keccak256("State(bytes32 channel,uint128 balanceA,uint128 balanceB,uint48 round)");
    bytes32 private constant _CLOSE = keccak256("Close(bytes32 channel,uint128 balanceA,uint128 balanceB)");

    mapping(bytes32 id => Word) private _channels;

    constructor(uint32 shortest, uint32 longest) Terms(shortest, longest) {}

    /// @notice Makes a channel with a's deposit; a calls it
    function open(Params calldata p) external payable returns (bytes32 id) {
        id = idOf(p);
        if (_channels[id].phase() != NONE) revert WrongPhase();
        if (msg.sender != p.a) revert WrongSender();
        _requireTerms(p.a, p.b, p.period);
        if (_total(p) > type(uint128).max) revert WrongAmount();
        _channels[id] = pack(p.valueB == 0 ? OPEN : PROPOSED, 0, 0, p.valueA);
        emit Opened(id, p.a, p.b);
        _take(p.token, p.valueA);
    }

    /// @notice Makes b's deposit; b calls it
    function accept(Params calldata p) external payable {
        bytes32 id = idOf(p);
        if (_channels[id].phase() != PROPOSED) revert WrongPhase();
        if (msg.sender != p.b) revert WrongSender();
        _channels[id] = pack(OPEN, 0, 0, p.valueA);
        emit Accepted(id);
        _take(p.token, p.valueB);
    }

    /// @notice Takes back a channel that b has not accepted; a calls it
    function cancel(Params calldata p) external {
        bytes32 id = idOf(p);
        if (_channels[id].phase() != PROPOSED) revert WrongPhase();
        if (msg.sender != p.a) revert WrongSender();
        _close(id, p.valueA);
        _pay(p.token, p.a, p.valueA);
    }

    /// @notice Closes with balances the other party signed as final; a or b calls it, also during a unilateral close
    function cooperativeClose(Params calldata p, uint128 balanceA, bytes32 r, bytes32 vs) external {
        bytes32 id = idOf(p);
        _requireLive(id);
        (, address peer) = _sides(p);
        _requireSigned(_hashClose(id, balanceA, _rest(p, balanceA)), r, vs, peer);
        _settle(id, p, balanceA);
    }

    /// @notice Starts a unilateral close with the newest state the other party signed, or with round 0 and the deposits
    function challenge(Params calldata p, uint128 balanceA, uint48 round, bytes32 r, bytes32 vs) external {
        bytes32 id = idOf(p);
        if (_channels[id].phase() != OPEN) revert WrongPhase();
        (bool byA, address peer) = _sides(p);
        if (round == 0) {
            if (balanceA != p.valueA) revert WrongAmount();
        } else {
            _requireState(id, p, balanceA, round, r, vs, peer, !byA);
        }
        uint40 deadline = uint40(block.timestamp + p.period);
        _channels[id] = pack(byA ? CLOSING_BY_A : CLOSING_BY_B, deadline, round, balanceA);
        emit Closing(id, round, balanceA, deadline);
    }

    /// @notice Ends a unilateral close at once with a newer state that the closer signed; the other party calls it
    /// @dev An honest closer put its newest state on record: what it signed after that only gives the other party more.
    function disputeChallenge(Params calldata p, uint128 balanceA, uint48 round, bytes32 r, bytes32 vs) external {
        bytes32 id = idOf(p);
        Word word = _channels[id];
        bool byA = _closingByA(word);
        (address closer, address other) = byA ? (p.a, p.b) : (p.b, p.a);
        if (msg.sender != other) revert WrongSender();
        if (round <= word.round()) revert Stale();
        _requireState(id, p, balanceA, round, r, vs, closer, byA);
        _settle(id, p, balanceA);
    }

    /// @notice Puts a newer state that both parties signed on record, the deadline as it was; anyone calls it
    /// @dev One signature would let a closer bring a last state of its own by a second account.
    function disputeFor(
        Params calldata p,
        uint128 balanceA,
        uint48 round,
        bytes32 rA,
        bytes32 vsA,
        bytes32 rB,
        bytes32 vsB
    ) external {
        bytes32 id = idOf(p);
        Word word = _channels[id];
        _closingByA(word);
        if (round <= word.round()) revert Stale();
        bytes32 state = _hashState(id, balanceA, _rest(p, balanceA), round);
        _requireSigned(state, rA, vsA, p.a);
        _requireSigned(state, rB, vsB, p.b);
        _channels[id] = word.withState(round, balanceA);
        emit Closing(id, round, balanceA, word.deadline());
    }

    /// @notice Finishes a unilateral close after its deadline; anyone calls it
    function forceClose(Params calldata p) external {
        bytes32 id = idOf(p);
        Word word = _channels[id];
        _closingByA(word);
        if (block.timestamp <= word.deadline()) revert TooEarly();
        _settle(id, p, word.balanceA());
    }

    /// @notice Closes many channels of one token in which the caller is b, each with a's signature; b is paid once
    function closeMany(Item[] calldata items) external {
        if (items.length == 0) revert WrongTerms();
        address token = items[0].params.token;
        uint256 owed;
        for (uint256 i; i < items.length; ++i) {
            Item calldata item = items[i];
            Params calldata p = item.params;
            bytes32 id = idOf(p);
            _requireLive(id);
            if (msg.sender != p.b) revert WrongSender();
            if (p.token != token) revert WrongTerms();
            uint256 rest = _rest(p, item.balanceA);
            _requireSigned(_hashClose(id, item.balanceA, rest), item.r, item.vs, p.a);
            _close(id, item.balanceA);
            owed += rest;
        }
        for (uint256 i; i < items.length; ++i) {
            _pay(token, items[i].params.a, items[i].balanceA);
        }
        _pay(token, msg.sender, owed);
    }

    /// @notice What is on record: phase 0 none, 1 proposed, 2 open, 3 closing by a, 4 closing by b, 5 closed
    function channels(bytes32 id) external view returns (uint8 phase, uint40 deadline, uint48 round, uint128 balanceA) {
        Word word = _channels[id];
        return (uint8(word.phase()), word.deadline(), word.round(), word.balanceA());
    }

    /// @notice The id of the channel with these parameters
    function idOf(Params calldata p) public pure returns (bytes32 id) {
        assembly ("memory-safe") {
            let free := mload(0x40)
            calldatacopy(free, p, 224)
            id := keccak256(free, 224)
        }
    }

    function _total(Params calldata p) private pure returns (uint256) {
        unchecked {
            return uint256(p.valueA) + p.valueB;
        }
    }

    /// What b has when a has `balanceA`.
    function _rest(Params calldata p, uint128 balanceA) private pure returns (uint256) {
        uint256 total = _total(p);
        if (balanceA > total) revert WrongAmount();
        unchecked {
            return total - balanceA;
        }
    }

    /// Whether the caller is a, and the other party. Reverts when the caller is neither.
    function _sides(Params calldata p) private view returns (bool callerIsA, address peer) {
        if (msg.sender == p.a) return (true, p.b);
        if (msg.sender == p.b) return (false, p.a);
        revert WrongSender();
    }

    function _closingByA(Word word) private pure returns (bool) {
        uint256 phase = word.phase();
        if (phase == CLOSING_BY_A) return true;
        if (phase == CLOSING_BY_B) return false;
        revert WrongPhase();
    }

    function _requireLive(bytes32 id) private view {
        uint256 phase = _channels[id].phase();
        if (phase < OPEN || phase == CLOSED) revert WrongPhase();
    }

    /// Reverts unless the state is signed by `signer` in one of the rounds that are its own.
    function _requireState(
        bytes32 id,
        Params calldata p,
        uint128 balanceA,
        uint48 round,
        bytes32 r,
        bytes32 vs,
        address signer,
        bool signerIsA
    ) private view {
        if ((round & 1 == 1) != signerIsA) revert WrongRound();
        _requireSigned(_hashState(id, balanceA, _rest(p, balanceA), round), r, vs, signer);
    }

    function _hashState(bytes32 id, uint128 balanceA, uint256 balanceB, uint48 round) internal pure returns (bytes32) {
        return keccak256(abi.encode(_STATE, id, balanceA, balanceB, round));
    }

    function _hashClose(bytes32 id, uint128 balanceA, uint256 balanceB) internal pure returns (bytes32) {
        return keccak256(abi.encode(_CLOSE, id, balanceA, balanceB));
    }

    function _close(bytes32 id, uint128 balanceA) private {
        _channels[id] = pack(CLOSED, 0, 0, 0);
        emit Closed(id, balanceA);
    }

    function _settle(bytes32 id, Params calldata p, uint128 balanceA) private {
        uint256 rest = _rest(p, balanceA);
        _close(id, balanceA);
        _pay(p.token, p.a, balanceA);
        _pay(p.token, p.b, rest);
    }
}
