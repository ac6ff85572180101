//! Blocks hold together: updates apply, values flow, hashes link, proofs prove.

use ed25519_dalek::{Signer, SigningKey};
use tycho_types::models::{Block, BlockId, McStateExtra, ShardStateUnsplit, StdAddr};
use tycho_types::prelude::*;
use wallet::{Order, Transfer, Wallet, wallet_id};

use super::{Input, Ledger, States};
use crate::chain::{COIN, GLOBAL_ID};

const START: u32 = 1_763_000_000;
const USERS: u8 = 8;

/// A ledger whose wallets send to each other at random, one tick a second.
struct World {
    ledger: Ledger,
    users: Vec<(SigningKey, Wallet, u32)>,
    random: u64,
}

impl World {
    fn new() -> Self {
        let users = (1..=USERS).map(|seed| {
            let key = SigningKey::from_bytes(&[seed; 32]);
            let wallet = Wallet::new(&key.verifying_key().to_bytes(), wallet_id(GLOBAL_ID)).unwrap();
            (key, wallet, 0)
        });
        let mut world = Self { ledger: Ledger::new(START).unwrap(), users: users.collect(), random: 88_172_645_463_325_252 };
        let mints = world.users.iter().map(|(_, wallet, _)| (wallet.address().clone(), 100 * COIN)).collect();
        world.ledger.tick(Input { now: START, mints, externals: vec![] }).unwrap();
        world
    }

    fn next(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    fn tick(&mut self) {
        let now = self.ledger.now() + 1;
        let externals = (0..self.next(4)).map(|_| self.order(now)).collect();
        self.ledger.tick(Input { now, mints: vec![], externals }).unwrap();
    }

    fn order(&mut self, now: u32) -> Cell {
        let from = self.next(USERS.into()) as usize;
        let to = match self.next(2) {
            0 => StdAddr::new(0, HashBytes([self.next(256) as u8; 32])),
            _ => {
                let user = self.next(USERS.into()) as usize;
                self.users[user].1.address().clone()
            }
        };
        let transfer = Transfer::new(to, u128::from(self.next(100_000_000))).bounce(self.next(2) == 0);
        let (key, wallet, seqno) = &mut self.users[from];
        let order = Order { seqno: *seqno, valid_until: now + 60, transfers: vec![transfer] };
        // several orders in one tick come in order, so each is executed
        *seqno += 1;
        let signature = key.sign(&order.signing_hash(wallet).unwrap()).to_bytes();
        order.external_message(wallet, &signature).unwrap()
    }

    fn states(&self, seqno: u32) -> &States {
        &self.ledger.states[seqno as usize]
    }
}

fn block(ledger: &Ledger, id: &BlockId) -> Block {
    ledger.block(id).unwrap().cell().unwrap().parse().unwrap()
}

#[test]
fn every_block_leads_from_one_state_to_the_next() {
    let mut world = World::new();
    let mut transactions = 0;
    for seqno in 1..100 {
        let before = world.ledger.chain.totals().fees.total();
        assert_eq!(world.ledger.last().seqno, seqno);
        for id in [*world.ledger.last(), *world.ledger.last_shard()] {
            let block = block(&world.ledger, &id);
            let pick = |s: &States| if id.shard.is_masterchain() { s.masterchain.clone() } else { s.shard.clone() };
            let (old, new) = (pick(world.states(seqno - 1)), pick(world.states(seqno)));
            let update = block.load_state_update().unwrap();
            assert_eq!(update.apply(&old).unwrap().repr_hash(), new.repr_hash());
            assert!(block.load_value_flow().unwrap().validate().unwrap());
            let previous = world.ledger.blocks[seqno as usize - 1][usize::from(id.shard.is_masterchain())].id;
            let state = new.parse::<ShardStateUnsplit>().unwrap();
            assert_eq!((state.seqno, state.shard_ident), (seqno, id.shard));
            match block.load_info().unwrap().load_prev_ref().unwrap() {
                tycho_types::models::PrevBlockRef::Single(r) => {
                    assert_eq!((r.root_hash, r.file_hash, r.seqno), (previous.root_hash, previous.file_hash, previous.seqno))
                }
                other => panic!("{other:?}"),
            }
        }
        transactions += world.ledger.block_transactions(world.ledger.last_shard()).unwrap().len();
        world.tick();
        assert!(world.ledger.chain.totals().fees.total() >= before);
        assert!(world.ledger.totals().is_conserved(), "{:?}", world.ledger.totals());
    }
    assert!(transactions > 200, "{transactions}");
}

#[test]
fn the_masterchain_names_shard_blocks_and_its_own_past() {
    let mut world = World::new();
    (0..20).for_each(|_| world.tick());
    let last = *world.ledger.last();
    let state = world.states(last.seqno).masterchain.parse::<ShardStateUnsplit>().unwrap();
    let extra: McStateExtra = state.load_custom().unwrap().unwrap();
    let listed: Vec<BlockId> = extra.shards.latest_blocks().map(Result::unwrap).collect();
    assert_eq!(listed, [*world.ledger.last_shard()]);
    for seqno in 0..last.seqno {
        let (_, entry) = extra.prev_blocks.get(seqno).unwrap().unwrap();
        let known = world.ledger.blocks[seqno as usize][1].id;
        assert_eq!((entry.block_ref.root_hash, entry.block_ref.file_hash), (known.root_hash, known.file_hash));
        assert_eq!(entry.is_key_block, seqno == 1);
    }
    assert!(extra.prev_blocks.get(last.seqno).unwrap().is_none());
}

#[test]
fn what_is_looked_up_is_found() {
    let mut world = World::new();
    (0..20).for_each(|_| world.tick());
    let shard = tycho_types::models::ShardIdent::BASECHAIN;
    for seqno in 1..=world.ledger.last().seqno {
        let id = world.ledger.block_by_seqno(shard, seqno).unwrap().id;
        let transactions = world.ledger.block_transactions(&id).unwrap();
        let behind = transactions.iter().map(|t| t.lt).max().map_or(0, |last| last + 1);
        for t in transactions {
            assert_eq!(world.ledger.block_by_lt(shard, t.lt).unwrap().id, id);
            let found = world.ledger.account_transactions(&t.account, t.lt, &t.hash, 1).unwrap();
            assert_eq!((found[0].block, found[0].hash), (id, t.hash));
            assert_eq!(*world.ledger.transaction(&id, &t.account, t.lt).unwrap().1.unwrap().repr_hash(), t.hash);
            assert!(world.ledger.transaction(&id, &t.account, behind).unwrap().1.is_none());
        }
        let time = world.ledger.block(&id).unwrap().gen_utime;
        assert_eq!(world.ledger.block_by_time(shard, time).unwrap().id, id);
    }
    assert!(world.ledger.block_by_seqno(shard, 0).is_err());
    assert!(world.ledger.block_by_seqno(shard, 1000).is_err());
}

#[test]
fn the_same_inputs_give_the_same_chain() {
    let run = || {
        let mut world = World::new();
        (0..30).for_each(|_| world.tick());
        *world.ledger.last()
    };
    assert_eq!(run(), run());
}
