//! SHA-256 digests: what bundles, checkpoint files and artifacts are known by.

use std::{fmt, str::FromStr};

use sha2::{Digest as _, Sha256};

use crate::text::serde_as_text;

/// A text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a digest: expected `sha256:` and 64 hexadecimal digits")]
pub struct InvalidDigest(String);

/// The SHA-256 of some bytes, written `sha256:…`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

serde_as_text!(Digest, |digest| digest.text().as_str());

/// What a digest's text begins with.
const PREFIX: &str = "sha256:";

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// A digest that a hasher has computed piecewise.
    #[must_use]
    pub fn from_hasher(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }

    /// Whether both are the same, in a time that does not tell how much of them agrees: for
    /// digests of secrets.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        let differs = self.0.iter().zip(&other.0).fold(0, |all, (a, b)| all | (a ^ b));
        std::hint::black_box(differs) == 0
    }

    /// Reads the 64 hexadecimal digits, in lower case.
    #[must_use]
    pub fn from_hex(hex: &str) -> Option<Self> {
        let digits: &[u8; 64] = hex.as_bytes().try_into().ok()?;
        let (pairs, _) = digits.as_chunks();
        let mut bytes = [0; 32];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = nibble(*high)? << 4 | nibble(*low)?;
        }
        Some(Self(bytes))
    }

    /// The next link of a chain: the digest of this one's bytes, then `bytes`.
    #[must_use]
    pub fn chain(&self, bytes: &[u8]) -> Self {
        Self::from_hasher(Sha256::new_with_prefix(self.0).chain_update(bytes))
    }

    /// Its 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The digest that these bytes are, not that of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 64 hexadecimal digits, without the prefix: what stands in object names.
    #[must_use]
    pub fn hex(&self) -> String {
        self.text().hex().to_owned()
    }

    fn text(&self) -> Text {
        let mut text = [0; PREFIX.len() + 64];
        let (prefix, digits) = text.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX.as_bytes());
        let (pairs, _) = digits.as_chunks_mut();
        for (pair, byte) in pairs.iter_mut().zip(self.0) {
            *pair = [digit(byte >> 4), digit(byte & 15)];
        }
        Text(text)
    }
}

/// A digest's text, which needs no memory of its own.
struct Text([u8; PREFIX.len() + 64]);

impl Text {
    fn as_str(&self) -> &str {
        // Only ASCII was put in.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    fn hex(&self) -> &str {
        self.as_str().get(PREFIX.len()..).unwrap_or_default()
    }
}

const fn digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble }
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().as_str())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let hex = text.strip_prefix(PREFIX);
        let digest = hex.and_then(Self::from_hex);
        // People may write capitals; we never do.
        let digest = digest.or_else(|| Self::from_hex(&hex?.to_ascii_lowercase()));
        digest.ok_or_else(|| InvalidDigest(text.chars().take(80).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_prints() {
        let digest = Digest::of(b"abc");
        assert_eq!(
            digest.to_string(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(digest.to_string().parse(), Ok(digest));
        for text in ["", "sha256:", "sha256:zz", "md5:00", "sha256:+1"] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
}
