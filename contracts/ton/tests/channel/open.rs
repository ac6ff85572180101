//! init, top up, what is not a message of ours, get-methods.

use contract::{
    Balance, ChannelData, CommitToSign, GET_CHANNEL_DATA, GET_CHANNEL_STATE, InitToSign, JettonNotification, Message, Side,
    ToSign, WalletAddress, op,
};
use devnet::chain::{InternalMessage, method_id};
use ton::{Address, Cell, CellBuilder, HashBytes};
use tycho_types::models::{ExtInMsgInfo, IntAddr, MsgInfo, OwnedMessage, StdAddr};
use wire::Body;

use crate::cells::{SIDES, cell, from_one, pair, retagged, with_trailing_bit};
use crate::code::each_code;
use crate::messages::*;
use crate::world::*;

fn only_op(op: u32) -> Cell {
    cell(|b| b.store_u32(op).unwrap())
}

#[test]
fn either_side_opens_and_what_is_left_over_returns() {
    each_code(|code| {
        for side in SIDES {
            let mut world = World::new(code, Config::default());
            let record = world.deploys(TON / 4, init(side));
            assert!(world.storage().initialised);
            assert_eq!(world.storage().balance, Balance::default());
            assert_eq!(world.storage().committed_seqnos, pair([0, 0]));
            world.assert_excess_returned(&record);
        }
    });
}

#[test]
fn a_channel_is_opened_once() {
    each_code(|code| World::opened(code).refuses(init(Side::B), 100));
}

#[test]
fn only_the_sides_open() {
    each_code(|code| {
        let part = INIT.cell();
        for (claimed, signer) in [(Side::A, key(Side::B)), (Side::B, key(Side::A)), (Side::A, foreign_key())] {
            World::new(code, Config::default()).refuses_to_deploy(TON, from_one(op::INIT, claimed, &signer, &part), 101);
        }
    });
}

#[test]
fn what_is_signed_to_open_is_this_channel() {
    each_code(|code| {
        let mut world = World::new(code, Config::default());
        world.refuses_to_deploy(TON, one(op::INIT, Side::A, &retagged(&INIT, UNKNOWN)), 104);
        world.refuses_to_deploy(TON, one(op::INIT, Side::A, &InitToSign { channel_id: OTHER_ID }.cell()), 114);
    });
}

#[test]
fn nothing_may_be_on_it_before() {
    each_code(|code| {
        for field in 0..3 {
            for side in SIDES {
                let mut balance = Balance::default();
                let fields = [&mut balance.deposited, &mut balance.withdrawn, &mut balance.sent];
                *fields[field].get_mut(side) = 1;
                World::new(code, Config { balance, ..Config::default() }).refuses_to_deploy(TON, init(Side::A), 102);
            }
        }
    });
}

#[test]
fn the_storage_fee_is_above_the_minimum_and_paid() {
    each_code(|code| {
        let with_fee = |storage_fee| World::new(code, Config { storage_fee, ..Config::default() });
        with_fee(10_000_000).refuses_to_deploy(TON, init(Side::A), 123);
        with_fee(10_000_001).deploys(TON, init(Side::A));
        with_fee(STORAGE_FEE).refuses_to_deploy(STORAGE_FEE - 1, init(Side::A), 123);
        let mut world = with_fee(STORAGE_FEE);
        let record = world.deploys(STORAGE_FEE, init(Side::A));
        assert!(world.storage().initialised);
        assert_eq!(record.out_messages.len(), 0, "nothing is left over");
        assert_eq!(world.balance(), STORAGE_FEE - record.fees.gas);
    });
}

#[test]
fn other_currencies_are_refused() {
    each_code(|code| {
        if code.live {
            return;
        }
        let master = Address { workchain: 0, hash: [0x70; 32] };
        for currency in [Currency::Extra(100), Currency::Jetton { master, wallet: None }] {
            let mut world = World::new(code, Config { currency, storage_fee: TON, ..Config::default() });
            world.refuses_to_deploy(2 * TON, init(Side::A), 120);
        }
    });
}

