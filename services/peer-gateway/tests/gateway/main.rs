//! Gateways against each other: real ADNL and RLDP on loopback, real Postgres, real protobuf; only the engines are the tests' own.

mod discovery;
mod queries;
mod restart;
mod sessions;
mod world;
