//! The blockchain configuration of the embedded chain (chain.md 1.2): the smallest one that the executor and other TON software
//! accept, with the public network's prices.

use std::num::NonZeroU16;

use adnl::keys::PrivateKey;
use tycho_types::error::Error;
use tycho_types::models::{
    BlockchainConfig, CatchainConfig, ConfigParam34, GasLimitsPrices, GlobalCapabilities, GlobalVersion, KnownConfigParam as _,
    MsgForwardPrices, StoragePrices, ValidatorDescription, ValidatorInfo, ValidatorSet, WorkchainDescription, WorkchainFormat,
    WorkchainFormatBasic,
};
use tycho_types::prelude::*;

/// The global id (config 19) of the embedded chain. The public test network has it too; wallets V5 mix it into their wallet id.
pub const GLOBAL_ID: i32 = -3;
/// TVM version (config 8). The executor runs this one whatever the configuration says.
pub const TVM_VERSION: u32 = 12;

const CONFIG_ADDRESS: HashBytes = HashBytes([0x55; 32]);
const ELECTOR_ADDRESS: HashBytes = HashBytes([0x33; 32]);
/// Block creation statistics, bounced bodies, version reports, short dequeues: what the public network has that matters here.
const CAPABILITIES: u64 = 0x22e;

/// Number of the only validator's only session.
const CATCHAIN_SEQNO: u32 = 1;
/// Its key is no secret: a devnet's signatures show that clients check them, not who made the chain.
const VALIDATOR_SEED: &[u8; 32] = b"causeway devnet, its validator 1";

/// The key of the only validator.
pub(crate) fn validator_key() -> PrivateKey {
    PrivateKey::from_seed(VALIDATOR_SEED)
}

/// The validators' session, as states and masterchain blocks name it.
pub(crate) fn validator_info() -> ValidatorInfo {
    let hash = ValidatorSet::compute_subset_hash_short(&[validator()], CATCHAIN_SEQNO);
    ValidatorInfo { validator_list_hash_short: hash, catchain_seqno: CATCHAIN_SEQNO, nx_cc_updated: false }
}

fn validator() -> ValidatorDescription {
    ValidatorDescription {
        public_key: HashBytes(*validator_key().public().as_bytes()),
        weight: 1,
        // there are clients that know no validator without one
        adnl_addr: Some(HashBytes(*validator_key().id().as_bytes())),
        mc_seqno_since: 0,
        prev_total_weight: 0,
    }
}

/// Config 8, also written into every block as the generating software.
pub(crate) fn global_version() -> GlobalVersion {
    GlobalVersion { version: TVM_VERSION, capabilities: GlobalCapabilities::new(CAPABILITIES) }
}

/// Builds the configuration. Parameter 43 stays out on purpose: its layout differs between the executor and the public network, and
/// both fall back to the same defaults without it (chain.md 1.2).
pub(crate) fn blockchain_config() -> Result<BlockchainConfig, Error> {
    let mut config = BlockchainConfig::new_empty(CONFIG_ADDRESS);
    config.set_elector_address(&ELECTOR_ADDRESS)?;
    config.set_global_version(&global_version())?;
    config.set_global_id(GLOBAL_ID)?;
    config.set_workchains(&workchains()?)?;
    config.set_storage_prices(&[StoragePrices {
        utime_since: 0,
        bit_price_ps: 1,
        cell_price_ps: 500,
        mc_bit_price_ps: 1000,
        mc_cell_price_ps: 500_000,
    }])?;
    config.set_gas_prices(true, &gas_prices(655_360_000, 70_000_000, 37_000_000))?;
    config.set_gas_prices(false, &gas_prices(26_214_400, 1_000_000, 10_000_000))?;
    config.set_msg_forward_prices(true, &forward_prices(10_000_000, 655_360_000, 65_536_000_000))?;
    config.set_msg_forward_prices(false, &forward_prices(400_000, 26_214_400, 2_621_440_000))?;
    config.set_catchain_config(&CatchainConfig {
        isolate_mc_validators: false,
        shuffle_mc_validators: false,
        mc_catchain_lifetime: u32::MAX,
        shard_catchain_lifetime: u32::MAX,
        shard_validators_lifetime: u32::MAX,
        shard_validators_num: 1,
    })?;
    config.set_fundamental_addresses(&[ELECTOR_ADDRESS, CONFIG_ADDRESS])?;
    let validators =
        ValidatorSet { utime_since: 0, utime_until: u32::MAX, main: NonZeroU16::MIN, total_weight: 1, list: vec![validator()] };
    config.set_raw(ConfigParam34::ID, CellBuilder::build_from(&validators)?)?;
    Ok(config)
}

fn workchains() -> Result<Dict<i32, WorkchainDescription>, Error> {
    let mut workchains = Dict::new();
    workchains.set(
        0,
        WorkchainDescription {
            enabled_since: 0,
            actual_min_split: 0,
            min_split: 0,
            max_split: 0,
            active: true,
            accept_msgs: true,
            zerostate_root_hash: HashBytes::ZERO,
            zerostate_file_hash: HashBytes::ZERO,
            version: 0,
            format: WorkchainFormat::Basic(WorkchainFormatBasic { vm_version: -1, vm_mode: 0 }),
        },
    )?;
    Ok(workchains)
}

/// `price` is in nano per 2^16 gas.
fn gas_prices(price: u64, special_gas_limit: u64, block_gas_limit: u64) -> GasLimitsPrices {
    const FLAT_GAS_LIMIT: u64 = 100;
    GasLimitsPrices {
        gas_price: price,
        gas_limit: 1_000_000,
        special_gas_limit,
        gas_credit: 10_000,
        block_gas_limit,
        freeze_due_limit: 100_000_000,
        delete_due_limit: 1_000_000_000,
        flat_gas_limit: FLAT_GAS_LIMIT,
        flat_gas_price: (price * FLAT_GAS_LIMIT) >> 16,
    }
}

/// `bit` and `cell` are in nano per 2^16.
fn forward_prices(lump_price: u64, bit_price: u64, cell_price: u64) -> MsgForwardPrices {
    MsgForwardPrices { lump_price, bit_price, cell_price, ihr_price_factor: 98304, first_frac: 21845, next_frac: 21845 }
}
