// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {WrongTerms} from "./Errors.sol";

/// @title What a deployment asks of a new channel's parties and period
abstract contract Terms {
    /// @notice The shortest period a channel may have, in seconds
    uint32 public immutable minPeriod;
    /// @notice The longest period a channel may have, in seconds
    uint32 public immutable maxPeriod;

    constructor(uint32 shortest, uint32 longest) {
        if (shortest == 0 || shortest > longest) revert WrongTerms();
        minPeriod = shortest;
        maxPeriod = longest;
    }

    function _requireTerms(address a, address b, uint32 period) internal view {
        if (b == a || b == address(0) || period < minPeriod || period > maxPeriod) revert WrongTerms();
    }
}
