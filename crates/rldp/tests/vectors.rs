//! The reference's bytes: the golden subset of this repository, and the complete vectors where they exist.

use rldp::{Body, Fec, Message, Packet, RaptorQ, SYMBOL, Symbol, Version, symbols};
use serde_json::Value;
use sha2::{Digest, Sha256};

fn sources() -> Vec<Value> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../");
    let golden = std::fs::read_to_string(format!("{root}tests/vectors/rldp.json")).unwrap();
    let complete = std::fs::read_to_string(format!("{root}../shared/vectors/rldp.json")).ok();
    std::iter::once(golden).chain(complete).map(|text| serde_json::from_str(&text).unwrap()).collect()
}

fn bytes(v: &Value) -> Vec<u8> {
    hex::decode(v.as_str().unwrap()).unwrap()
}

fn list(v: &Value) -> &Vec<Value> {
    let list = v.as_array().unwrap();
    assert!(!list.is_empty());
    list
}

fn sha256(data: &[u8]) -> String {
    hex::encode(Sha256::digest(data))
}

#[test]
fn constructor_ids() {
    for v in sources() {
        for case in list(&v["tl_ids"]) {
            assert_eq!(hex::encode(tl::id(case["schema"].as_str().unwrap()).to_be_bytes()), case["crc32"].as_str().unwrap());
        }
    }
}

#[test]
fn messages_are_read_and_written() {
    for v in sources() {
        for case in list(&v["examples"]) {
            let boxed = bytes(&case["boxed"]);
            if case["type"].as_str().unwrap().starts_with("FEC") {
                continue; // A field of a symbol, not a message.
            }
            let written = Message::parse(&boxed).map(|message| message.to_bytes());
            let written = written.or_else(|_| Packet::parse(&boxed).map(|packet| packet.to_bytes()));
            assert_eq!(written.unwrap(), boxed, "{case}");
        }
    }
}

/// The first symbols of a query, and one repair symbol, made from the query alone.
#[test]
fn a_transfer() {
    for v in sources() {
        let case = &v["transfer"];
        let message = bytes(&case["query_tl"]);
        let transfer: [u8; 32] = bytes(&case["transfer_id"]).try_into().unwrap();
        assert_eq!(transfer.map(|byte| !byte).to_vec(), bytes(&case["answer_transfer_id"]));
        let mut padded = message.clone();
        padded.resize(SYMBOL, 0);
        let repair = RaptorQ.encoder(&message).repair(1, 1).remove(0);
        let part = |version, seqno, data: &[u8]| {
            let symbol = Symbol { data_size: message.len(), part: 0, total_size: message.len(), seqno, data };
            Packet { version, transfer, body: Body::Symbol(symbol) }.to_bytes()
        };
        assert_eq!(part(Version::V2, 0, &padded), bytes(&case["part_seqno_0"]));
        assert_eq!(part(Version::V1, 0, &padded), bytes(&case["part_seqno_0_v1"]));
        assert_eq!(part(Version::V2, 1, &repair), bytes(&case["part_seqno_1_recovery"]));
        for name in ["part_seqno_0", "part_seqno_0_v1", "part_seqno_1_recovery"] {
            let boxed = bytes(&case[name]);
            assert_eq!(Packet::parse(&boxed).unwrap().to_bytes(), boxed);
        }
    }
}

fn check_symbols(data: &[u8], cases: impl Iterator<Item = (u32, String)>) {
    let needed = symbols(data.len());
    let mut padded = data.to_vec();
    padded.resize(needed as usize * SYMBOL, 0);
    let encoder = RaptorQ.encoder(data);
    for (seqno, expected) in cases {
        let symbol = match seqno < needed {
            true => padded[seqno as usize * SYMBOL..][..SYMBOL].to_vec(),
            false => encoder.repair(seqno, 1).remove(0),
        };
        assert_eq!(sha256(&symbol), expected, "{} bytes, symbol {seqno}", data.len());
    }
    // Half of the symbols lost, every second one replaced by a repair symbol.
    let repair = encoder.repair(needed, needed + 4);
    let repair = repair.iter().enumerate().map(|(i, data)| (needed + i as u32, &data[..]));
    let source = padded.chunks(SYMBOL).enumerate().map(|(i, data)| (i as u32, data));
    let mut received = source.step_by(2).chain(repair);
    assert_eq!(RaptorQ.decode(data.len(), &mut received).as_deref(), Some(data));
}

#[test]
fn raptorq_symbols() {
    for v in sources() {
        for case in list(&v["raptorq"]) {
            let data: Vec<u8> = (0..case["data_len"].as_u64().unwrap()).map(|j| (j * 31 + j / 256) as u8).collect();
            assert_eq!(sha256(&data), case["data_sha256"].as_str().unwrap());
            assert_eq!(u64::from(symbols(data.len())), case["symbols_count"].as_u64().unwrap());
            let cases = list(&case["symbols"]).iter();
            check_symbols(&data, cases.map(|s| (s["seqno"].as_u64().unwrap() as u32, s["sha256"].as_str().unwrap().to_owned())));
        }
    }
}

/// network B.8: sizes for which RFC 6330 gives other repair symbols.
#[test]
fn raptorq_symbols_of_the_specification() {
    let data = |size| {
        let mut x = 1_u32;
        let next = |_| {
            x = x.wrapping_mul(1_103_515_245).wrapping_add(12345);
            (x >> 16) as u8
        };
        (0..size).map(next).collect::<Vec<_>>()
    };
    let cases = [
        (100, 2, "9e11dc9bfdf03e36eaf3d44ae4f76e14ca3921a62b7c8993eb0c7916d7b06a50"),
        (1537, 103, "9625952d66816917f5cb10da56777f891f66d9ead727a8d03cfbae944764a049"),
        (37000, 49, "873707eeac1848df4229c323c5acd30318bba1a71e82a449bd770c45025c97e7"),
        (37000, 149, "758bc09eabd7df96e7b32932bc9a57d100011a98253409c1b6ae6b61ebce2124"),
        (263_168, 343, "8866656df4e60643ee1ea116fcd2c2b4eb739d7cf8c6d78be0d3e7d3ea3b2cce"),
        (263_168, 443, "9735fac30bc70fae59e59320853722418da035624f3a6a339db8de73b277b67e"),
    ];
    for (size, seqno, expected) in cases {
        check_symbols(&data(size), std::iter::once((seqno, expected.to_owned())));
    }
}
