//! `causeway`: see the crate's documentation, or `causeway --help`.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let code = cli::run(std::env::args_os(), &mut std::io::stdout(), &mut std::io::stderr()).await;
    ExitCode::from(code)
}
