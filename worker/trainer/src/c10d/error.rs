//! What can go wrong between ranks, told apart by what the reader can do about it.

use thiserror::Error;

/// A failure of the store, of a collective, or of a kernel called through the bridge.
#[derive(Debug, Error)]
pub enum CommError {
    /// A peer closed its connection, or the network did.
    #[error("lost the connection to a peer during {during}: {text}")]
    PeerLost {
        /// What was being done.
        during: &'static str,
        /// libtorch's own words.
        text: String,
    },
    /// The named ranks are gone: they no longer answer on the store.
    #[error("rank {} lost during {during}: {text}", ranks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    RanksLost {
        /// Which, in order.
        ranks: Vec<u32>,
        /// What was being done.
        during: &'static str,
        /// libtorch's own words.
        text: String,
    },
    /// Nothing failed, but nothing came back in time either.
    #[error("{during} ran out of time: {text}")]
    Timeout {
        /// What was being done.
        during: &'static str,
        /// libtorch's own words.
        text: String,
    },
    /// Any other refusal by libtorch.
    #[error("{during} failed: {text}")]
    Torch {
        /// What was being done.
        during: &'static str,
        /// libtorch's own words.
        text: String,
    },
    /// CUDA or NCCL was asked for where it cannot be had.
    #[error("{0}")]
    NoCuda(String),
}

impl CommError {
    /// Sorts libtorch's error text into a case. Errors of a backward pass arrive as text alone, so
    /// the text is what decides everywhere.
    pub fn from_text(during: &'static str, text: &str) -> Self {
        let text = first_line(text);
        let has = |needles: &[&str]| needles.iter().any(|needle| text.contains(needle));
        if has(&[
            "Connection closed by peer",
            "Connection reset",
            "Broken pipe",
            "Connection refused",
            "recvVector failed",
            "Failed to recv",
        ]) {
            Self::PeerLost { during, text }
        } else if has(&["Timed out", "timed out", "timeout", "Timeout"]) {
            Self::Timeout { during, text }
        } else {
            Self::Torch { during, text }
        }
    }

    /// Whether other ranks may be the cause, so that asking the store who is left makes sense.
    pub fn concerns_peers(&self) -> bool {
        matches!(self, Self::PeerLost { .. } | Self::Timeout { .. })
    }

    /// The same failure with the ranks that were found missing.
    pub fn with_lost(self, ranks: Vec<u32>) -> Self {
        match self {
            Self::PeerLost { during, text } | Self::Timeout { during, text }
                if !ranks.is_empty() =>
            {
                Self::RanksLost { ranks, during, text }
            }
            other => other,
        }
    }
}

/// libtorch's texts carry stack traces below the first line, and tch a prefix above it.
fn first_line(text: &str) -> String {
    let text = text.strip_prefix("Internal torch error: ").unwrap_or(text);
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no text").to_owned()
}

#[cfg(test)]
mod tests {
    use super::CommError;

    #[test]
    fn a_closed_socket_is_a_lost_peer_and_loses_its_trace() {
        let text = "Internal torch error: [../gloo/pair.cc:534] Connection closed by peer [127.0.0.1]:4242\nException raised from …";
        let error = CommError::from_text("backward", text).with_lost(vec![1]);
        assert_eq!(
            error.to_string(),
            "rank 1 lost during backward: [../gloo/pair.cc:534] Connection closed by peer [127.0.0.1]:4242"
        );
    }

    #[test]
    fn a_shape_error_is_not_blamed_on_peers() {
        let error = CommError::from_text("forward", "mat1 and mat2 shapes cannot be multiplied");
        assert!(!error.concerns_peers());
    }
}
