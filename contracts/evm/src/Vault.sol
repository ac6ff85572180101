// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {NotEnoughGas, NotPaid, TokenRefused, WrongAmount} from "./Errors.sol";

/// @title Money in and out: the native coin and ERC-20 tokens
/// @dev What is called may call back. Callers finish their own writes before they call in here. After a call only the balance of a token deposit is
/// read, and the credit to which a payout that failed is added.
abstract contract Vault {
    /// @notice A payout failed; the owner may `withdraw` it
    event Credited(address indexed owner, address indexed token, uint256 amount);
    /// @notice The owner took what it was credited
    event Withdrawn(address indexed owner, address indexed token, address to, uint256 amount);

    /// The token address that stands for the chain's own coin.
    address internal constant _NATIVE = address(0);
    /// What a payout may spend. Enough for contract accounts and unusual tokens; too little to make an exit expensive for the other party.
    uint256 private constant _PAYOUT_GAS = 200_000;
    // Selectors of ERC-20.
    uint256 private constant _TRANSFER = 0xa9059cbb;
    uint256 private constant _TRANSFER_FROM = 0x23b872dd;
    uint256 private constant _BALANCE_OF = 0x70a08231;

    /// With this much left before a payout the callee certainly had `_PAYOUT_GAS` (63/64 of what remains after the call's own price).
    uint256 private constant _ENOUGH_GAS = 250_000;

    /// @notice Payouts that failed, by owner and token (zero: the native coin)
    mapping(address owner => mapping(address token => uint256)) public credits;

    /// A deposit inside a deposit would be counted in the balance of both.
    bool private transient _depositing;

    /// @notice Sends everything the caller is credited in `token` to `to`
    function withdraw(address token, address to) external {
        uint256 amount = credits[msg.sender][token];
        if (amount == 0) revert NotPaid();
        credits[msg.sender][token] = 0;
        emit Withdrawn(msg.sender, token, to, amount);
        if (!_send(token, to, amount, gasleft())) revert NotPaid();
    }

    /// Takes a deposit of exactly `amount` from the caller, or reverts.
    function _take(address token, uint256 amount) internal {
        if (token == _NATIVE) {
            if (msg.value != amount) revert WrongAmount();
            return;
        }
        if (msg.value != 0) revert WrongAmount();
        if (amount == 0) return;
        if (_depositing) revert TokenRefused();
        _depositing = true;
        uint256 before = _held(token);
        if (!_pull(token, amount)) revert TokenRefused();
        unchecked {
            // A token that keeps a fee delivers less; the contract would owe more than it holds.
            if (_held(token) - before != amount) revert TokenRefused();
        }
        _depositing = false;
    }

    /// Pays out, or credits what could not be paid. Never reverts because of what the recipient or the token does.
    function _pay(address token, address to, uint256 amount) internal {
        if (amount == 0) return;
        uint256 available = gasleft();
        if (_send(token, to, amount, _PAYOUT_GAS)) return;
        // Whoever sends the transaction must not be able to turn a payout into a credit by giving it too little gas.
        if (available < _ENOUGH_GAS) revert NotEnoughGas();
        credits[to][token] += amount;
        emit Credited(to, token, amount);
    }

    function _send(address token, address to, uint256 amount, uint256 gasLimit) private returns (bool sent) {
        if (token != _NATIVE) return _push(token, to, amount, gasLimit);
        assembly ("memory-safe") {
            // Nothing is copied of what the recipient returns, however long it is.
            sent := call(gasLimit, to, amount, 0, 0, 0, 0)
        }
    }

    /// `transfer(to, amount)`.
    function _push(address token, address to, uint256 amount, uint256 gasLimit) private returns (bool) {
        (bool called, uint256 answer) = (false, 0);
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, shl(224, _TRANSFER))
            mstore(add(free, 4), to)
            mstore(add(free, 36), amount)
            called := call(gasLimit, token, 0, free, 68, 0, 32)
            answer := mload(0)
        }
        return called && _saidYes(token, answer);
    }

    /// `transferFrom(msg.sender, address(this), amount)`.
    function _pull(address token, uint256 amount) private returns (bool) {
        (bool called, uint256 answer) = (false, 0);
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, shl(224, _TRANSFER_FROM))
            mstore(add(free, 4), caller())
            mstore(add(free, 36), address())
            mstore(add(free, 68), amount)
            called := call(gas(), token, 0, free, 100, 0, 32)
            answer := mload(0)
        }
        return called && _saidYes(token, answer);
    }

    /// What the last call says: a token answers true, or nothing at all as some do. An account without code says nothing either, and
    /// is no token.
    function _saidYes(address token, uint256 answer) private view returns (bool yes) {
        assembly ("memory-safe") {
            switch returndatasize()
            case 0 { yes := iszero(iszero(extcodesize(token))) }
            default { yes := and(gt(returndatasize(), 31), eq(answer, 1)) }
        }
    }

    /// `balanceOf(address(this))`.
    function _held(address token) private view returns (uint256 amount) {
        bool answered;
        assembly ("memory-safe") {
            mstore(0, shl(224, _BALANCE_OF))
            mstore(4, address())
            answered := staticcall(gas(), token, 0, 36, 0, 32)
            answered := and(answered, gt(returndatasize(), 31))
            amount := mload(0)
        }
        if (!answered) revert TokenRefused();
    }
}
