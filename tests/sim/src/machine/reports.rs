//! Reports on their way: sent to whoever leads until they are answered for good, as the agent's own
//! rule of delivery says.

use std::collections::BTreeMap;

use trainyard_jobs::AttemptRef;
use trainyard_proto::v1;
use trainyard_worker::delivery::{Next, What, after, reduced};

use super::{
    Body,
    agent::{Agent, Walk},
};
use crate::{
    around::{Around, Ms},
    letters::{Answer, Letter, Place, Request},
    note,
};

const PATIENCE: Ms = 5_000;

#[derive(Debug)]
struct Delivery {
    what: What,
    attempt: AttemptRef,
    step: u64,
    request: Request,
    backoff: Ms,
    /// When to send it, or when to stop waiting for the answer.
    at: Ms,
    call: Option<u64>,
}

/// All reports that are not answered.
#[derive(Debug, Default)]
pub struct Deliveries(BTreeMap<u64, Delivery>);

impl Deliveries {
    fn add(&mut self, around: &mut Around, attempt: &AttemptRef, what: What, request: Request) {
        let attempt = attempt.clone();
        let delivery =
            Delivery { what, attempt, step: 0, request, backoff: 100, at: around.now, call: None };
        self.0.insert(around.number(), delivery);
    }

    pub fn start(&mut self, around: &mut Around, attempt: &AttemptRef, report: v1::StartedReport) {
        self.add(around, attempt, What::Start, Request::Started(report));
    }

    pub fn end(&mut self, around: &mut Around, attempt: &AttemptRef, report: v1::EndedReport) {
        self.add(around, attempt, What::End, Request::Ended(report));
    }

    pub fn checkpoint(
        &mut self,
        around: &mut Around,
        attempt: &AttemptRef,
        step: u64,
        report: v1::CheckpointReport,
    ) {
        self.add(around, attempt, What::Checkpoint, Request::Checkpoint(report));
        if let Some(mut last) = self.0.last_entry() {
            last.get_mut().step = step;
        }
    }
}

impl Delivery {
    fn wait(&mut self, around: &mut Around) {
        self.call = None;
        self.at = around.now + self.backoff / 2 + around.rng.below(self.backoff / 2 + 1);
        self.backoff = (self.backoff * 2).min(2_000);
    }
}

impl Agent {
    /// Sends what is due, if somebody leads.
    pub(super) fn send_reports(&mut self, around: &mut Around, body: &Body<'_>) {
        let leader = self.link.leader();
        for delivery in self.deliveries.0.values_mut() {
            if around.now < delivery.at {
                continue;
            }
            if delivery.call.is_some() {
                delivery.wait(around);
                continue;
            }
            let Some(leader) = leader else { continue };
            let call = around.number();
            delivery.call = Some(call);
            delivery.at = around.now + PATIENCE;
            let letter = Letter::Call { call, request: delivery.request.clone() };
            around.send(Place::Worker(body.n), Place::Scheduler(leader), letter);
        }
    }

    pub(super) fn report_answered(
        &mut self,
        around: &mut Around,
        body: &mut Body<'_>,
        call: u64,
        answer: Result<Answer, tonic::Status>,
    ) {
        let found = self.deliveries.0.iter_mut().find(|(_, d)| d.call == Some(call));
        let Some((id, delivery)) = found else { return };
        let (id, what) = (*id, delivery.what);
        let Err(status) = answer else { return self.delivered(body, id) };
        match after(status.code(), what) {
            Next::Done => {
                note!(
                    around,
                    "w{} {what:?} of {} refused: {}",
                    body.n,
                    delivery.attempt,
                    status.message()
                );
                self.delivered(body, id);
            }
            Next::Reduce => {
                if let Request::Ended(report) = &delivery.request {
                    delivery.request = Request::Ended(reduced(report.clone(), status.message()));
                }
                delivery.what = What::BareEnd;
                delivery.backoff = 100;
                delivery.call = None;
                delivery.at = around.now;
            }
            Next::Again | Next::AgainOddly => {
                note!(
                    around,
                    "w{} {what:?} of {} again: {}",
                    body.n,
                    delivery.attempt,
                    status.message()
                );
                delivery.wait(around);
            }
        }
    }

    fn delivered(&mut self, body: &mut Body<'_>, id: u64) {
        let Some(delivery) = self.deliveries.0.remove(&id) else { return };
        let Some(entry) = self.entries.get_mut(&delivery.attempt) else { return };
        match delivery.what {
            What::Start => entry.start_told = Some(true),
            What::Checkpoint => {
                entry.uploading = None;
                if let Some(dir) = body.disk.dirs.get_mut(&delivery.attempt) {
                    dir.spool.remove(&delivery.step);
                }
            }
            What::End | What::BareEnd => entry.walk = Walk::Reported,
        }
    }
}
