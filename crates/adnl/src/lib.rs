//! ADNL, the datagram layer of the TON network (network 2, 3).

pub mod cipher;
pub mod keys;