#[test]
fn a_top_up_adds_to_its_side() {
    each_code(|code| {
        let mut world = World::opened(code);
        for (side, nano) in [(Side::A, 5 * TON), (Side::B, 7 * TON), (Side::A, 1)] {
            let before = world.balance_of(side);
            let record = world.accepts(nano + TON_ACCEPT, top_up(side));
            assert_eq!(world.balance_of(side), before + nano);
            world.assert_excess_returned(&record);
        }
        assert_eq!(world.storage().balance.deposited, pair([5 * TON + 1, 7 * TON]));
    });
}

#[test]
fn a_top_up_pays_its_fee_first() {
    each_code(|code| {
        let mut world = World::opened(code);
        world.refuses_value(TON_ACCEPT - 1, top_up(Side::A), 119);
        world.accepts(TON_ACCEPT, top_up(Side::A));
        assert_eq!(world.storage().balance.deposited, pair([0, 0]));
    });
}

#[test]
fn a_top_up_needs_an_open_channel() {
    each_code(|code| {
        World::new(code, Config::default()).refuses_to_deploy(TON, top_up(Side::A), 117);
        let mut world = World::funded(code);
        world.accepts(TON, States::agreed(Body::start(1), Body::start(1)).start(Side::A));
        world.refuses(top_up(Side::A), 106);
    });
}

#[test]
fn jetton_messages_are_refused_on_a_coin_channel() {
    each_code(|code| {
        let notification = JettonNotification { query_id: 0, amount: 1, sender: None, payload: top_up(Side::A) };
        let answer = WalletAddress { query_id: 0, wallet: None, owner: None };
        let mut world = World::funded(code);
        world.refuses(Message::JettonNotification(notification).to_cell(), 120);
        world.refuses(Message::TakeWalletAddress(answer).to_cell(), 120);
    });
}

#[test]
fn what_is_no_message_is_refused() {
    each_code(|code| {
        let mut world = World::funded(code);
        world.refuses(only_op(UNKNOWN), 63);
        world.refuses(Cell::default(), 63);
        world.refuses(cell(|b| b.store_u16(0x593e).unwrap()), 63);
    });
}

#[test]
fn damaged_messages_fail() {
    each_code(|code| {
        let mut world = World::opened(code);
        let terms = Terms::new([1, 1]);
        for op in [op::TOP_UP, op::INIT, op::COOPERATIVE_COMMIT, op::START_UNCOOPERATIVE_CLOSE] {
            world.fails(only_op(op));
        }
        world.fails(both(op::COOPERATIVE_COMMIT, &retagged(&INIT, CommitToSign::TAG)));
        if !code.live {
            world.fails(both(op::COOPERATIVE_COMMIT, &with_trailing_bit(&terms.commit_part(CHANNEL_ID).cell())));
            world.fails(both(op::COOPERATIVE_CLOSE, &with_trailing_bit(&terms.close_part(CHANNEL_ID).cell())));
        }
        world.accepts(TON, terms.commit());
    });
}

#[test]
fn what_comes_back_stays_and_changes_nothing() {
    each_code(|code| {
        let mut world = World::funded(code);
        let (data, balance) = (world.data(), world.balance());
        // From the channel to an account that does not exist: the message bounces, with a body that begins ffffffff and its own.
        let nobody = StdAddr::new(0, HashBytes([0x77; 32]));
        let record = world.send(InternalMessage::new(world.channel.clone(), nobody, TON).body(top_up(Side::A)));
        assert!(record.in_message.bounced);
        assert_eq!((record.exit_code(), record.out_messages.len()), (Some(0), 0));
        assert_eq!(world.data(), data);
        assert_eq!(world.balance(), balance + record.in_message.value - record.fees.gas);
    });
}

