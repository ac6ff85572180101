use num_bigint::BigInt;
use tycho_types::crc::crc_16;
use tycho_types::models::{Account, AccountState, BlockchainConfig, IntAddr, StdAddr};
use tycho_types::prelude::*;
use tycho_vm::{GasParams, OwnedCellSlice, RcStackValue, SafeRc, SmcInfoBase, Stack, VmState, VmVersion};

use super::{Chain, Error};

/// What a get-method left on the stack, bottom first.
#[derive(Debug)]
pub struct GetResult {
    /// 0 or 1 on success.
    pub exit_code: i32,
    /// Gas it took.
    pub gas_used: u64,
    /// The values. Integers, cells, slices and tuples are reached through `tycho_vm::StackValue`.
    pub stack: Vec<RcStackValue>,
}

impl GetResult {
    /// The integer at `index`, if it is one.
    pub fn int(&self, index: usize) -> Option<BigInt> {
        self.stack.get(index)?.as_int().cloned()
    }
    /// The cell at `index`, or the rest of the slice there as a cell.
    pub fn cell(&self, index: usize) -> Option<Cell> {
        let value = self.stack.get(index)?;
        match value.as_cell() {
            Some(cell) => Some(cell.clone()),
            None => CellBuilder::build_from(value.as_cell_slice()?.apply()).ok(),
        }
    }
}

/// An integer argument for a get-method.
pub fn int_argument(value: impl Into<BigInt>) -> RcStackValue {
    RcStackValue::new_dyn_value(value.into())
}

/// A slice argument for a get-method: the whole of `cell`.
pub fn slice_argument(cell: Cell) -> RcStackValue {
    RcStackValue::new_dyn_value(OwnedCellSlice::new_allow_exotic(cell))
}

/// The id by which a get-method is called.
pub fn method_id(name: &str) -> u32 {
    u32::from(crc_16(name.as_bytes())) | 0x1_0000
}

impl Chain {
    /// Runs a get-method by name on the account's present state, at the present time.
    pub fn get_method(&self, address: &StdAddr, name: &str, arguments: Vec<RcStackValue>) -> Result<GetResult, Error> {
        self.get_method_by_id(address, method_id(name), arguments)
    }

    /// Runs a get-method by its id, see [`method_id`].
    pub fn get_method_by_id(&self, address: &StdAddr, id: u32, arguments: Vec<RcStackValue>) -> Result<GetResult, Error> {
        let account = self.account(address).ok_or(Error::NotActive)?;
        run_get_method(self.config(), self.now(), &account, id, arguments)
    }
}

/// Runs a get-method of an account.
///
/// The VM is set up here because the library's own getter runs at version 11, where version 12 instructions fail (chain.md 1.3).
pub(crate) fn run_get_method(
    config: &BlockchainConfig,
    now: u32,
    account: &Account,
    id: u32,
    mut arguments: Vec<RcStackValue>,
) -> Result<GetResult, Error> {
    let (IntAddr::Std(address), AccountState::Active(state)) = (&account.address, &account.state) else {
        return Err(Error::NotActive);
    };
    let code = state.code.clone().ok_or(Error::NotActive)?;
    arguments.push(int_argument(id));
    let info = SmcInfoBase::new()
        .with_now(now)
        .with_block_lt(account.last_trans_lt)
        .with_tx_lt(account.last_trans_lt)
        .with_mixed_rand_seed(&HashBytes::ZERO, &address.address)
        .with_account_balance(account.balance.clone())
        .with_account_addr(account.address.clone())
        .with_config(config.params.clone())
        .require_ton_v4()
        .with_code(code.clone())
        .require_ton_v6()
        .fill_unpacked_config()?
        .require_ton_v11();
    let mut vm = VmState::builder()
        .with_smc_info(info)
        .with_code(code)
        .with_data(state.data.clone().unwrap_or_default())
        .with_init_selector(false)
        .with_raw_stack(SafeRc::new(Stack::with_items(arguments)))
        .with_gas(GasParams::getter())
        .with_version(VmVersion::LATEST_TON)
        .build();
    let exit_code = !vm.run();
    Ok(GetResult { exit_code, gas_used: vm.gas.consumed(), stack: vm.stack.items.clone() })
}
