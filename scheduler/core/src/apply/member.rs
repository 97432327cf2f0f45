//! The schedulers: added, marked to leave, forgotten. An id is given out once, here, so that no
//! two leaders ever give the same one, and a wiped member never comes back as itself.

use std::collections::BTreeMap;

use super::Applied;
use crate::{
    command::Reply,
    event::Event,
    refusal::Refusal,
    state::{Member, State},
};

/// Schedulers that a cluster has at most, those that replace others not counted.
const MOST: usize = 5;

/// Longest address, in bytes.
const MAX_ADDRESS: usize = 256;

impl State {
    /// What the configuration named before the state knew of members. Those that it knows stay
    /// as they are.
    pub(super) fn set_members(
        &mut self,
        members: BTreeMap<u64, String>,
        events: &mut Vec<Event>,
    ) -> Applied {
        let added = self.time;
        for (id, address) in members {
            self.next_member = self.next_member.max(id.saturating_add(1));
            let member = Member { address, added, replaces: None, leaving: false };
            self.members.entry(id).or_insert(member);
        }
        events.push(Event::Members);
        Ok(Reply::Done)
    }

    /// Gives out an id. Asked again with the same address and purpose, it gives the same one.
    pub(super) fn add_member(
        &mut self,
        address: String,
        replaces: Option<u64>,
        events: &mut Vec<Event>,
    ) -> Applied {
        if address.is_empty() || address.len() > MAX_ADDRESS {
            return Err(Refusal::Malformed("a member's address is `host:port`".into()));
        }
        let same = |m: &Member| m.address == address && m.replaces == replaces && !m.leaving;
        let known = self.members.iter().find(|(id, m)| same(m) && Some(**id) != replaces);
        if let Some((id, _)) = known {
            return Ok(Reply::Member(*id));
        }
        self.check_place(&address, replaces)?;
        let id = self.next_member.max(1);
        self.next_member = id.saturating_add(1);
        let member = Member { address, added: self.time, replaces, leaving: false };
        self.members.insert(id, member);
        events.push(Event::Members);
        Ok(Reply::Member(id))
    }

    fn check_place(&self, address: &str, replaces: Option<u64>) -> Result<(), Refusal> {
        let Some(old) = replaces else {
            if let Some((id, _)) = self.members.iter().find(|(_, m)| m.address == address) {
                return Err(Refusal::Members(format!(
                    "member {id} has the address {address}: `yard cluster replace {id} {address}` puts another in its place"
                )));
            }
            let staying = self.members.values().filter(|m| m.replaces.is_none() && !m.leaving);
            if staying.count() >= MOST {
                return Err(Refusal::Members(format!(
                    "there are {MOST} members, more gain nothing: remove or replace one"
                )));
            }
            return Ok(());
        };
        if !self.members.contains_key(&old) {
            return Err(Refusal::NoMember(old));
        }
        if let Some((id, _)) = self.members.iter().find(|(_, m)| m.replaces == Some(old)) {
            return Err(Refusal::Members(format!(
                "member {id} is to replace member {old} already: wait for it, or `yard cluster remove {id}`"
            )));
        }
        if let Some((id, _)) = self.members.iter().find(|(i, m)| **i != old && m.address == address)
        {
            return Err(Refusal::Members(format!("member {id} has the address {address}")));
        }
        Ok(())
    }

    pub(super) fn leave_member(&mut self, id: u64, events: &mut Vec<Event>) -> Applied {
        let staying = self.members.iter().filter(|(i, m)| **i != id && !m.leaving).count();
        let member = self.members.get_mut(&id).ok_or(Refusal::NoMember(id))?;
        if staying == 0 {
            return Err(Refusal::Members("the last member cannot be removed".into()));
        }
        if !member.leaving {
            member.leaving = true;
            events.push(Event::Members);
        }
        Ok(Reply::Done)
    }

    /// Raft has no such member any more. What was to take its place has it.
    pub(super) fn forget_member(&mut self, id: u64, events: &mut Vec<Event>) -> Applied {
        self.members.remove(&id).ok_or(Refusal::NoMember(id))?;
        for member in self.members.values_mut().filter(|m| m.replaces == Some(id)) {
            member.replaces = None;
        }
        events.push(Event::Members);
        Ok(Reply::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Command, world::World};

    fn add(world: &mut World, address: &str, replaces: Option<u64>) -> Applied {
        world.apply(Command::AddMember { address: address.into(), replaces })
    }

    fn three() -> World {
        let mut world = World::new();
        let members = (1..=3).map(|id| (id, format!("h{id}:1"))).collect();
        world.apply(Command::SetMembers { members }).unwrap();
        world
    }

    #[test]
    fn an_id_is_given_out_once_and_asking_again_gives_the_same() {
        let mut world = three();
        assert_eq!(add(&mut world, "h4:1", None), Ok(Reply::Member(4)));
        assert_eq!(add(&mut world, "h4:1", None), Ok(Reply::Member(4)));
        world.apply(Command::LeaveMember { id: 4 }).unwrap();
        world.apply(Command::ForgetMember { id: 4 }).unwrap();
        assert!(world.state.is_former_member(4) && !world.state.is_former_member(5));
        assert_eq!(add(&mut world, "h4:1", None), Ok(Reply::Member(5)));
        assert_eq!(add(&mut world, "h6:1", None), Ok(Reply::Member(6)));
        let full = add(&mut world, "h7:1", None).unwrap_err().to_string();
        assert!(full.contains("more gain nothing"), "{full}");
    }

    #[test]
    fn a_replacement_may_listen_where_the_old_member_did() {
        let mut world = three();
        assert_eq!(add(&mut world, "h2:1", Some(2)), Ok(Reply::Member(4)));
        assert_eq!(add(&mut world, "h2:1", Some(2)), Ok(Reply::Member(4)));
        let twice = add(&mut world, "h9:1", Some(2)).unwrap_err().to_string();
        assert!(twice.contains("already"), "{twice}");
        assert!(add(&mut world, "h1:1", Some(3)).is_err(), "another's address");
        assert_eq!(add(&mut world, "x:1", Some(9)), Err(Refusal::NoMember(9)));
        world.apply(Command::ForgetMember { id: 2 }).unwrap();
        assert_eq!(world.state.members()[&4].replaces, None);
    }

    #[test]
    fn members_that_are_on_record_stay_as_they_are() {
        let mut world = three();
        let members = BTreeMap::from([(1, "elsewhere:1".to_owned())]);
        world.apply(Command::SetMembers { members }).unwrap();
        assert_eq!(world.state.members()[&1].address, "h1:1");
    }

    #[test]
    fn somebody_always_stays() {
        let mut world = three();
        for id in [1, 2] {
            world.apply(Command::LeaveMember { id }).unwrap();
        }
        assert!(world.apply(Command::LeaveMember { id: 3 }).is_err());
        assert_eq!(world.apply(Command::LeaveMember { id: 9 }), Err(Refusal::NoMember(9)));
    }
}
