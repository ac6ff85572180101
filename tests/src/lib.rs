//! What tests across the workspace share: its structure as cargo sees it, and a line of three nodes of real processes that pays while
//! something breaks.
//!
//! Not here: the tests themselves (`tests/tests`).

mod chance;
mod impostor;
mod line;
mod owners;
mod structure;
mod virtuals;

pub use chance::Chance;
pub use impostor::speaks_as_owner;
pub use line::{Line, Scene, database};
pub use owners::Owners;
pub use structure::{Package, diagram, packages, reaches, root};
pub use virtuals::{advance_to, now, open_virtual, sign, until_virtual};
