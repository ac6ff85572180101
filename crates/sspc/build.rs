//! Compiles `proto/` without `protoc`.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("proto");
    println!("cargo:rerun-if-changed={}", root.display());
    prost_build::Config::new().compile_fds(protox::compile(["sspc.proto"], [&root])?)?;
    Ok(())
}
