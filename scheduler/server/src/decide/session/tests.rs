//! What of a worker's offer a state of an earlier level is told.

use trainyard_core::{Envelope, archive::NoArchive};
use trainyard_jobs::{BitRate, Bytes, ClusterId, NodeId, Timestamp, UnitId};
use uuid::Uuid;

use super::*;

fn greeting() -> Greeting {
    let part = v1::GpuPart { parent: "GPU-a".into(), of: 2, ..v1::GpuPart::default() };
    let share = |nth| v1::Device {
        unit: UnitId("GPU-a".into()).share(nth, 2).to_string(),
        kind: "gpu".into(),
        part: Some(v1::GpuPart { nth: nth.into(), ..part.clone() }),
        ..v1::Device::default()
    };
    let slot = v1::Device { unit: "cpu-0".into(), kind: "cpu".into(), ..v1::Device::default() };
    let inventory = v1::Inventory {
        name: "node-1".into(),
        devices: vec![share(0), share(1), slot],
        disk: 1 << 40,
        network: 100_000_000_000,
        ..v1::Inventory::default()
    };
    let hello = v1::Hello {
        node: NodeId::from_random(1).to_string(),
        session: SessionId(Uuid::from_u128(1)).to_string(),
        inventory: Some(inventory),
        ..v1::Hello::default()
    };
    Greeting::read(hello, "", 0).unwrap()
}

#[test]
fn what_members_do_not_know_is_told_once_they_do() {
    let greeting = greeting();
    let told = |level| {
        let offered = greeting.offered(level);
        (offered.devices.len(), offered.disk, offered.network)
    };
    let (disk, network) = (Bytes(1 << 40), BitRate(100_000_000_000));
    assert_eq!(told(PARTS_LEVEL - 1), (1, Bytes(0), BitRate(0)));
    assert_eq!(told(PLACES_LEVEL - 1), (3, Bytes(0), BitRate(0)));
    assert_eq!(told(PLACES_LEVEL), (3, disk, network));
    assert_eq!(greeting.withheld(&State::new(ClusterId(Uuid::from_u128(1)))), None);
}

#[test]
fn a_stream_ends_when_there_is_more_to_tell() {
    let mut state = State::new(ClusterId(Uuid::from_u128(1)));
    let greeting = greeting();
    let register = greeting.registration(&state).unwrap();
    assert_eq!(register.level(), PLACES_LEVEL);
    let envelope = Envelope { level: register.level(), time: Timestamp(1), command: register };
    state.apply(1, envelope, &NoArchive, &mut Vec::new()).unwrap();
    let here = |withheld| Attendance {
        node: greeting.node.clone(),
        session: greeting.session,
        term: 1,
        withheld,
    };
    assert_eq!(here(None).check(Some(1), &state), Ok(()));
    assert_eq!(here(Some(PLACES_LEVEL)).check(Some(1), &state), Ok(()));
    let before = here(Some(PLACES_LEVEL - 1));
    assert_eq!(before.check(Some(1), &state), Err(Parting::MoreToTell));
}
