//! What comes from others: licences, bans, sources and duplicates of heavy crates. `deny.toml` is
//! the one place where the rules stand; `cargo deny` reads the same and checks advisories besides.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Context as _;
use serde::Deserialize;

use super::{Finding, licence};
use crate::metadata::Metadata;

const FILE: &str = "deny.toml";

/// The part of `deny.toml` that is checked here.
#[derive(Debug, Deserialize)]
pub(crate) struct Policy {
    licenses: Licences,
    bans: Bans,
}

#[derive(Debug, Deserialize)]
struct Licences {
    allow: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

/// A crate that must not be used, or not in two versions.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    #[serde(default)]
    deny_multiple_versions: bool,
    #[serde(default)]
    reason: String,
}

impl Policy {
    /// Reads `deny.toml` at the root.
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(root.join(FILE)).context("could not read deny.toml")?;
        Self::parse(&text)
    }

    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        toml::from_str(text).context("could not understand deny.toml")
    }
}

/// Checks every crate that is built.
pub(crate) fn check(metadata: &Metadata, policy: &Policy) -> Vec<Finding> {
    let mut texts = Vec::new();
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in metadata.foreign() {
        let named = format!("{} {}", package.name, package.version);
        versions.entry(&package.name).or_default().push(&package.version);
        match package.license.as_deref() {
            Some(expression) if licence::is_allowed(expression, &policy.licenses.allow) => {}
            Some(expression) => {
                texts.push(format!("{named} is under {expression}, which is not allowed"))
            }
            None => texts.push(format!("{named} names no licence; use another crate")),
        }
        if !package.source.as_deref().is_some_and(|source| source.starts_with("registry+")) {
            texts.push(format!("{named} does not come from the registry; use a released version"));
        }
    }
    for ban in &policy.bans.deny {
        let found = versions.get(ban.name.as_str()).map(Vec::as_slice).unwrap_or_default();
        match (ban.deny_multiple_versions, found) {
            (false, []) | (true, [] | [_]) => {}
            (false, _) => texts.push(format!("{} is banned: {}", ban.name, ban.reason)),
            (true, many) => {
                texts.push(format!(
                    "{} is there in versions {}; agree on one",
                    ban.name,
                    many.join(", ")
                ));
            }
        }
    }
    texts.into_iter().map(|text| Finding::new("Cargo.lock", 1, text)).collect()
}
