//! The contracts in a local EVM: what they cost, what they refuse, and that nobody honest loses.

mod attacks;
mod channel;
mod contracts;
mod digests;
mod documents;
mod fuzz;
mod gas;
mod old_rules;
mod tokens;
mod world;
