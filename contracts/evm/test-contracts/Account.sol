// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// The code of a smart account (EIP-7702) that can be told how to behave when it is paid.
contract Account {
    enum Habit {
        Accepts,
        Refuses,
        BurnsGas,
        ReturnsMuch,
        CallsBack,
        WantsGas
    }

    Habit private _habit;
    address private _target;
    uint256 private _value;
    bytes private _data;
    /// How often it called back, and how often that succeeded.
    uint256 public tries;
    uint256 public successes;

    function become(Habit habit) external {
        _habit = habit;
    }

    /// What to call when it is paid.
    function prepare(address target, uint256 value, bytes calldata data) external {
        (_habit, _target, _value, _data) = (Habit.CallsBack, target, value, data);
    }

    /// Calls as this account, and reverts as what it called.
    function run(address target, uint256 value, bytes calldata data) external payable {
        (bool done, bytes memory answer) = target.call{value: value}(data);
        if (done) return;
        assembly {
            revert(add(answer, 32), mload(answer))
        }
    }

    function tokenMoved(address, address) external {
        _react();
    }

    receive() external payable {
        _react();
    }

    function _react() private {
        if (_habit == Habit.Refuses) revert("refused");
        if (_habit == Habit.BurnsGas) while (true) {}
        if (_habit == Habit.ReturnsMuch) {
            assembly {
                revert(0, 20000)
            }
        }
        if (_habit == Habit.WantsGas) require(gasleft() > 150_000, "more");
        if (_habit == Habit.CallsBack) {
            // Once: what it called may pay it again.
            _habit = Habit.Accepts;
            ++tries;
            (bool done,) = _target.call{value: _value}(_data);
            if (done) ++successes;
        }
    }
}
