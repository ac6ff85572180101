//! `cargo xtask contracts`.

use anyhow::{Context as _, bail};
use channel_contract_evm::rebuild as evm;
use channel_contract_ton::rebuild as ton;

/// Where the compilers are installed, inside the build folder.
const COMPILERS: &str = "target/contract-compiler";
/// The committed code.
const TON: &str = "contracts/ton/build/channel.boc.hex";
const EVM: &str = "contracts/evm/artifacts";

#[derive(clap::Args)]
pub struct Arguments {
    /// Replace the committed code by what the sources compile to
    #[arg(long)]
    write: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let compilers = crate::root().join(COMPILERS);
    // Both are looked at before either is refused.
    let ton = match ton::check(&compilers.join("ton"))? {
        ton::Outcome::Same => same(TON),
        ton::Outcome::Differs(compiled) if arguments.write => {
            std::fs::write(crate::root().join(TON), compiled).with_context(|| format!("cannot write {TON}"))?;
            replaced(TON)
        }
        ton::Outcome::Differs(_) => differs(TON),
        ton::Outcome::Skipped(why) => skipped(TON, why),
    };
    let evm = match evm::check(&compilers.join("evm"))? {
        evm::Outcome::Same => same(EVM),
        evm::Outcome::Differs(compiled) if arguments.write => {
            evm::write(&compiled)?;
            replaced(EVM)
        }
        evm::Outcome::Differs(_) => differs(EVM),
        evm::Outcome::Skipped(why) => skipped(EVM, why),
    };
    if !(ton && evm) {
        bail!("the sources compile to other code; `--write` replaces it");
    }
    Ok(())
}

fn same(what: &str) -> bool {
    println!("{what}: what the sources compile to");
    true
}

fn replaced(what: &str) -> bool {
    println!("{what}: replaced");
    true
}

fn differs(what: &str) -> bool {
    println!("{what}: differs from what the sources compile to");
    false
}

fn skipped(what: &str, why: &str) -> bool {
    println!("{what}: skipped: {why}");
    true
}