#[test]
fn external_messages_are_not_accepted() {
    each_code(|code| {
        let mut world = World::funded(code);
        let message = OwnedMessage {
            info: MsgInfo::ExtIn(ExtInMsgInfo { dst: IntAddr::Std(world.channel.clone()), ..Default::default() }),
            init: None,
            body: finish().into(),
            layout: None,
        };
        world.chain.send_external(CellBuilder::build_from(&message).unwrap()).unwrap();
        let outcome = world.chain.run().unwrap();
        assert_eq!((outcome.transactions.len(), outcome.rejected.len()), (0, 1));
    });
}

fn channel_state(world: &World) -> i64 {
    let result = world.chain.get_method(&world.channel, "getChannelState", vec![]).unwrap();
    assert_eq!((result.exit_code, result.stack.len()), (0, 1));
    i64::try_from(result.int(0).unwrap()).unwrap()
}

#[test]
fn the_state_follows_the_clock() {
    assert_eq!((method_id("getChannelState"), method_id("getChannelData")), (GET_CHANNEL_STATE, GET_CHANNEL_DATA));
    each_code(|code| {
        let mut world = World::funded(code);
        assert_eq!(channel_state(&world), 1);
        world.accepts(TON, States::agreed(Body::start(1), Body::start(1)).start(Side::A));
        let expected = [
            (0, 2),
            (QUARANTINE - 1, 2),
            (QUARANTINE + 1, 3),
            (QUARANTINE + CONDITIONAL_CLOSE - 1, 3),
            (QUARANTINE + CONDITIONAL_CLOSE + 1, 4),
        ];
        for (after, state) in expected {
            world.chain.set_now(START + after).unwrap();
            assert_eq!(channel_state(&world), state, "{after} s after the start");
            assert_eq!(world.storage().status(world.chain.now().into()) as i64, state);
        }
        world.accepts(TON, finish());
        assert_eq!(channel_state(&world), 0);
    });
}

#[test]
fn the_data_is_told() {
    each_code(|code| {
        let mut world = World::funded(code);
        let terms = Terms::new([3, 4]).sent([3 * TON, TON]).withdrawn([TON, 2 * TON]);
        world.accepts(TON, terms.commit());
        world.accepts(TON, States::agreed(Body::start(3), Body::start(4)).start(Side::A));
        let result = world.chain.get_method(&world.channel, "getChannelData", vec![]).unwrap();
        assert_eq!((result.exit_code, result.stack.len()), (0, 8));
        let expected = ChannelData::of(&world.storage(), world.chain.now().into());
        let tuple = |i: usize| result.stack[i].as_tuple().unwrap().to_vec();
        let numbers = |i: usize| tuple(i).iter().map(|v| v.as_int().unwrap().to_string()).collect::<Vec<_>>();
        let key = |n: usize| tuple(2)[n].as_int().unwrap().to_bytes_be().1;
        assert_eq!(result.int(0).unwrap().to_string(), (expected.status as u8).to_string());
        assert_eq!((expected.balances.a, expected.balances.b), (7 * TON as i128, 20 * TON as i128));
        let balances = [7 * TON, 20 * TON, DEPOSIT_A, DEPOSIT_B, TON, 2 * TON].map(|n| n.to_string());
        assert_eq!(numbers(1), balances);
        assert_eq!((key(0), key(1)), (expected.keys.a.to_vec(), expected.keys.b.to_vec()));
        assert_eq!(result.int(3).unwrap().to_bytes_be().1, expected.channel_id);
        assert_eq!(numbers(5), ["3", "4"]);
        let data = world.data();
        assert_eq!(result.cell(4).as_ref(), data.reference_cloned(1).as_ref());
        assert_eq!(result.cell(6).as_ref(), data.reference_cloned(2).as_ref());
        let payment = tuple(7);
        assert_eq!(payment[0].as_int().unwrap().to_string(), expected.storage_fee.to_string());
        for (i, side) in [(1, Side::A), (2, Side::B)] {
            let slice = CellBuilder::build_from(payment[i].as_cell_slice().unwrap().apply()).unwrap();
            assert_eq!(slice.parse::<IntAddr>().unwrap(), IntAddr::Std(destination(side)));
        }
    });
}
