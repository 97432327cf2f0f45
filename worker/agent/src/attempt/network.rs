//! What ranks of several nodes are told of the network, for each library that opens connections.
//! Whatever a job's spec says of it wins.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_jobs::UnitId;

use super::order::Work;
use crate::{
    config::{Config, is_loopback},
    network::Cards,
};

const GLOO: &str = "GLOO_SOCKET_IFNAME";
const NCCL: &str = "NCCL_SOCKET_IFNAME";
const NCCL_HCAS: &str = "NCCL_IB_HCA";

/// What the node knows of its network.
#[derive(Debug, Clone, Default)]
pub(crate) struct Network {
    /// The interface that the operator names.
    named: Option<String>,
    /// The HCAs that the operator names; of none NCCL looks for them itself.
    hcas: Option<Vec<String>>,
    /// The interface by which the node is reached.
    reached: Option<String>,
    cards: Cards,
}

impl Network {
    pub(crate) fn new(config: &Config, reached: Option<String>, cards: Cards) -> Self {
        let (named, hcas) = (config.network_interface.clone(), config.hcas.clone());
        Self { named, hcas, reached, cards }
    }

    /// The variables of an attempt's ranks on this node. All have the same, because NCCL plans the ways
    /// through a node in each of its ranks, and they have to come to the same plan.
    pub(super) fn variables(&self, work: &Work) -> BTreeMap<&'static str, String> {
        let mut all = BTreeMap::new();
        if is_loopback(&work.master_addr) {
            // Gloo otherwise takes the interface to which the host's name leads.
            all.insert(GLOO, "lo".to_owned());
            return all;
        }
        // Gloo uses one interface alone.
        if let Some(name) = self.named.as_ref().or(self.reached.as_ref()) {
            all.insert(GLOO, name.clone());
        }
        if let Some(name) = &self.named {
            all.insert(NCCL, exactly([name]));
        }
        if work.group_world_size > 1 && work.on_gpus() {
            self.between_nodes(work, &mut all);
        }
        all
    }

    /// NCCL by itself takes every card with a link, those for storage too, and for its first meeting
    /// whatever interface it finds first.
    fn between_nodes(&self, work: &Work, all: &mut BTreeMap<&'static str, String>) {
        let units: Vec<&UnitId> = work.ranks.iter().map(|(_, unit)| unit).collect();
        let linked = self.cards.hcas();
        match &self.hcas {
            Some(named) if named.is_empty() => {}
            Some(named) => drop(all.insert(NCCL_HCAS, exactly(named))),
            None => {
                let near = self.cards.nearest_hcas(&linked, &units);
                // To name all would say nothing, and would hide what comes up later.
                if near.len() < linked.len() {
                    all.insert(NCCL_HCAS, exactly(near.iter().map(|hca| &hca.name)));
                }
            }
        }
        if let (None, Some(reached)) = (&self.named, &self.reached) {
            let interfaces = if linked.is_empty() {
                self.cards.nearest_interfaces(reached, &units)
            } else {
                BTreeSet::from([reached.clone()])
            };
            all.insert(NCCL, exactly(&interfaces));
        }
    }
}

/// A list of whole names: NCCL takes bare ones for how names begin.
fn exactly<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
    format!("={}", names.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::fixtures::{Sysfs, dgx};

    fn work(units: &[&str], nodes: u32) -> Work {
        let ranks = (0..).zip(units).map(|(rank, unit)| (rank, UnitId((*unit).into())));
        Work {
            spec: serde_json::from_str(r#"{"name":"x","run":{"command":["true"]}}"#).unwrap(),
            ranks: ranks.collect(),
            world_size: 4,
            group_rank: 1,
            group_world_size: nodes,
            master_addr: "node-1".into(),
            master_port: 20_001,
            bundle: None,
            resume: Vec::new(),
            time_allowance: None,
            restarts: 0,
        }
    }

    fn network(machine: &Sysfs, config: &Config) -> Network {
        Network::new(config, Some("eth0".into()), machine.cards())
    }

    fn told(network: &Network, work: &Work) -> String {
        let all = network.variables(work);
        all.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_gang_on_several_nodes_goes_by_the_cards_near_its_gpus() {
        let machine = dgx();
        let network = network(&machine, &Config::default());
        let two = ["GPU-2", "GPU-3"];
        assert_eq!(
            told(&network, &work(&two, 2)),
            "GLOO_SOCKET_IFNAME=eth0 NCCL_IB_HCA==mlx5_2,mlx5_3 NCCL_SOCKET_IFNAME==eth0"
        );
        assert_eq!(told(&network, &work(&two, 1)), "GLOO_SOCKET_IFNAME=eth0", "it needs no other");
        let mut on_slots = work(&["cpu-0"], 2);
        on_slots.spec.resources.device = trainyard_jobs::DeviceKind::Cpu;
        assert_eq!(told(&network, &on_slots), "GLOO_SOCKET_IFNAME=eth0");
        let here = Work { master_addr: "127.0.0.1".into(), ..work(&two, 2) };
        assert_eq!(told(&network, &here), "GLOO_SOCKET_IFNAME=lo");
    }

    #[test]
    fn without_hcas_sockets_go_by_the_near_interface_too() {
        let mut machine = Sysfs::new();
        machine.gpu("GPU-0", "pci0000:80/0000:80:01.0/0000:82:00.0", 1);
        machine.ethernet("eth0", ("pci0000:00/0000:00:1c.0/0000:01:00.0", 0), "100000");
        machine.ethernet("eth1", ("pci0000:80/0000:80:01.0/0000:81:00.0", 1), "100000");
        assert_eq!(
            told(&network(&machine, &Config::default()), &work(&["GPU-0"], 2)),
            "GLOO_SOCKET_IFNAME=eth0 NCCL_SOCKET_IFNAME==eth0,eth1"
        );
    }

    #[test]
    fn all_cards_need_no_name_and_nothing_is_told_where_nothing_is_known() {
        let mut machine = Sysfs::new();
        machine.gpu("GPU-0", "pci0000:80/0000:80:01.0/0000:82:00.0", 1);
        machine.hca(
            "mlx5_0",
            ("pci0000:80/0000:80:02.0/0000:83:00.0", 1),
            ("4: ACTIVE", "Ethernet"),
        );
        let network = network(&machine, &Config::default());
        assert_eq!(
            told(&network, &work(&["GPU-0"], 2)),
            "GLOO_SOCKET_IFNAME=eth0 NCCL_SOCKET_IFNAME==eth0"
        );
        assert_eq!(told(&Network::default(), &work(&["GPU-0"], 2)), "");
    }

    #[test]
    fn an_operator_names_them_or_leaves_it_to_nccl() {
        let named = Config {
            network_interface: Some("ib0".into()),
            hcas: Some(vec!["mlx5_8".into(), "mlx5_9".into()]),
            ..Config::default()
        };
        let (machine, work) = (dgx(), work(&["GPU-0"], 2));
        assert_eq!(
            told(&network(&machine, &named), &work),
            "GLOO_SOCKET_IFNAME=ib0 NCCL_IB_HCA==mlx5_8,mlx5_9 NCCL_SOCKET_IFNAME==ib0"
        );
        let none = Config { hcas: Some(Vec::new()), ..Config::default() };
        assert_eq!(
            told(&network(&machine, &none), &work),
            "GLOO_SOCKET_IFNAME=eth0 NCCL_SOCKET_IFNAME==eth0"
        );
    }
}
