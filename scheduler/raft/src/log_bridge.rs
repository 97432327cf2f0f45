//! Sends `raft`'s own log lines, which come through slog, to `tracing`.
//!
//! `raft` writes an info line for each vote and message of an election; those go to debug, and what
//! it calls debug is not even formatted, so nothing is logged in the hot path.

use std::fmt::{self, Write};

use slog::{Drain, KV, Level, Logger, Never, OwnedKVList, Record, Serializer};

/// The logger that `raft` is given.
pub(crate) fn logger() -> Logger {
    Logger::root(ToTracing, slog::o!())
}

struct ToTracing;

impl Drain for ToTracing {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        if !self.is_enabled(record.level()) {
            return Ok(());
        }
        let mut pairs = Pairs(String::new());
        // Formatting into a string cannot fail; a value that refuses to print is left out.
        let _ = record.kv().serialize(record, &mut pairs);
        let _ = values.serialize(record, &mut pairs);
        let text = record.msg();
        match record.level() {
            Level::Critical | Level::Error => tracing::error!(target: "raft", "{text}{}", pairs.0),
            Level::Warning => tracing::warn!(target: "raft", "{text}{}", pairs.0),
            Level::Info | Level::Debug | Level::Trace => {
                tracing::debug!(target: "raft", "{text}{}", pairs.0)
            }
        }
        Ok(())
    }

    fn is_enabled(&self, level: Level) -> bool {
        match level {
            Level::Critical | Level::Error | Level::Warning => true,
            Level::Info => tracing::enabled!(target: "raft", tracing::Level::DEBUG),
            Level::Debug | Level::Trace => false,
        }
    }
}

/// Key-value pairs as ` key=value` text.
struct Pairs(String);

impl Serializer for Pairs {
    fn emit_arguments(&mut self, key: slog::Key, value: &fmt::Arguments<'_>) -> slog::Result {
        write!(self.0, " {key}={value}").map_err(slog::Error::from)
    }
}
