//! Random choices that can be repeated.

use std::time::{SystemTime, UNIX_EPOCH};

/// A source of choices (splitmix64). Its seed is printed; `CAUSEWAY_SEED` repeats a run's choices.
#[derive(Debug)]
pub struct Chance(u64);

impl Chance {
    /// With the seed of the environment, or a new one.
    pub fn new() -> Self {
        let given = std::env::var("CAUSEWAY_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_micros() as u64));
        println!("CAUSEWAY_SEED={seed}");
        Self(seed)
    }

    /// A number from `from` up to, not including, `to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        from + (z ^ (z >> 31)) % (to - from).max(1)
    }
}

impl Default for Chance {
    fn default() -> Self {
        Self::new()
    }
}
