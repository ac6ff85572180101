// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {BadSignature} from "./Errors.sol";

/// @title The EIP-712 domain of a deployment, and the check of a signature under it
abstract contract Signed {
    bytes32 private constant _DOMAIN_TYPE =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant _NAME = keccak256("SSPC");
    bytes32 private constant _VERSION = keccak256("2");
    /// Half of the group order: a signature with a higher s is the twin of a valid one and refused.
    uint256 private constant _HIGHEST_S = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    uint256 private immutable _chainAtDeployment;
    bytes32 private immutable _domainAtDeployment;

    constructor() {
        _chainAtDeployment = block.chainid;
        _domainAtDeployment = _domain();
    }

    /// @notice The domain separator of this contract on this chain; it follows a chain that splits and changes its id
    function domainSeparator() public view returns (bytes32) {
        return block.chainid == _chainAtDeployment ? _domainAtDeployment : _domain();
    }

    function _domain() private view returns (bytes32) {
        return keccak256(abi.encode(_DOMAIN_TYPE, _NAME, _VERSION, block.chainid, address(this)));
    }

    /// The 32 bytes a party signs.
    function _digest(bytes32 structHash) internal view returns (bytes32 digest) {
        bytes32 domain = domainSeparator();
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, hex"1901")
            mstore(add(free, 2), domain)
            mstore(add(free, 34), structHash)
            digest := keccak256(free, 66)
        }
    }

    /// Reverts unless `signer` signed the struct. The signature is EIP-2098: r, and s with the parity of y in its top bit.
    function _requireSigned(bytes32 structHash, bytes32 r, bytes32 vs, address signer) internal view {
        bytes32 digest = _digest(structHash);
        uint256 s = uint256(vs) & (type(uint256).max >> 1);
        if (s > _HIGHEST_S) revert BadSignature();
        address recovered = ecrecover(digest, uint8(27 + (uint256(vs) >> 255)), r, bytes32(s));
        // A failed recovery gives zero, and zero is nobody.
        if (recovered == address(0) || recovered != signer) revert BadSignature();
    }
}
