//! What each call costs: exactly what the committed snapshot says, and at or below the goals (sspc.md 4.4; the batch goal is of the one-word
//! contract only). `UPDATE_SNAPSHOT=1` rewrites the snapshot and the table in README.md.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::channel::*;
use crate::contracts::TOKEN;
use crate::world::*;

// Amounts like real ones: zero bytes are cheaper.
const VALUES: [u128; 2] = [1_000_000_000_123_456_789, 800_000_000_987_654_321];
/// What a has in the state that is put on record first, in the newer one, and at a close.
const FIRST: u128 = 900_000_000_192_837_465;
const LAST: u128 = 700_000_000_564_738_291;
/// In a token of six decimals.
const TOKEN_VALUES: [u128; 2] = [100_000_000, 80_000_000];
const TOKEN_LAST: u128 = 58_123_456;
const TOKEN_FIRST: u128 = 91_234_567;

/// A row of the table: what it is, the original contract as it was shipped and with the optimizer switched on, and our goal.
struct Row(&'static str, Option<u64>, Option<u64>, Option<u64>);

const ONE_WORD: &[Row] = &[
    Row("deploy", Some(2_446_999), Some(1_335_262), Some(1_400_000)),
    Row("open", Some(49_709), Some(47_977), Some(50_000)),
    Row("accept", Some(37_296), Some(33_891), Some(31_000)),
    Row("cooperative close", Some(59_716), Some(52_852), Some(54_000)),
    Row("start", Some(67_065), Some(62_310), Some(38_000)),
    Row("start with round 0", None, None, Some(33_000)),
    Row("dispute", Some(54_762), Some(47_240), Some(54_000)),
    Row("dispute by a watchtower", None, None, Some(42_500)),
    Row("finish", Some(52_150), Some(48_367), Some(48_000)),
    Row("cancel", None, None, Some(38_000)),
    Row("open + accept + close", Some(146_721), Some(134_720), Some(135_000)),
    Row("one-way: open + close", Some(146_281), Some(134_280), Some(104_000)),
    Row("start + finish", Some(119_215), Some(110_677), Some(86_000)),
    Row("start + dispute", Some(173_977), Some(157_917), Some(92_000)),
    Row("close 10 one-way channels at once", None, None, Some(280_000)),
    Row("token: first open", None, None, None),
    Row("token: open", None, None, Some(68_500)),
    Row("token: accept", None, None, None),
    Row("token: cooperative close", None, None, Some(62_000)),
    Row("token: start", None, None, None),
    Row("token: dispute", None, None, None),
    Row("token: finish", None, None, None),
    Row("token: close 10 one-way channels at once", None, None, Some(280_000)),
];

const COMPACT: &[Row] = &[
    Row("deploy", Some(2_257_625), Some(1_219_576), Some(1_600_000)),
    Row("open", Some(136_058), Some(134_937), Some(98_000)),
    Row("accept", Some(33_137), Some(32_757), Some(33_000)),
    Row("cooperative close", Some(65_959), Some(63_307), Some(50_000)),
    Row("start", Some(71_057), Some(68_009), Some(45_000)),
    Row("start with round 0", None, None, None),
    Row("dispute", Some(51_181), Some(48_101), Some(50_000)),
    Row("dispute by a watchtower", None, None, None),
    Row("finish", Some(58_606), Some(57_838), Some(45_500)),
    Row("cancel", None, None, None),
    Row("open + accept + close", Some(235_154), Some(231_001), Some(181_000)),
    Row("one-way: open + close", Some(215_134), Some(210_981), Some(148_000)),
    Row("start + finish", Some(129_663), Some(125_847), None),
    Row("start + dispute", Some(180_844), Some(173_948), None),
    Row("close 10 one-way channels at once", None, None, None),
    Row("token: first open", None, None, None),
    Row("token: open", None, None, None),
    Row("token: accept", None, None, None),
    Row("token: cooperative close", None, None, None),
    Row("token: start", None, None, None),
    Row("token: dispute", None, None, None),
    Row("token: finish", None, None, None),
    Row("token: close 10 one-way channels at once", None, None, None),
];

/// Gas by row.
type Measured = BTreeMap<&'static str, u64>;

fn rows(kind: Kind) -> &'static [Row] {
    match kind {
        Kind::OneWord => ONE_WORD,
        Kind::Compact => COMPACT,
    }
}

