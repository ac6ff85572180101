//! The committed artifacts are what the sources compile to.

use std::path::Path;

#[test]
fn the_committed_artifacts_are_what_the_sources_compile_to() {
    contract_rebuild::Contract::EVM.assert_committed(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("evm-compiler")).unwrap();
}
