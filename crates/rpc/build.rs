//! Compiles `proto/` without `protoc`, and keeps the descriptors for gRPC reflection.

use std::path::PathBuf;

use prost::Message;

const FILES: [&str; 9] = [
    "causeway/common/v1/common.proto",
    "causeway/engine/v1/types.proto",
    "causeway/engine/v1/channel_service.proto",
    "causeway/engine/v1/cluster_service.proto",
    "causeway/gateway/v1/frames.proto",
    "causeway/gateway/v1/gateway_service.proto",
    "causeway/indexer/v1/indexer_service.proto",
    "causeway/planner/v1/planner_service.proto",
    "causeway/sspc/v1/channel_service.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let descriptors = protox::compile(FILES, [&root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("causeway.bin"), descriptors.encode_to_vec())?;
    // Messages of peers pass through the gateway's frames: shared buffers, no copies.
    tonic_prost_build::configure().bytes(".causeway.gateway.v1").compile_fds(descriptors)?;
    Ok(())
}
