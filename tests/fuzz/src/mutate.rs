//! Seeded damage to real encodings: bits, lengths, pieces moved and doubled, two inputs spliced.
//! The same seed gives the same inputs.

/// Numbers at which lengths and counters break.
const ODD: [u64; 10] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
];

/// A linear congruential generator (Knuth's MMIX).
#[derive(Debug, Clone)]
pub struct Draw(u64);

impl Draw {
    /// Begins a sequence.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`; 0 if that is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let drawn = usize::try_from(self.0 >> 33).unwrap_or_default();
        if limit == 0 { 0 } else { drawn % limit }
    }
}

/// Damages `input` in one to five places; `other` is spliced in at times.
#[must_use]
pub fn mutate(draw: &mut Draw, input: &[u8], other: &[u8], longest: usize) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=draw.below(5) {
        change(draw, &mut bytes, other);
    }
    bytes.truncate(longest);
    bytes
}

fn change(draw: &mut Draw, bytes: &mut Vec<u8>, other: &[u8]) {
    let at = draw.below(bytes.len());
    let to = bytes.len().min(at.saturating_add(1 + draw.below(16)));
    match draw.below(9) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << draw.below(8);
            }
        }
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = u8::try_from(draw.below(256)).unwrap_or_default();
            }
        }
        2 => odd_number(draw, bytes, at),
        3 => bytes.truncate(at),
        4 => drop(bytes.drain(at..to)),
        5 => {
            let piece = bytes.get(at..to).unwrap_or_default().to_vec();
            let place = draw.below(bytes.len() + 1);
            insert(bytes, place, &piece);
        }
        6 => {
            let from = draw.below(other.len());
            let end = other.len().min(from + 1 + draw.below(64));
            insert(bytes, at, other.get(from..end).unwrap_or_default());
        }
        7 => {
            bytes.truncate(at);
            bytes.extend_from_slice(other.get(draw.below(other.len())..).unwrap_or_default());
        }
        _ => {
            let count = 1 + draw.below(300);
            let byte = u8::try_from(draw.below(256)).unwrap_or_default();
            insert(bytes, at, &vec![byte; count]);
        }
    }
}

/// Writes a number that is apt to be mishandled over what stands at `at`.
fn odd_number(draw: &mut Draw, bytes: &mut [u8], at: usize) {
    let number = ODD.get(draw.below(ODD.len())).copied().unwrap_or_default();
    let width = 1 << draw.below(4);
    let encoded = if draw.below(2) == 0 { number.to_le_bytes() } else { number.to_be_bytes() };
    for (place, byte) in bytes.iter_mut().skip(at).take(width).zip(encoded) {
        *place = byte;
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    let at = at.min(bytes.len());
    drop(bytes.splice(at..at, piece.iter().copied()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_inputs_twice_and_they_differ() {
        let inputs = |seed| -> Vec<_> {
            let mut draw = Draw::new(seed);
            (0..500).map(|_| mutate(&mut draw, b"a real encoding", b"another one", 4096)).collect()
        };
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
        let mut distinct = inputs(1);
        distinct.sort();
        distinct.dedup();
        assert!(distinct.len() > 400, "{}", distinct.len());
    }

    #[test]
    fn nothing_is_too_small_to_be_damaged() {
        let mut draw = Draw::new(3);
        for _ in 0..2000 {
            let bytes = mutate(&mut draw, b"", b"", 64);
            assert!(bytes.len() <= 64);
        }
    }
}
