//! The committed code is what the sources compile to.

use std::path::Path;

#[test]
fn the_committed_code_is_what_the_sources_compile_to() {
    contract_rebuild::Contract::TON.assert_committed(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("contract-compiler")).unwrap();
}
