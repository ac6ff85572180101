//! `cargo xtask contracts`.

use anyhow::{bail, ensure};
use contract_rebuild::{Contract, Outcome};

/// Where the compilers are installed, inside the build folder.
const COMPILERS: &str = "target/contract-compiler";

#[derive(clap::Args)]
pub struct Arguments {
    /// Replace the committed code by what the sources compile to
    #[arg(long)]
    write: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    // Each is looked at before any is refused.
    let mut refused = Vec::new();
    for contract in Contract::ALL {
        match settle(contract, arguments.write) {
            Ok(said) => println!("{}: {said}", contract.name()),
            Err(error) => {
                eprintln!("{}: {error:#}", contract.name());
                refused.push(contract.name());
            }
        }
    }
    ensure!(refused.is_empty(), "not what was asked for: {}", refused.join(", "));
    Ok(())
}

/// Checks one contract, writes its code where it differs and that is asked for, and says what was done.
fn settle(contract: Contract, write: bool) -> anyhow::Result<String> {
    let found = contract.check(&crate::root().join(COMPILERS).join(contract.name()))?;
    if write && let Outcome::Differs(compiled) = &found {
        contract.write(compiled)?;
        return Ok("replaced".into());
    }
    verdict(found, write)
}

/// What to say of an outcome; an error where it is not what was asked for.
fn verdict(found: Outcome, write: bool) -> anyhow::Result<String> {
    match found {
        Outcome::Same => Ok("what the sources compile to".into()),
        Outcome::Differs(compiled) => {
            let files: Vec<_> = compiled.into_keys().collect();
            bail!("the sources compile to other code, `--write` replaces it: {}", files.join(", "))
        }
        Outcome::Skipped(why) if write => bail!("nothing written: {why}"),
        Outcome::Skipped(why) => Ok(format!("skipped: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_may_be_skipped_and_a_write_may_not() {
        let skipped = || Outcome::Skipped("npm not found".into());
        assert_eq!(verdict(skipped(), false).unwrap(), "skipped: npm not found");
        assert_eq!(verdict(skipped(), true).unwrap_err().to_string(), "nothing written: npm not found");
    }

    #[test]
    fn other_code_is_refused() {
        verdict(Outcome::Same, false).unwrap();
        verdict(Outcome::Differs([("Sspc.hex".into(), "00".into())].into()), false).unwrap_err();
    }
}
