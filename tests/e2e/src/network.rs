//! A network of its own for a cluster: a namespace a machine, on a bridge that the test shares, so
//! that any direction between any two can be cut. Needs root.
//!
//! What is cut is dropped by the receiver without a word, as a broken switch would: senders learn
//! nothing. Each direction is cut for itself.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail, ensure};

/// Networks that may exist at a time; each is a /24 of 10.77.0.0/16.
const NETWORKS: u8 = 200;
const BRIDGE: u8 = 254;

/// Machines on one network.
#[derive(Debug)]
pub struct Network {
    number: u8,
    hosts: Vec<String>,
}

impl Network {
    /// A machine for each name; names differ.
    pub fn new(hosts: impl IntoIterator<Item = String>) -> anyhow::Result<Self> {
        let mut network = Self { number: take_bridge()?, hosts: Vec::new() };
        let (bridge, address) = (network.bridge(), network.at(BRIDGE));
        ip(&["addr", "add", &format!("{address}/24"), "dev", &bridge])?;
        ip(&["link", "set", &bridge, "up"])?;
        for host in hosts {
            network.hosts.push(host.clone());
            network.add(&host)?;
        }
        Ok(network)
    }

    fn add(&self, host: &str) -> anyhow::Result<()> {
        let (space, place) = (self.namespace(host)?, self.place(host)?);
        let (outside, address) = (self.outside(place), self.at(place));
        ip(&["netns", "add", &space])?;
        ip(&["link", "add", &outside, "type", "veth", "peer", "name", "eth0", "netns", &space])?;
        ip(&["link", "set", &outside, "master", &self.bridge(), "up"])?;
        ip(&["-n", &space, "addr", "add", &format!("{address}/24"), "dev", "eth0"])?;
        ip(&["-n", &space, "link", "set", "eth0", "up"])?;
        ip(&["-n", &space, "link", "set", "lo", "up"])?;
        // The rule for local addresses comes first unless it is moved: cuts must come before it.
        ip(&["-n", &space, "rule", "add", "pref", "100", "lookup", "local"])?;
        ip(&["-n", &space, "rule", "del", "pref", "0"])
    }

    /// The address of a machine.
    pub fn address(&self, host: &str) -> anyhow::Result<String> {
        Ok(self.at(self.place(host)?))
    }

    /// The namespace of a machine.
    pub fn namespace(&self, host: &str) -> anyhow::Result<String> {
        Ok(format!("yt{}n{}", self.number, self.place(host)?))
    }

    /// Cuts one direction: what `from` sends does not reach `to`.
    pub fn cut(&self, from: &str, to: &str) -> anyhow::Result<()> {
        self.rule("add", from, to)
    }

    /// Ends a cut.
    pub fn mend(&self, from: &str, to: &str) -> anyhow::Result<()> {
        self.rule("del", from, to)
    }

    fn rule(&self, action: &str, from: &str, to: &str) -> anyhow::Result<()> {
        let (space, from) = (self.namespace(to)?, self.address(from)?);
        ip(&["-n", &space, "rule", action, "pref", "10", "from", &from, "blackhole"])
    }

    /// Takes all machines away. A pair would go with its namespace, but some time after it, and the
    /// next who takes this number would find the name of a port in use: so pairs go by name.
    fn take_down(&self) {
        for host in &self.hosts {
            let _ = self.place(host).and_then(|place| ip(&["link", "del", &self.outside(place)]));
            let _ = self.namespace(host).and_then(|space| ip(&["netns", "del", &space]));
        }
    }

    fn place(&self, host: &str) -> anyhow::Result<u8> {
        let place = self.hosts.iter().position(|name| name == host);
        let place = place.with_context(|| format!("no machine {host} on this network"))?;
        Ok(u8::try_from(place)? + 1)
    }

    fn at(&self, place: u8) -> String {
        format!("10.77.{}.{place}", self.number)
    }

    fn bridge(&self) -> String {
        format!("yt{}b", self.number)
    }

    /// A machine's port on the bridge, the outside end of its pair.
    fn outside(&self, place: u8) -> String {
        format!("yt{}p{place}", self.number)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.take_down();
        // The bridge last: whoever may make it may make all the rest.
        let _ = ip(&["link", "del", &self.bridge()]);
    }
}

/// Makes a bridge that nobody has; which one says which network is whose.
fn take_bridge() -> anyhow::Result<u8> {
    let mut last = None;
    for number in 1..=NETWORKS {
        match ip(&["link", "add", &format!("yt{number}b"), "type", "bridge"]) {
            Ok(()) => return Ok(number),
            Err(error) if format!("{error:#}").contains("File exists") => last = Some(error),
            Err(error) => {
                return Err(error.context("networks are made as root: run the tests as root"));
            }
        }
    }
    bail!("all {NETWORKS} networks are taken: {last:?}")
}

/// Where `ip` is; sbin is not on every path.
pub(crate) fn program() -> anyhow::Result<PathBuf> {
    let places = ["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip", "/bin/ip"].map(Path::new);
    let found = places.into_iter().find(|place| place.exists());
    found
        .map(Path::to_owned)
        .context("`ip` is not installed: run `make setup`, or install iproute2")
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program()?).args(arguments).output().context("could not run ip")?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`ip {}` failed: {}", arguments.join(" "), words.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_takes_a_number_next_finds_none_of_its_names_in_use() -> anyhow::Result<()> {
        for _ in 0..10 {
            let network = Network::new((1..=4).map(|host| format!("host-{host}")))?;
            network.take_down();
            for place in (1..=4).rev() {
                let port = network.outside(place);
                ensure!(ip(&["link", "show", &port]).is_err(), "{port} is still there");
            }
        }
        Ok(())
    }
}
