//! The node's network: the interface by which other nodes' ranks reach this one, and the cards that are
//! near its GPUs.

mod cards;
mod near;

use std::{
    collections::BTreeSet,
    net::{IpAddr, ToSocketAddrs as _},
};

use nix::ifaddrs::getifaddrs;

#[cfg(test)]
pub(crate) use self::cards::tests as fixtures;
pub(crate) use self::{
    cards::{Cards, place},
    near::Place,
};

/// The interface that has the host's address, if this machine has one other than loopback that does.
pub(crate) fn interface_of(host: &str) -> Option<String> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let addresses: Vec<IpAddr> = match host.parse() {
        Ok(address) => vec![address],
        Err(_) => (host, 0).to_socket_addrs().ok()?.map(|address| address.ip()).collect(),
    };
    let reachable: Vec<IpAddr> = addresses.into_iter().filter(|a| !a.is_loopback()).collect();
    let interfaces = getifaddrs().ok()?;
    let with_address = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        let ip = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        let ip = ip.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))?;
        reachable.contains(&ip).then_some(interface.interface_name)
    };
    interfaces.into_iter().find_map(with_address)
}

/// The interfaces that have an address by which more than their own wire can be reached.
pub(crate) fn addressed() -> BTreeSet<String> {
    let interfaces = getifaddrs().into_iter().flatten();
    let routed = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        let v4 = || address.as_sockaddr_in().map(|v4| v4.ip());
        let v6 = || address.as_sockaddr_in6().map(|v6| v6.ip());
        let routed = v4().is_some_and(|ip| !ip.is_loopback() && !ip.is_link_local())
            || v6().is_some_and(|ip| !ip.is_loopback() && !ip.is_unicast_link_local());
        routed.then_some(interface.interface_name)
    };
    interfaces.filter_map(routed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_reaches_nobody() {
        assert!(!addressed().contains("lo"));
    }

    #[test]
    fn an_address_of_this_machine_has_an_interface_and_loopback_none() {
        for host in ["127.0.0.1", "[::1]", "localhost", "", "192.0.2.1", "no such host"] {
            assert_eq!(interface_of(host), None, "{host}");
        }
        let all: Vec<_> = getifaddrs().unwrap().collect();
        let own = all.iter().find_map(|interface| {
            let ip = interface.address?.as_sockaddr_in()?.ip();
            (!ip.is_loopback()).then(|| (ip, interface.interface_name.clone()))
        });
        // A machine without a network has none to tell.
        if let Some((ip, name)) = own {
            assert_eq!(interface_of(&ip.to_string()), Some(name.clone()));
            assert!(addressed().contains(&name) || ip.is_link_local());
        }
    }
}
