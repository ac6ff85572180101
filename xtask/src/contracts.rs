//! `cargo xtask contracts`.

use anyhow::{Context as _, bail};
use channel_contract_ton::rebuild::{Outcome, check};

/// Where the compiler is installed, inside the build folder.
const COMPILER: &str = "target/contract-compiler";
/// The committed code.
const CODE: &str = "contracts/ton/build/channel.boc.hex";

#[derive(clap::Args)]
pub struct Arguments {
    /// Replace the committed code by what the sources compile to
    #[arg(long)]
    write: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    match check(&crate::root().join(COMPILER))? {
        Outcome::Same => println!("{CODE} is what the sources compile to"),
        Outcome::Differs(compiled) if arguments.write => {
            std::fs::write(crate::root().join(CODE), compiled).with_context(|| format!("cannot write {CODE}"))?;
            println!("{CODE} was replaced");
        }
        Outcome::Differs(_) => bail!("the sources compile to other code than {CODE}; `--write` replaces it"),
        Outcome::Skipped(why) => bail!("cannot compile the contracts: {why}"),
    }
    Ok(())
}