/// A channel that is open, in a world where the contract is no longer new: another channel lives in it.
fn open(kind: Kind, values: [u128; 2], token: bool) -> (World, Channel) {
    let mut world = World::new();
    let mut channel = Channel::new(&mut world, kind, values);
    if token {
        let token = world.deploy_hex(TOKEN);
        channel = channel.in_token(&mut world, token);
    }
    let channel = channel.opened(&mut world).next().opened(&mut world);
    (world, channel)
}

/// The cost of one call; the world stays as it was.
fn gas(world: &World, channel: &Channel, from: &Party, call: Call) -> u64 {
    channel.send(&mut world.fork(), from, call).unwrap().gas
}

/// A unilateral close by a with round 2, as b signed it.
fn started(world: &World, channel: &Channel, balance_a: u128) -> (World, u64) {
    let mut world = world.fork();
    let gas = channel.challenge(&mut world, &Party::a(), &Party::b(), balance_a, 2).unwrap().gas;
    (world, gas)
}

fn exits(kind: Kind, token: bool) -> [u64; 3] {
    let (values, first, last) = if token { (TOKEN_VALUES, TOKEN_FIRST, TOKEN_LAST) } else { (VALUES, FIRST, LAST) };
    let (world, channel) = open(kind, values, token);
    let (mut closing, start) = started(&world, &channel, first);
    let newer = channel.state(&Party::a(), last, 3);
    let dispute = gas(&closing, &channel, &Party::b(), Call::Dispute { balance_a: last, round: 3, by: newer });
    closing.advance(u64::from(DAY) + 1);
    [start, dispute, gas(&closing, &channel, &Party::a(), Call::ForceClose)]
}

fn close_ten(kind: Kind, token: bool) -> u64 {
    let (values, last) = if token { ([TOKEN_VALUES[0], 0], TOKEN_LAST) } else { ([VALUES[0], 0], LAST) };
    let (mut world, mut channel) = open(kind, values, token);
    let mut channels = Vec::new();
    for payer in 0..10 {
        // Ten payers: each costs the contract a look at another account.
        channel = channel.next().paid_by(&mut world, Party::named(&format!("payer {payer}"))).opened(&mut world);
        channels.push(channel.clone());
    }
    let items: Vec<_> = channels.iter().map(|channel| channel.item(last)).collect();
    Channel::close_many(&mut world, &Party::b(), &items).unwrap().gas
}

fn native(kind: Kind) -> Measured {
    let (mut world, channel) = open(kind, VALUES, false);
    let close = |channel: &Channel| Call::CooperativeClose { balance_a: LAST, by: channel.close(&Party::a(), LAST) };
    let deploy = world.deploy(kind.creation_code()).1;
    let coop = gas(&world, &channel, &Party::b(), close(&channel));
    let next = channel.next();
    let open_ = gas(&world, &next, &Party::a(), Call::Open);
    next.send(&mut world, &Party::a(), Call::Open).unwrap();
    let accept = gas(&world, &next, &Party::b(), Call::Accept);
    let cancel = gas(&world, &next, &Party::a(), Call::Cancel);

    let mut one_way = next.next();
    one_way.params.valueB = 0;
    let one_way_open = one_way.send(&mut world, &Party::a(), Call::Open).unwrap().gas;
    let one_way_close = gas(&world, &one_way, &Party::b(), close(&one_way));

    let by = Default::default();
    let zero = gas(&world, &channel, &Party::a(), Call::Challenge { balance_a: VALUES[0], round: 0, by });
    let (closing, _) = started(&world, &channel, FIRST);
    let [by_a, by_b] = [Party::a(), Party::b()].map(|party| channel.state(&party, LAST, 3));
    let tower = gas(&closing, &channel, &Party::c(), Call::DisputeFor { balance_a: LAST, round: 3, by_a, by_b });
    let [start, dispute, finish] = exits(kind, false);
    Measured::from([
        ("deploy", deploy),
        ("open", open_),
        ("accept", accept),
        ("cooperative close", coop),
        ("start", start),
        ("start with round 0", zero),
        ("dispute", dispute),
        ("dispute by a watchtower", tower),
        ("finish", finish),
        ("cancel", cancel),
        ("open + accept + close", open_ + accept + coop),
        ("one-way: open + close", one_way_open + one_way_close),
        ("start + finish", start + finish),
        ("start + dispute", start + dispute),
        ("close 10 one-way channels at once", close_ten(kind, false)),
    ])
}

