//! The targets, by name.

mod files;
mod state;
mod wire;
mod words;

/// Something that reads bytes.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and its corpus'.
    pub name: &'static str,
    /// Inputs are cut to this many bytes.
    pub longest: usize,
    /// Reads an input; panics if what must hold does not.
    pub run: fn(&[u8]),
}

const fn target(name: &'static str, longest: usize, run: fn(&[u8])) -> Target {
    Target { name, longest, run }
}

pub(crate) use state::join;
pub(crate) use wire::{Counter, MEMBER, config, memory_dir};

/// Feeds the target `name`, if there is one: what libFuzzer calls.
pub fn feed(name: &str, input: &[u8]) {
    if let Some(target) = TARGETS.iter().find(|target| target.name == name) {
        (target.run)(input);
    }
}

/// All of them.
pub const TARGETS: [Target; 14] = [
    target("command", 16 << 10, state::command),
    target("history", 32 << 10, state::history),
    target("snapshot", 64 << 10, state::snapshot),
    target("raft_message", 64 << 10, wire::raft_message),
    target("raft_chunks", 64 << 10, wire::raft_chunks),
    target("proto", 16 << 10, wire::proto),
    target("spec_toml", 16 << 10, files::spec_toml),
    target("spec_yaml", 16 << 10, files::spec_yaml),
    target("spec_json", 16 << 10, files::spec_json),
    target("manifest", 16 << 10, files::manifest),
    target("bundle", 64 << 10, files::bundle),
    target("log_segment", 16 << 10, files::log_segment),
    target("config", 8 << 10, files::config),
    target("words", 4 << 10, words::words),
];
