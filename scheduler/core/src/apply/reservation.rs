//! Reservations of nodes: made, deleted, forgotten once they are over, and kept by every start.

use std::collections::BTreeSet;

use trainyard_jobs::{NodeSelection, ProjectName, ReservationName, ReservationSpec, Timestamp};

use super::Applied;
use crate::{
    archive::Archive,
    command::{CreateReservation, Mutation, Reply, StartAttempt},
    event::Event,
    refusal::Refusal,
    state::{DEEPEST_QUEUE, Job, Node, Reservation, State},
};

/// The most reservations at once, so that the state stays small.
const MOST: usize = 1000;

impl State {
    pub(super) fn create_reservation(
        &mut self,
        create: CreateReservation,
        archive: &dyn Archive,
        events: &mut Vec<Event>,
    ) -> Applied {
        if let Some(reply) = self.known_key(&create.mutation, archive)? {
            return Ok(reply);
        }
        let CreateReservation { mutation, name, spec } = create;
        self.check_reservation(&name, &spec)?;
        self.remember(&mutation, Reply::Done);
        let (created, created_by) = (self.time, mutation.principal);
        self.reservations_by_end.insert((spec.until, name.clone()));
        let reservation = Reservation { spec, created, created_by };
        // One of this name may be over and not forgotten yet.
        if let Some(over) = self.reservations.insert(name.clone(), reservation) {
            self.reservations_by_end.remove(&(over.spec.until, name.clone()));
        }
        events.push(Event::Reservation(name));
        Ok(Reply::Done)
    }

    fn check_reservation(
        &self,
        name: &ReservationName,
        spec: &ReservationSpec,
    ) -> Result<(), Refusal> {
        if let Some(problem) = spec.problem(self.time) {
            return Err(Refusal::Reservation(problem));
        }
        let live = |known: &Reservation| known.spec.until > self.time;
        if self.reservations.get(name).is_some_and(live) {
            return Err(Refusal::ReservationTaken(name.clone()));
        }
        if self.reservations.len() - self.over().count() >= MOST {
            let message = format!("there are {MOST} reservations: delete some first");
            return Err(Refusal::Reservation(message));
        }
        match &spec.nodes {
            NodeSelection::All => Ok(()),
            NodeSelection::Names(names) => {
                let known: BTreeSet<_> = self.nodes.values().map(|n| &n.inventory.name).collect();
                match names.iter().find(|name| !known.contains(name)) {
                    None => Ok(()),
                    Some(name) => Err(Refusal::Reservation(format!(
                        "there is no node {name}: `yard node list` lists them"
                    ))),
                }
            }
            NodeSelection::Labels(labels) => {
                if self.nodes.values().any(|node| covers(spec, node)) {
                    return Ok(());
                }
                let all: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
                Err(Refusal::Reservation(format!(
                    "no node carries {}: `yard node list -o json` shows labels",
                    all.join(" and ")
                )))
            }
        }
    }

    pub(super) fn delete_reservation(
        &mut self,
        mutation: &Mutation,
        name: ReservationName,
        archive: &dyn Archive,
        events: &mut Vec<Event>,
    ) -> Applied {
        if let Some(reply) = self.known_key(mutation, archive)? {
            return Ok(reply);
        }
        let Some(gone) = self.reservations.remove(&name) else {
            return Err(Refusal::NoReservation(name));
        };
        self.reservations_by_end.remove(&(gone.spec.until, name.clone()));
        self.remember(mutation, Reply::Done);
        events.push(Event::Reservation(name));
        Ok(Reply::Done)
    }

    /// Forgets the reservations that are over.
    pub(super) fn forget_reservations(&mut self, events: &mut Vec<Event>) {
        let all: Vec<_> = self.over().cloned().collect();
        for over in all {
            self.reservations_by_end.remove(&over);
            self.reservations.remove(&over.1);
            events.push(Event::Reservation(over.1));
        }
    }

    fn over(&self) -> impl Iterator<Item = &(Timestamp, ReservationName)> {
        self.reservations_by_end.iter().take_while(|(until, _)| *until <= self.time)
    }

    /// Refuses a start on nodes that are reserved now, and not for the job: its plan may be older
    /// than the reservation.
    pub(super) fn check_reserved(&self, job: &Job, start: &StartAttempt) -> Result<(), Refusal> {
        let admits = |spec: &ReservationSpec| {
            spec.purpose.admits(self.queues_of(&job.spec.project), &job.principal)
        };
        let all = self.reservations.iter();
        let held = all.filter(|(_, r)| r.spec.holds_at(self.time) && !admits(&r.spec));
        for (name, reservation) in held {
            let mut nodes = start.placements.iter().filter_map(|p| self.nodes.get(&p.node));
            if let Some(node) = nodes.find(|node| covers(&reservation.spec, node)) {
                return Err(Refusal::Reserved {
                    node: node.inventory.name.to_string(),
                    purpose: reservation.spec.what_for(),
                    name: name.clone(),
                });
            }
        }
        Ok(())
    }

    /// A project and the queues above it.
    fn queues_of<'a>(
        &'a self,
        project: &'a ProjectName,
    ) -> impl Iterator<Item = &'a ProjectName> + 'a {
        let above =
            |name: &&'a ProjectName| self.queues.get(*name).and_then(|q| q.spec.parent.as_ref());
        std::iter::successors(Some(project), above).take(DEEPEST_QUEUE)
    }
}

fn covers(spec: &ReservationSpec, node: &Node) -> bool {
    spec.nodes.covers(node.inventory.name.as_str(), &node.inventory.labels)
}
