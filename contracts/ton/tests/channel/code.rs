//! The codes that every test runs against.

use std::io::Write;
use std::sync::OnceLock;

use ton::Cell;

/// Hash of the live network's contract (payments 7.1).
const LIVE_CODE_HASH: &str = "ff5f2b39743b52e08d16400f792f75abe0385f337c57229be5e74cfe401d32bc";

/// A contract to test.
#[derive(Clone)]
pub struct Code {
    pub cell: Cell,
    /// Not ours but the live network's, which knows all currencies.
    pub live: bool,
}

/// Runs a test against each code there is.
pub fn each_code(test: impl Fn(&Code)) {
    test(&Code { cell: channel_contract_ton::code(), live: false });
    if let Some(cell) = live_code() {
        test(&Code { cell, live: true });
    }
}

fn live_code() -> Option<Cell> {
    static LIVE: OnceLock<Option<Cell>> = OnceLock::new();
    LIVE.get_or_init(|| {
        let Some(path) = std::env::var_os("CAUSEWAY_LIVE_CODE") else {
            // Past the capture of test output: whoever reads the log must see what was not tested.
            writeln!(std::io::stderr(), "skipped: CAUSEWAY_LIVE_CODE not set").expect("stderr");
            return None;
        };
        let file = std::fs::read(&path).expect("CAUSEWAY_LIVE_CODE names a readable file");
        let bytes = std::str::from_utf8(&file).ok().and_then(|text| hex::decode(text.trim()).ok()).unwrap_or(file);
        let cell = ton::decode_boc(&bytes).expect("CAUSEWAY_LIVE_CODE is a BoC, as hex or bytes");
        assert_eq!(cell.repr_hash().to_string(), LIVE_CODE_HASH, "CAUSEWAY_LIVE_CODE is another contract");
        Some(cell)
    })
    .clone()
}
