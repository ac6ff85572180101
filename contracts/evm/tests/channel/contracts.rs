//! Contracts that only these tests deploy.

alloy_sol_types::sol!(OddToken, "artifacts/test-contracts/OddToken.abi.json");
alloy_sol_types::sol!(SspcDigests, "artifacts/test-contracts/SspcDigests.abi.json");
alloy_sol_types::sol!(SspcCompactDigests, "artifacts/test-contracts/SspcCompactDigests.abi.json");
alloy_sol_types::sol!(Account, "artifacts/test-contracts/Account.abi.json");
alloy_sol_types::sol!(
    #[derive(Debug)]
    OldStored,
    "artifacts/test-contracts/OldStored.abi.json"
);
alloy_sol_types::sol!(
    #[derive(Debug)]
    OldHashed,
    "artifacts/test-contracts/OldHashed.abi.json"
);

pub const TOKEN: &str = include_str!("../../artifacts/test-contracts/Token.hex");
pub const ODD_TOKEN: &str = include_str!("../../artifacts/test-contracts/OddToken.hex");
pub const SSPC_DIGESTS: &str = include_str!("../../artifacts/test-contracts/SspcDigests.hex");
pub const SSPC_COMPACT_DIGESTS: &str = include_str!("../../artifacts/test-contracts/SspcCompactDigests.hex");
pub const ACCOUNT: &str = include_str!("../../artifacts/test-contracts/Account.hex");
pub const OLD_STORED: &str = include_str!("../../artifacts/test-contracts/OldStored.hex");
pub const OLD_HASHED: &str = include_str!("../../artifacts/test-contracts/OldHashed.hex");
