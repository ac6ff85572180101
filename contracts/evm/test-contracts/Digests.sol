// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Sspc} from "../src/Sspc.sol";
import {SspcCompact} from "../src/SspcCompact.sol";

/// Shows what `Sspc` hashes.
contract SspcDigests is Sspc(1, 1) {
    function stateDigest(bytes32 id, uint128 balanceA, uint128 balanceB, uint48 round) external view returns (bytes32) {
        return _digest(_hashState(id, balanceA, balanceB, round));
    }

    function closeDigest(bytes32 id, uint128 balanceA, uint128 balanceB) external view returns (bytes32) {
        return _digest(_hashClose(id, balanceA, balanceB));
    }
}

/// Shows what `SspcCompact` hashes.
contract SspcCompactDigests is SspcCompact(1, 1) {
    function stateDigest(uint64 id, address a, address b, uint128 balanceA, uint128 balanceB, uint48 round)
        external
        view
        returns (bytes32)
    {
        return _digest(_hashState(id, _between(a, b, balanceA, balanceB), balanceA, round));
    }

    function closeDigest(uint64 id, address a, address b, uint128 balanceA, uint128 balanceB) external view returns (bytes32) {
        return _digest(_hashClose(id, _between(a, b, balanceA, balanceB), balanceA));
    }

    function _between(address a, address b, uint128 balanceA, uint128 balanceB) private pure returns (Channel memory channel) {
        (channel.a, channel.b, channel.balanceA, channel.balanceB) = (a, b, balanceA, balanceB);
    }
}
