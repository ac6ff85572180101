//! The channel contract in the TVM, against payments 7: our code always, the live network's code too where `CAUSEWAY_LIVE_CODE` names a
//! file with it (hex or bytes of a BoC with the hash of payments 7.1).

mod cells;
mod code;
mod cooperative;
mod dispute;
mod finish;
mod gas;
mod messages;
mod open;
mod settle;
mod world;
