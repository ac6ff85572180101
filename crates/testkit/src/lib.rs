//! Real surroundings for tests, benches and the demo: a private Postgres cluster, child processes that do not outlive their owner, free
//! ports, and waiting until something is ready.
//!
//! Not here: fakes. What a test needs from the outside is the real thing.
//!
//! Invariants:
//! - only processes started here are signalled, each by its own id, and never after it was reaped;
//! - a cluster runs with `fsync`, `full_page_writes` and `synchronous_commit` on, listens on loopback only and asks for passwords.

mod cpu;
mod ports;
mod postgres;
mod process;
mod wait;

pub use cpu::cpu_time;
pub use ports::{free_port, free_udp_port};
pub use postgres::{Cluster, Database, PostgresBinaries};
pub use process::Process;
pub use wait::{wait_for, wait_for_port};
