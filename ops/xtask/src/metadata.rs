//! The part of `cargo metadata` that the checks read: packages, and which needs which.
//!
//! Only what is built on Linux counts; nothing is fetched and the lock file is not changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

/// The workspace and everything that it is built from.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
    workspace_members: BTreeSet<String>,
}

/// One crate.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    pub(crate) source: Option<String>,
    pub(crate) manifest_path: String,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Debug, Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Debug, Deserialize)]
struct EdgeKind {
    kind: Option<String>,
}

impl Edge {
    /// Whether the dependency is linked into the crate, rather than into its build or its tests.
    fn is_normal(&self) -> bool {
        self.dep_kinds.iter().any(|kind| kind.kind.is_none())
    }
}

impl Metadata {
    /// Asks cargo about the workspace at `root`.
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["metadata", "--format-version", "1", "--locked"])
            .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
            .current_dir(root)
            .output()
            .context("could not run cargo metadata")?;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "cargo metadata failed: {errors}");
        Self::parse(&output.stdout)
    }

    pub(crate) fn parse(json: &[u8]) -> anyhow::Result<Self> {
        let mut metadata: Self =
            serde_json::from_slice(json).context("could not read what cargo metadata printed")?;
        let built: BTreeSet<_> = metadata.resolve.nodes.iter().map(|node| &node.id).collect();
        metadata.packages.retain(|package| built.contains(&package.id));
        metadata.packages.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        Ok(metadata)
    }

    /// The workspace's own crates, by name.
    pub(crate) fn rooms(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.workspace_members.contains(&package.id))
    }

    /// The crates of others, by name and version.
    pub(crate) fn foreign(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| !self.workspace_members.contains(&package.id))
    }

    /// What `package` itself is linked with.
    pub(crate) fn direct(&self, package: &Package) -> Vec<&Package> {
        self.edges(&package.id).collect()
    }

    /// Everything that `package` is linked with, each with the crate that brings it in.
    pub(crate) fn reached<'a>(&'a self, package: &'a Package) -> BTreeMap<&'a str, &'a str> {
        let mut found = BTreeMap::new();
        let mut open = vec![package];
        while let Some(next) = open.pop() {
            for dependency in self.edges(&next.id) {
                if !found.contains_key(dependency.name.as_str()) {
                    found.insert(dependency.name.as_str(), next.name.as_str());
                    open.push(dependency);
                }
            }
        }
        found
    }

    fn edges(&self, id: &str) -> impl Iterator<Item = &Package> {
        let node = self.resolve.nodes.iter().find(|node| node.id == id);
        let edges = node.map(|node| node.deps.as_slice()).unwrap_or_default();
        edges.iter().filter(|edge| edge.is_normal()).filter_map(|edge| self.package(&edge.pkg))
    }

    fn package(&self, id: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.id == id)
    }
}
