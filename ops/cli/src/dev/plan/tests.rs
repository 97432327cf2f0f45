//! Plans keep what they drew, and what they write the daemons read.

use super::*;

const WISHES: Wishes =
    Wishes { schedulers: 3, workers: 2, slots: Some(4), node_grace: Millis(10_000) };

#[test]
fn a_restart_finds_the_same_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::take(dir.path()).unwrap();
    let first = Plan::load(&layout, WISHES).unwrap();
    assert_eq!(Plan::load(&layout, WISHES).unwrap(), first);
    let more = Plan::load(&layout, Wishes { workers: 3, ..WISHES }).unwrap();
    assert_eq!(more.workers[..2], first.workers[..]);
    assert_eq!(more.cluster, first.cluster);

    let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, first.schedulers[1].listen)).unwrap();
    let moved = Plan::load(&layout, WISHES).unwrap();
    assert_ne!(moved.schedulers[1].listen, first.schedulers[1].listen);
    assert_eq!(moved.schedulers[0], first.schedulers[0]);
}

#[test]
fn the_number_of_schedulers_stays() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::take(dir.path()).unwrap();
    Plan::load(&layout, WISHES).unwrap();
    let error = Plan::load(&layout, Wishes { schedulers: 1, ..WISHES }).unwrap_err();
    assert_eq!(error.exit().code(), 2);
    assert!(error.render(false, 200).contains("--schedulers 3"));
}

#[test]
fn a_plan_of_a_newer_yard_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::take(dir.path()).unwrap();
    layout.write(&layout.saved(), "format = 9\nplanets = 3\n").unwrap();
    let error = Plan::load(&layout, WISHES).unwrap_err().render(false, 200);
    assert!(error.contains("newer yard"), "{error}");
}

#[test]
fn the_daemons_read_what_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::take(dir.path()).unwrap();
    let plan = Plan::load(&layout, WISHES).unwrap();
    plan.write_configs(&layout, WISHES).unwrap();

    for (i, name) in plan.schedulers().enumerate() {
        let config = trainyard_scheduler::Config::load(Some(&layout.config(&name))).unwrap();
        config.validate().unwrap();
        assert_eq!(config.peers.len(), 3);
        assert_eq!(config.node_grace, Millis(10_000));
        assert_eq!(config.listen.port(), plan.schedulers[i].listen);
    }
    let mut ports = BTreeSet::new();
    for name in Plan::workers(2) {
        let config = trainyard_worker::Config::load(Some(&layout.config(&name))).unwrap();
        assert_eq!(config.slots, Some(4));
        assert_eq!(config.endpoints, plan.endpoints());
        assert!(ports.insert(config.ports));
    }
}
