//! The bytes of addresses and bodies, against the wallet library's own.

use ed25519_dalek::{Signer, SigningKey};
use tonlib_core::cell::{ArcCell, BagOfCells};
use tonlib_core::wallet::mnemonic::KeyPair;
use tonlib_core::wallet::ton_wallet::TonWallet;
use tonlib_core::wallet::wallet_version::WalletVersion;
use tycho_types::models::StdAddr;
use tycho_types::prelude::*;
use wallet::{Error, MAX_TRANSFERS, Order, Transfer, Wallet, wallet_id};

const MAIN_NETWORK: i32 = -239;

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn library_wallet() -> TonWallet {
    let key = key();
    let pair = KeyPair { public_key: key.verifying_key().to_bytes().to_vec(), secret_key: key.to_keypair_bytes().to_vec() };
    TonWallet::new_with_params(WalletVersion::V5R1, pair, 0, wallet_id(MAIN_NETWORK)).unwrap()
}

fn to_library(cell: &Cell) -> ArcCell {
    BagOfCells::parse(&Boc::encode(cell)).unwrap().single_root().unwrap()
}

fn order(transfers: usize) -> Order {
    let to = |i: usize| StdAddr::new(0, HashBytes([i as u8; 32]));
    let transfers = (0..transfers).map(|i| Transfer::new(to(i), 1 + i as u128).bounce(i % 2 == 0)).collect();
    Order { seqno: 0, valid_until: 1_763_000_060, transfers }
}

#[test]
fn wallet_ids_are_those_of_the_networks() {
    assert_eq!(wallet_id(MAIN_NETWORK), 0x7fff_ff11);
    assert_eq!(wallet_id(-3), 0x7fff_fffd);
}

#[test]
fn the_address_is_the_librarys() {
    let wallet = Wallet::new(&key().verifying_key().to_bytes(), wallet_id(MAIN_NETWORK)).unwrap();
    assert_eq!(wallet.address().address.0.as_slice(), library_wallet().address.hash_part.as_slice());
}

#[test]
fn the_message_is_the_librarys_for_any_number_of_transfers() {
    let key = key();
    let wallet = Wallet::new(&key.verifying_key().to_bytes(), wallet_id(MAIN_NETWORK)).unwrap();
    for count in [1, 2, 4, 255] {
        let order = order(count);
        // the library sends the last one first, we send in the given order
        let messages: Vec<_> = order.transfers.iter().rev().map(|t| to_library(&t.message().unwrap())).collect();
        let expected = library_wallet().create_external_msg(order.valid_until, order.seqno, true, &messages).unwrap();
        let signature = key.sign(&order.signing_hash(&wallet).unwrap()).to_bytes();
        let ours = order.external_message(&wallet, &signature).unwrap();
        let body = |cell: &Cell| {
            let message = cell.parse::<tycho_types::models::Message<'_>>().unwrap();
            *CellBuilder::build_from(message.body).unwrap().repr_hash()
        };
        let library = Boc::decode(BagOfCells::from_root(expected).serialize(false).unwrap()).unwrap();
        assert_eq!(body(&ours), body(&library), "{count} transfers");
    }
}

#[test]
fn an_order_has_a_bounded_number_of_transfers() {
    let wallet = Wallet::new(&key().verifying_key().to_bytes(), wallet_id(MAIN_NETWORK)).unwrap();
    assert!(matches!(order(0).body(&wallet), Err(Error::Transfers(0))));
    assert!(matches!(order(MAX_TRANSFERS + 1).body(&wallet), Err(Error::Transfers(256))));
}
