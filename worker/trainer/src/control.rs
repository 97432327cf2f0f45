//! Requests from the agent: `request.json` in the control folder asks for a checkpoint before a
//! deadline, and says whether to go on after it. Each request is answered once.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::output::warn;

/// What to do after the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Then {
    /// Go on training.
    Continue,
    /// Leave with exit code 75.
    Stop,
}

/// The agent's request. Fields that this trainer does not know are left for newer ones.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Request {
    /// Seconds since 1970 after which the checkpoint comes too late.
    pub checkpoint_before_unix_s: f64,
    /// What then.
    pub then: Then,
}

/// The place where requests appear.
#[derive(Debug)]
pub struct Requests {
    path: PathBuf,
    seen: String,
}

impl Requests {
    /// Watches `folder`.
    pub fn in_folder(folder: &Path) -> Self {
        Self { path: folder.join("request.json"), seen: String::new() }
    }

    /// A request that was not there at the last call.
    pub fn poll(&mut self) -> Option<Request> {
        let text = fs::read_to_string(&self.path).ok()?;
        if text == self.seen {
            return None;
        }
        let parsed = serde_json::from_str(&text);
        self.seen = text;
        match parsed {
            Ok(request) => Some(request),
            Err(why) => {
                warn(&format!("ignored {}: {why}", self.path.display()));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Requests, Then};
    use std::fs;

    #[test]
    fn a_request_is_answered_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut requests = Requests::in_folder(folder.path());
        assert_eq!(requests.poll(), None);
        let file = folder.path().join("request.json");
        fs::write(&file, r#"{"checkpoint_before_unix_s": 5, "then": "stop"}"#).unwrap();
        assert_eq!(requests.poll().map(|r| r.then), Some(Then::Stop));
        assert_eq!(requests.poll(), None);
        fs::write(&file, r#"{"checkpoint_before_unix_s": 6, "then": "continue"}"#).unwrap();
        assert_eq!(requests.poll().map(|r| r.then), Some(Then::Continue));
        fs::write(&file, "{").unwrap();
        assert_eq!(requests.poll(), None);
    }
}
