//! What colours mean, each one thing: green works or is done well, red is lost or failed,
//! yellow waits or is on its way out, dim stands beside the matter.

use owo_colors::OwoColorize as _;

/// The meaning of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Tone {
    /// No colour.
    #[default]
    Plain,
    /// Running, up, succeeded.
    Good,
    /// Failed, lost.
    Bad,
    /// Queued, stopping, silent.
    Wait,
    /// Labels, times, what is not the point.
    Meta,
}

impl Tone {
    /// What the words of a lifecycle mean.
    pub(crate) fn of_state(state: &str) -> Self {
        match state {
            "running" | "finishing" | "succeeded" | "up" | "started" | "active" | "leader"
            | "ok" => Self::Good,
            "failed" | "lost" | "unreachable" | "damaged" | "missing" => Self::Bad,
            "queued" | "stopping" | "silent" | "assigned" | "candidate" => Self::Wait,
            "cancelled" | "exited" | "ended" => Self::Meta,
            _ => Self::Plain,
        }
    }

    /// Colours `text`, if colours are wanted.
    pub(crate) fn paint(self, text: &str, colour: bool) -> String {
        match self {
            _ if !colour => text.to_owned(),
            Self::Plain => text.to_owned(),
            Self::Good => text.green().to_string(),
            Self::Bad => text.red().to_string(),
            Self::Wait => text.yellow().to_string(),
            Self::Meta => text.dimmed().to_string(),
        }
    }
}