fn in_token(kind: Kind) -> Measured {
    let mut world = World::new();
    let token = world.deploy_hex(TOKEN);
    let first = Channel::new(&mut world, kind, TOKEN_VALUES).in_token(&mut world, token);
    let first_open = first.send(&mut world, &Party::a(), Call::Open).unwrap().gas;
    let (mut world, channel) = open(kind, TOKEN_VALUES, true);
    let by = channel.close(&Party::a(), TOKEN_LAST);
    let close = gas(&world, &channel, &Party::b(), Call::CooperativeClose { balance_a: TOKEN_LAST, by });
    let next = channel.next();
    let open = next.send(&mut world, &Party::a(), Call::Open).unwrap().gas;
    let accept = gas(&world, &next, &Party::b(), Call::Accept);
    let [start, dispute, finish] = exits(kind, true);
    Measured::from([
        ("token: first open", first_open),
        ("token: open", open),
        ("token: accept", accept),
        ("token: cooperative close", close),
        ("token: start", start),
        ("token: dispute", dispute),
        ("token: finish", finish),
        ("token: close 10 one-way channels at once", close_ten(kind, true)),
    ])
}

fn measure(kind: Kind) -> Measured {
    let mut measured = native(kind);
    measured.extend(in_token(kind));
    measured
}

fn package_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

const SNAPSHOT: &str = "tests/channel/gas.snapshot";

/// One line a row: contract, gas, name.
fn snapshot_text(measured: &[(Kind, Measured)]) -> String {
    let mut text = String::new();
    for (kind, measured) in measured {
        for Row(name, ..) in rows(*kind) {
            writeln!(text, "{kind:?} {} {name}", measured[name]).expect("a string");
        }
    }
    text
}

fn committed(text: &str, kind: Kind, name: &str) -> u64 {
    let line = |line: &str| {
        let mut words = line.splitn(3, ' ');
        let (of, gas, row) = (words.next()?, words.next()?, words.next()?);
        (of == format!("{kind:?}") && row == name).then(|| gas.parse().expect("a number"))
    };
    text.lines().find_map(line).unwrap_or_else(|| panic!("{SNAPSHOT} has no row `{kind:?} {name}`; UPDATE_SNAPSHOT=1 writes it"))
}

fn number(value: Option<u64>) -> String {
    let Some(value) = value else { return "–".into() };
    let digits = value.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).expect("digits")).collect();
    groups.join(",")
}

/// The tables of README.md, from the snapshot.
fn tables(snapshot: &str) -> String {
    let mut text = String::new();
    for (kind, title) in [(Kind::OneWord, "`Sspc`"), (Kind::Compact, "`SspcCompact`")] {
        writeln!(text, "| {title} | ours | goal | original as shipped | original with optimizer |\n|---|---:|---:|---:|---:|")
            .expect("a string");
        for Row(name, shipped, optimized, goal) in rows(kind) {
            let ours = number(Some(committed(snapshot, kind, name)));
            let [goal, shipped, optimized] = [goal, shipped, optimized].map(|value| number(*value));
            writeln!(text, "| {name} | {ours} | {goal} | {shipped} | {optimized} |").expect("a string");
        }
        text.push('\n');
    }
    text
}

