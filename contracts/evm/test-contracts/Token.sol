// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// An ordinary ERC-20 token, and one with the habits real ones have.
contract Token {
    enum Habit {
        None,
        ReturnsNothing,
        ReturnsFalse,
        KeepsFee,
        CallsSender,
        CallsRecipient
    }

    event Transfer(address indexed from, address indexed to, uint256 amount);
    event Approval(address indexed owner, address indexed spender, uint256 amount);

    mapping(address owner => uint256) public balanceOf;
    mapping(address owner => mapping(address spender => uint256)) public allowance;
    Habit internal _habit;
    mapping(address => bool) internal _blocked;

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
        emit Transfer(address(0), to, amount);
    }

    function approve(address spender, uint256 amount) external returns (bool) {
        allowance[msg.sender][spender] = amount;
        emit Approval(msg.sender, spender, amount);
        return true;
    }

    function transfer(address to, uint256 amount) external virtual returns (bool) {
        _move(msg.sender, to, amount);
        return true;
    }

    function transferFrom(address from, address to, uint256 amount) external virtual returns (bool) {
        _spend(from, amount);
        _move(from, to, amount);
        return true;
    }

    function _spend(address from, uint256 amount) internal {
        uint256 allowed = allowance[from][msg.sender];
        if (allowed != type(uint256).max) allowance[from][msg.sender] = allowed - amount;
    }

    function _move(address from, address to, uint256 amount) internal {
        balanceOf[from] -= amount;
        unchecked {
            balanceOf[to] += amount;
        }
        emit Transfer(from, to, amount);
    }
}

/// What `OddToken` tells a party whose money moves.
interface IHooked {
    function tokenMoved(address from, address to) external;
}

/// A token with a habit, and a list of accounts that may not receive it.
contract OddToken is Token {
    function become(Habit habit) external {
        _habit = habit;
    }

    function block_(address account, bool blocked) external {
        _blocked[account] = blocked;
    }

    function transfer(address to, uint256 amount) external override returns (bool) {
        return _oddly(msg.sender, to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) external override returns (bool) {
        _spend(from, amount);
        return _oddly(from, to, amount);
    }

    function _oddly(address from, address to, uint256 amount) private returns (bool) {
        require(!_blocked[to], "blocked");
        if (_habit == Habit.ReturnsFalse) return false;
        if (_habit == Habit.CallsSender && from.code.length != 0) IHooked(from).tokenMoved(from, to);
        uint256 fee = _habit == Habit.KeepsFee ? amount / 100 : 0;
        _move(from, to, amount - fee);
        if (fee != 0) _move(from, address(this), fee);
        if (_habit == Habit.CallsRecipient && to.code.length != 0) IHooked(to).tokenMoved(from, to);
        if (_habit == Habit.ReturnsNothing) {
            assembly {
                return(0, 0)
            }
        }
        return true;
    }
}
