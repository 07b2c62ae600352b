//! Chance that can be repeated: a generator from a seed that is told (splitmix64).

use std::time::Duration;

pub(crate) struct Chance(u64);

impl Chance {
    /// Its numbers are independent of those of another `stream` of the same seed.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut chance = Self(seed.wrapping_add(stream.wrapping_mul(0xA076_1D64_78BD_642F)));
        chance.next();
        chance
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From `low` to `high`, in milliseconds.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(low + self.next() % (high - low + 1))
    }
}
