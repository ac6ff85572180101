//! A chain of one EVM, its accounts and parties with keys.

use std::collections::HashMap;
use std::sync::Mutex;

use alloy_primitives::{Address, B256, Bytes, Log, U256, hex, keccak256};
use alloy_sol_types::{SolCall, SolError, SolEvent};
use channel_contract_evm::CompactSignature;
use k256::ecdsa::SigningKey;
use revm::context::result::{ExecutionResult, Output};
use revm::context::{BlockEnv, CfgEnv, Journal, TxEnv};
use revm::database::InMemoryDB;
use revm::precompile::{Crypto, DefaultCrypto, PrecompileHalt};
use revm::primitives::TxKind;
use revm::primitives::hardfork::SpecId;
use revm::state::{AccountInfo, Bytecode};
use revm::{Context, Database, ExecuteCommitEvm, ExecuteEvm, MainBuilder, MainnetEvm};

pub const ETHER: u128 = 1_000_000_000_000_000_000;
/// What every account has at first.
pub const WEALTH: u128 = 1_000_000 * ETHER;
/// The time of the first block.
const GENESIS: u64 = 1_800_000_000;
/// The most one transaction may take under the Osaka rules.
const GAS_LIMIT: u64 = 16_000_000;

/// Deploys, and asks views.
const DEPLOYER: Address = Address::repeat_byte(0xde);

type Db = InMemoryDB;

/// A chain.
pub struct World {
    evm: MainnetEvm<Context<BlockEnv, TxEnv, CfgEnv, Db, Journal<Db>>>,
}

/// What a transaction did.
#[derive(Debug)]
pub struct Done {
    pub gas: u64,
    pub logs: Vec<Log>,
}

impl Done {
    /// The event of this type, if the transaction made one.
    pub fn event<E: SolEvent>(&self) -> Option<E> {
        self.logs.iter().find_map(|log| E::decode_log(log).ok()).map(|log| log.data)
    }
}

/// Why a transaction did nothing.
#[derive(Debug)]
pub enum Refused {
    Reverted(Bytes),
    /// It ran out of gas, for one.
    Halted(#[expect(dead_code, reason = "read by the message of a failing test")] String),
}

impl Refused {
    pub fn is<E: SolError>(&self) -> bool {
        matches!(self, Self::Reverted(data) if data.starts_with(&E::SELECTOR))
    }
}

pub type Outcome = Result<Done, Refused>;

/// Asserts that a call was refused with this error; both contracts have the same.
#[macro_export]
macro_rules! assert_refused {
    ($outcome:expr, $error:ident) => {{
        let outcome: $crate::world::Outcome = $outcome;
        let refused = outcome.expect_err(concat!("must be refused: ", stringify!($error)));
        assert!(
            refused.is::<channel_contract_evm::SspcCompact::$error>(),
            "refused, but not with {}: {refused:?}",
            stringify!($error)
        );
    }};
}

impl World {
    pub fn new() -> Self {
        let mut world = Self { evm: Self::machine(Db::default()) };
        for party in Party::all() {
            world.fund(party.address, WEALTH);
        }
        world
    }

    /// An EVM that remembers the signatures it recovered: the random sequences bring the same ones again and again.
    fn machine(db: Db) -> MainnetEvm<Context<BlockEnv, TxEnv, CfgEnv, Db, Journal<Db>>> {
        revm::install_crypto(Recoveries::default());
        let mut context = Context::<BlockEnv, TxEnv, CfgEnv, Db, Journal<Db>>::new(db, SpecId::OSAKA);
        context.cfg.disable_nonce_check = true;
        context.cfg.tx_chain_id_check = false;
        context.block.timestamp = U256::from(GENESIS);
        context.build_mainnet()
    }

    /// Another world that goes on from here.
    pub fn fork(&self) -> Self {
        let mut evm = Self::machine(self.evm.ctx.journaled_state.database.clone());
        evm.ctx.block = self.evm.ctx.block.clone();
        evm.ctx.cfg = self.evm.ctx.cfg.clone();
        Self { evm }
    }

    pub fn now(&self) -> u64 {
        self.evm.ctx.block.timestamp.to()
    }

    pub fn advance(&mut self, seconds: u64) {
        self.evm.ctx.block.timestamp += U256::from(seconds);
    }

    pub fn chain_id(&self) -> u64 {
        self.evm.ctx.cfg.chain_id
    }

    /// The chain splits, and this branch gets another id.
    pub fn set_chain_id(&mut self, chain_id: u64) {
        self.evm.ctx.cfg.chain_id = chain_id;
    }

    fn db(&mut self) -> &mut Db {
        &mut self.evm.ctx.journaled_state.database
    }

    pub fn fund(&mut self, account: Address, amount: u128) {
        let info = AccountInfo { balance: U256::from(amount), nonce: 1, ..AccountInfo::default() };
        self.db().insert_account_info(account, info);
    }

    /// Gives an account with a key the code of a contract (EIP-7702).
    pub fn delegate(&mut self, account: Address, contract: Address) {
        self.set_code(account, Bytecode::new_eip7702(contract));
    }

    /// Takes that code away again; what it stored stays.
    pub fn end_delegation(&mut self, account: Address) {
        self.set_code(account, Bytecode::default());
    }

    fn set_code(&mut self, account: Address, code: Bytecode) {
        let balance = U256::from(self.balance(account));
        let info = AccountInfo { balance, nonce: 1, code_hash: code.hash_slow(), code: Some(code), ..AccountInfo::default() };
        self.db().insert_account_info(account, info);
    }

    pub fn balance(&mut self, account: Address) -> u128 {
        self.db().load_account(account).expect("in memory").info.balance.to()
    }

