//! Generated code, one module per package and version.

#![allow(missing_docs, clippy::all)]

macro_rules! package {
    ($name:ident, $package:literal) => {
        #[doc = concat!("Package `", $package, "`.")]
        pub mod $name {
            pub mod v1 {
                tonic::include_proto!($package);
            }
        }
    };
}

package!(common, "causeway.common.v1");
package!(engine, "causeway.engine.v1");
package!(gateway, "causeway.gateway.v1");
package!(indexer, "causeway.indexer.v1");
package!(planner, "causeway.planner.v1");
package!(sspc, "causeway.sspc.v1");

/// Descriptors of all packages, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/causeway.bin"));
