//! `causeway-sspc`: see the library.

use causeway_sspc::{bench, connect, demo, peer, serve};
use clap::{Parser, Subcommand};

/// Two-party payment channels on EVM chains.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Play every way to use and end a channel on a chain in this process, and check each balance
    Demo,
    /// Deploy a contract and print its address
    Deploy(connect::Account),
    /// Be a party: commands on the standard input, a guard beside them
    Peer(peer::Arguments),
    /// Serve the calls over gRPC, with a guard
    Serve {
        /// Configuration file (TOML). Variables such as CAUSEWAY__SERVER__LISTEN override it
        #[arg(long, env = "CAUSEWAY_CONFIG")]
        config: Option<std::path::PathBuf>,
    },
    /// Measure payments per second
    Bench(bench::Arguments),
    #[command(hide = true)]
    BenchSide(bench::SideArguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Demo => runtime()?.block_on(demo::run()),
        Command::Deploy(account) => runtime()?.block_on(account.deploy()),
        Command::Peer(arguments) => runtime()?.block_on(peer::run(arguments)),
        Command::Serve { config } => runtime()?.block_on(serve::run(rpc::config::load(config.as_deref())?)),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::BenchSide(arguments) => bench::run_side(&arguments),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
