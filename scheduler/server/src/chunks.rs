//! Joins the chunks in which a message travels. Bounded: whoever sends without an end is refused
//! before memory is.

/// A message that is larger than any that a member sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message is larger than {limit} bytes: no snapshot is; see what sends it")]
pub struct TooLarge {
    /// The most that is joined.
    limit: usize,
}

/// The chunks so far.
#[derive(Debug)]
pub struct Joiner {
    message: Vec<u8>,
    limit: usize,
}

impl Joiner {
    /// Joins messages of at most `limit` bytes.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { message: Vec::new(), limit }
    }

    /// Adds a chunk; gives the message if this was its last.
    ///
    /// # Errors
    /// [`TooLarge`]; what was joined is dropped.
    pub fn push(&mut self, chunk: &[u8], last: bool) -> Result<Option<Vec<u8>>, TooLarge> {
        if self.message.len().saturating_add(chunk.len()) > self.limit {
            self.message = Vec::new();
            return Err(TooLarge { limit: self.limit });
        }
        self.message.extend_from_slice(chunk);
        Ok(last.then(|| std::mem::take(&mut self.message)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_joined_one_after_another_up_to_the_limit() {
        let mut joiner = Joiner::new(4);
        assert_eq!(joiner.push(b"ab", false), Ok(None));
        assert_eq!(joiner.push(b"cd", true), Ok(Some(b"abcd".to_vec())));
        assert_eq!(joiner.push(b"", true), Ok(Some(Vec::new())));
        assert_eq!(joiner.push(b"abc", false), Ok(None));
        assert_eq!(joiner.push(b"de", true), Err(TooLarge { limit: 4 }));
    }
}