const MARKS: [&str; 2] = ["<!-- gas: begin -->\n", "<!-- gas: end -->"];

/// README.md with these tables between the marks.
fn with_tables(readme: &str, tables: &str) -> String {
    let begin = readme.find(MARKS[0]).expect("a begin mark") + MARKS[0].len();
    let end = readme.find(MARKS[1]).expect("an end mark");
    format!("{}{tables}{}", &readme[..begin], &readme[end..])
}

#[test]
fn every_call_costs_what_was_promised() {
    let measured = KINDS.map(|kind| (kind, measure(kind)));
    for (kind, measured) in &measured {
        for Row(name, _, _, goal) in rows(*kind) {
            println!("{kind:?}: {name}: {} (goal {})", measured[name], number(*goal));
        }
    }
    let snapshot_file = package_file(SNAPSHOT);
    let readme_file = package_file("README.md");
    if std::env::var_os("UPDATE_SNAPSHOT").is_some_and(|value| value == "1") {
        let text = snapshot_text(&measured);
        let readme = std::fs::read_to_string(&readme_file).unwrap();
        std::fs::write(&readme_file, with_tables(&readme, &tables(&text))).unwrap();
        std::fs::write(&snapshot_file, text).unwrap();
    }
    let snapshot = std::fs::read_to_string(&snapshot_file).unwrap();
    let mut wrong = Vec::new();
    for (kind, measured) in &measured {
        for Row(name, _, _, goal) in rows(*kind) {
            let (gas, promised) = (measured[name], committed(&snapshot, *kind, name));
            if gas != promised {
                wrong.push(format!("{kind:?}: {name}: {gas}, not {promised}; UPDATE_SNAPSHOT=1 writes it"));
            }
            if let Some(goal) = goal.filter(|goal| gas > *goal) {
                wrong.push(format!("{kind:?}: {name}: {gas}, above the goal of {goal}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let readme = std::fs::read_to_string(&readme_file).unwrap();
    assert_eq!(readme, with_tables(&readme, &tables(&snapshot)), "README.md has other tables; UPDATE_SNAPSHOT=1 writes them");
}

#[test]
fn an_ordinary_call_of_the_compact_contract_fits_in_100_bytes() {
    let channel = Channel::at(Party::c().address, Kind::Compact, 1, VALUES);
    let mut token = channel.clone();
    token.token_index = 7;
    let by = channel.close(&Party::a(), LAST);
    let sizes = [
        (Call::Open, 68),
        (Call::Accept, 36),
        (Call::Cancel, 36),
        (Call::CooperativeClose { balance_a: LAST, by }, 100),
        (Call::Challenge { balance_a: LAST, round: 2, by }, 100),
        (Call::Dispute { balance_a: LAST, round: 3, by }, 100),
        (Call::ForceClose, 36),
    ];
    for (call, size) in sizes {
        assert_eq!(channel.encode(call).1.len(), size, "{call:?}");
        assert_eq!(token.encode(call).1.len(), size, "in a token: {call:?}");
    }
    // The watchtower brings two signatures.
    let (_, data) = channel.encode(Call::DisputeFor { balance_a: LAST, round: 3, by_a: by, by_b: by });
    assert_eq!(data.len(), 164);
}

#[test]
fn the_parameters_of_the_one_word_contract_travel_in_each_call() {
    let channel = Channel::at(Party::c().address, Kind::OneWord, 1, VALUES);
    let by = channel.close(&Party::a(), LAST);
    let sizes = [
        (Call::Open, 228),
        (Call::Accept, 228),
        (Call::CooperativeClose { balance_a: LAST, by }, 324),
        (Call::Challenge { balance_a: LAST, round: 2, by }, 356),
        (Call::Dispute { balance_a: LAST, round: 3, by }, 356),
        (Call::ForceClose, 228),
    ];
    for (call, size) in sizes {
        assert_eq!(channel.encode(call).1.len(), size, "{call:?}");
    }
}