    pub fn storage(&mut self, account: Address, slot: U256) -> U256 {
        self.db().storage(account, slot).expect("in memory")
    }

    /// The address of what this code creates, and the gas it took.
    pub fn deploy(&mut self, code: Vec<u8>) -> (Address, u64) {
        match self.transact(DEPLOYER, TxKind::Create, 0, code, GAS_LIMIT) {
            ExecutionResult::Success { gas, output: Output::Create(_, Some(address)), .. } => (address, gas.tx_gas_used()),
            other => panic!("the contract was not created: {other:?}"),
        }
    }

    /// A deployment that may be refused.
    pub fn try_deploy(&mut self, code: Vec<u8>) -> Outcome {
        Self::outcome(self.transact(DEPLOYER, TxKind::Create, 0, code, GAS_LIMIT))
    }

    /// Deploys a contract of the tests.
    pub fn deploy_hex(&mut self, hex: &str) -> Address {
        self.deploy(hex::decode(hex.trim()).expect("committed hex")).0
    }

    pub fn send(&mut self, from: Address, to: Address, value: u128, data: Vec<u8>) -> Outcome {
        self.send_with_gas(from, to, value, data, GAS_LIMIT)
    }

    pub fn send_with_gas(&mut self, from: Address, to: Address, value: u128, data: Vec<u8>, gas_limit: u64) -> Outcome {
        Self::outcome(self.transact(from, TxKind::Call(to), value, data, gas_limit))
    }

    fn outcome(result: ExecutionResult) -> Outcome {
        match result {
            ExecutionResult::Success { gas, logs, .. } => Ok(Done { gas: gas.tx_gas_used(), logs }),
            ExecutionResult::Revert { output, .. } => Err(Refused::Reverted(output)),
            ExecutionResult::Halt { reason, .. } => Err(Refused::Halted(format!("{reason:?}"))),
        }
    }

    pub fn call<C: SolCall>(&mut self, from: Address, to: Address, call: &C) -> Outcome {
        self.send(from, to, 0, call.abi_encode())
    }

    /// The answer of a view.
    pub fn view<C: SolCall>(&mut self, to: Address, call: &C) -> C::Return {
        let tx = Self::tx(DEPLOYER, TxKind::Call(to), 0, call.abi_encode(), GAS_LIMIT);
        let result = self.evm.transact(tx).expect("a valid transaction").result;
        let output = result.output().unwrap_or_else(|| panic!("no answer: {result:?}"));
        C::abi_decode_returns(output).expect("an answer of the right type")
    }

    fn transact(&mut self, from: Address, kind: TxKind, value: u128, data: Vec<u8>, gas_limit: u64) -> ExecutionResult {
        let tx = Self::tx(from, kind, value, data, gas_limit);
        self.evm.transact_commit(tx).expect("a valid transaction")
    }

    fn tx(from: Address, kind: TxKind, value: u128, data: Vec<u8>, gas_limit: u64) -> TxEnv {
        TxEnv { caller: from, kind, value: U256::from(value), data: data.into(), gas_limit, gas_price: 0, ..TxEnv::default() }
    }
}

/// A signature as the EVM recovers it: r and s, parity, digest.
type Recovery = ([u8; 64], u8, [u8; 32]);

/// What was recovered, by signature and digest.
#[derive(Debug, Default)]
struct Recoveries(Mutex<HashMap<Recovery, Option<[u8; 32]>>>);

impl Crypto for Recoveries {
    fn secp256k1_ecrecover(&self, sig: &[u8; 64], recid: u8, msg: &[u8; 32]) -> Result<[u8; 32], PrecompileHalt> {
        let mut known = self.0.lock().expect("no panic inside");
        let recover = || DefaultCrypto.secp256k1_ecrecover(sig, recid, msg).ok();
        known.entry((*sig, recid, *msg)).or_insert_with(recover).ok_or(PrecompileHalt::Secp256k1RecoverFailed)
    }
}

/// Somebody with a key.
#[derive(Debug, Clone)]
pub struct Party {
    pub address: Address,
    key: SigningKey,
}

impl Party {
    /// The party with this name; its key follows from it.
    pub fn named(name: &str) -> Self {
        let key = SigningKey::from_slice(keccak256(name).as_slice()).expect("a scalar");
        let public = key.verifying_key().to_encoded_point(false);
        Self { address: Address::from_raw_public_key(&public.as_bytes()[1..]), key }
    }

    pub fn a() -> Self {
        Self::named("a")
    }

    pub fn b() -> Self {
        Self::named("b")
    }

    /// Neither party: a watchtower, or a stranger.
    pub fn c() -> Self {
        Self::named("c")
    }

    fn all() -> [Self; 3] {
        [Self::a(), Self::b(), Self::c()]
    }

    pub fn sign(&self, digest: B256) -> CompactSignature {
        let (r, s, parity) = self.sign_words(digest);
        CompactSignature { r, vs: B256::from(U256::from_be_bytes(s.0) | U256::from(parity) << 255) }
    }

    /// r, s and the parity of y.
    pub fn sign_words(&self, digest: B256) -> (B256, B256, u8) {
        let (signature, recovery) = self.key.sign_prehash_recoverable(digest.as_slice()).expect("32 bytes");
        (B256::from_slice(&signature.r().to_bytes()), B256::from_slice(&signature.s().to_bytes()), recovery.is_y_odd().into())
    }
}

/// Numbers that look random and are the same in every run (SplitMix64).
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `limit`.
    pub const fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// True once in `times`.
    pub const fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub fn wide(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }

    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.next() as u8)
    }
}
