//! Numbers that are the same for the same seed.

#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d | 1)
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }

    pub fn below(&mut self, sides: usize) -> usize {
        self.roll(sides as u64) as usize
    }

    /// Another one, which does not depend on how often this is asked later.
    pub fn split(&mut self) -> Self {
        Self::new(self.roll(u64::from(u32::MAX)) << 20 | self.roll(1 << 20))
    }
}
