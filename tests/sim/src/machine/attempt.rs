//! An attempt's walk under one life of the agent, from where its directory says that it stands:
//! prepare, launch, wait, deliver, report. Mirrors what the agent's supervising tasks do, at the
//! edge where they touch files and processes.

use std::collections::BTreeMap;

use trainyard_jobs::AttemptRef;
use trainyard_proto::{convert::exit_message, v1};
use trainyard_store::StoreError;
use trainyard_worker::{
    ending,
    reconcile::Stage,
    shim::{ExitRecord, supervisor::Supervisor},
};

use super::{
    Body,
    agent::{Agent, Walk},
    disk::Trouble,
    shim::{Process, Shim},
};
use crate::{
    around::{Around, Ms},
    facts::{Blow, Fact},
    gangs::{Gangs, Script},
    note,
};

/// How long the report of an end waits for checkpoints to be stored.
const DELIVERY: Ms = 30_000;

/// Checkpoints that may wait while the store is away.
const MOST_WAITING: usize = 3;

impl Agent {
    /// Every attempt goes on.
    pub(super) fn supervise(
        &mut self,
        around: &mut Around,
        gangs: &mut Gangs,
        body: &mut Body<'_>,
    ) -> Result<(), Trouble> {
        let attempts: Vec<AttemptRef> = self.entries.keys().cloned().collect();
        for attempt in attempts {
            self.tell_start(around, body, &attempt);
            self.upload(around, body, &attempt);
            match self.entries[&attempt].walk {
                Walk::Idle => {}
                Walk::Preparing { ready, gives_up } => {
                    self.prepare(around, gangs, body, &attempt, ready, gives_up)?;
                }
                Walk::Running => self.wait(around, body, &attempt)?,
                Walk::Ended { since } => self.report_end(around, body, &attempt, since),
                Walk::Reporting => {}
                Walk::Reported => self.settle(body, &attempt),
            }
        }
        Ok(())
    }

    fn walk(&mut self, attempt: &AttemptRef, walk: Walk) {
        if let Some(entry) = self.entries.get_mut(attempt) {
            entry.walk = walk;
        }
    }

    fn prepare(
        &mut self,
        around: &mut Around,
        gangs: &mut Gangs,
        body: &mut Body<'_>,
        attempt: &AttemptRef,
        ready: Ms,
        gives_up: Ms,
    ) -> Result<(), Trouble> {
        let entry = &self.entries[attempt];
        if entry.stop {
            return self.not_started(
                around,
                body,
                attempt,
                "stopped before its ranks were started",
            );
        }
        if around.now < ready {
            return Ok(());
        }
        let Ok(work) = entry.order.work.clone() else {
            return self.not_started(around, body, attempt, "the order cannot be read");
        };
        if around.depot.away {
            if around.now < gives_up {
                return Ok(());
            }
            around.tell(Fact::Blow { attempt, what: Blow::Store });
            return self.not_started(around, body, attempt, "the store could not be reached");
        }
        let resume = match around.depot.resume(&work.resume) {
            Ok(step) => step,
            Err(error) => {
                note!(around, "w{} cannot resume {attempt}: {error}", body.n);
                return self.not_started(around, body, attempt, "cannot fetch the checkpoint");
            }
        };
        let planned = body.disk.write(|disk| {
            if let Some(dir) = disk.dirs.get_mut(attempt) {
                dir.plan = true;
                dir.resume = resume;
            }
        });
        match planned {
            Err(Trouble::Killed) => return Err(Trouble::Killed),
            Err(Trouble::Full) => {
                around.tell(Fact::Blow { attempt, what: Blow::Disk });
                return self.not_started(around, body, attempt, "cannot launch the shim");
            }
            Ok(()) => {}
        }
        launch(around, gangs, body, attempt, &work, resume);
        self.walk(attempt, Walk::Running);
        Ok(())
    }

    /// Records that the ranks never ran, so that no later agent starts them.
    fn not_started(
        &mut self,
        around: &mut Around,
        body: &mut Body<'_>,
        attempt: &AttemptRef,
        why: &str,
    ) -> Result<(), Trouble> {
        note!(around, "w{} does not start {attempt}: {why}", body.n);
        let record = ExitRecord::not_started(why.to_owned());
        let written = body.disk.write(|disk| {
            if let Some(dir) = disk.dirs.get_mut(attempt) {
                dir.exit.get_or_insert(record);
            }
        });
        match written {
            Err(Trouble::Killed) => Err(Trouble::Killed),
            Err(Trouble::Full) | Ok(()) => {
                // What cannot be recorded is reported all the same.
                if let Some(dir) = body.disk.dirs.get_mut(attempt) {
                    dir.exit.get_or_insert_with(|| ExitRecord::not_started(why.to_owned()));
                }
                self.ranks_ended(around, attempt);
                Ok(())
            }
        }
    }

    fn ranks_ended(&mut self, around: &Around, attempt: &AttemptRef) {
        if let Some(entry) = self.entries.get_mut(attempt) {
            entry.stage = Stage::Ended;
            entry.walk = Walk::Ended { since: around.now };
            self.news = true;
        }
    }

    /// Waits for the shim's end, and brings it about when the attempt is to stop.
    fn wait(
        &mut self,
        around: &mut Around,
        body: &mut Body<'_>,
        attempt: &AttemptRef,
    ) -> Result<(), Trouble> {
        let stop = self.entries[attempt].stop;
        let Some(shim) = body.shims.get_mut(attempt) else {
            self.ranks_ended(around, attempt);
            return Ok(());
        };
        if stop && !shim.told {
            let wish = body.disk.write(|disk| {
                if let Some(dir) = disk.dirs.get_mut(attempt) {
                    dir.stop_wish = true;
                }
            });
            if wish == Err(Trouble::Killed) {
                return Err(Trouble::Killed);
            }
            shim.stop(around);
        }
        Ok(())
    }

    /// The start is reported once the ranks run; never if they do not come to that.
    fn tell_start(&mut self, around: &mut Around, body: &Body<'_>, attempt: &AttemptRef) {
        let started = body.disk.dirs.get(attempt).is_some_and(|dir| dir.started);
        let Some(entry) = self.entries.get_mut(attempt) else { return };
        if started && entry.start_told.is_none() && entry.walk != Walk::Idle {
            entry.start_told = Some(false);
            let report = v1::StartedReport {
                node: body.node.to_string(),
                session: self.session.to_string(),
                attempt: Some(attempt.into()),
            };
            self.deliveries.start(around, attempt, report);
        }
    }

    /// The oldest spooled checkpoint goes up, then its report.
    fn upload(&mut self, around: &mut Around, body: &mut Body<'_>, attempt: &AttemptRef) {
        let Some(entry) = self.entries.get_mut(attempt) else { return };
        let Some(dir) = body.disk.dirs.get_mut(attempt) else { return };
        if entry.uploading.is_some() || entry.stage == Stage::Settled {
            return;
        }
        while dir.spool.len() > MOST_WAITING {
            dir.spool.pop_first();
        }
        let Ok(work) = &entry.order.work else { return };
        let Some((step, parts)) = dir.spool.first_key_value().map(|(s, p)| (*s, *p)) else {
            return;
        };
        if around.depot.away {
            return;
        }
        let part = if parts > 1 { work.group_rank } else { 0 };
        let Ok(manifest) = around.depot.checkpoint(attempt, step, part, parts) else {
            dir.spool.remove(&step);
            return;
        };
        entry.uploading = Some(step);
        let report = v1::CheckpointReport {
            node: body.node.to_string(),
            session: self.session.to_string(),
            attempt: Some(attempt.into()),
            step,
            part,
            parts,
            manifest: Some((&manifest).into()),
            size: manifest.size.0,
        };
        self.deliveries.checkpoint(around, attempt, step, report);
    }

    /// The end is reported once the start was, and checkpoints are stored or have had their time.
    fn report_end(
        &mut self,
        around: &mut Around,
        body: &mut Body<'_>,
        attempt: &AttemptRef,
        since: Ms,
    ) {
        let entry = &self.entries[attempt];
        let Some(dir) = body.disk.dirs.get(attempt) else { return };
        let delivered = dir.spool.is_empty() && entry.uploading.is_none();
        let start_under_way = entry.start_told == Some(false);
        if start_under_way || (!delivered && around.now < since + DELIVERY) {
            return;
        }
        let asked = entry.stop || dir.stop_wish;
        let record = ending::judged(dir.exit.clone(), asked, &entry.order);
        let work = entry.order.work.as_ref().ok();
        let (mut files, mut metrics) = (Vec::new(), BTreeMap::new());
        let mut start_error = record.start_error.clone().unwrap_or_default();
        if let Some(work) = work.filter(|work| work.has_rank_0()) {
            metrics.insert("loss".to_owned(), 0.5);
            if ending::succeeded(&record) && !entry.stop {
                if around.depot.away {
                    return;
                }
                let damaged = attempt.attempt.0 <= Script::of(&work.spec).damaged;
                if damaged {
                    around.tell(Fact::Blow { attempt, what: Blow::Artifacts });
                }
                match around.depot.artifact(attempt, damaged) {
                    Ok(file) => files.push((&file).into()),
                    Err(error) => start_error = store_error(&error),
                }
            }
        }
        let report = v1::EndedReport {
            ranks: record.ranks.iter().map(|end| exit_message(end.rank, end.exit)).collect(),
            start_error,
            artifacts: files,
            metrics: metrics.into_iter().collect(),
            time_limit: record.time_limit,
            first_failure: record.first_failure.map(|end| end.rank),
            ..self.end_of(body, attempt)
        };
        note!(around, "w{} reports the end of {attempt}: {record:?}", body.n);
        self.walk(attempt, Walk::Reporting);
        self.deliveries.end(around, attempt, report);
    }

    /// Nothing is left to deliver.
    fn settle(&mut self, body: &Body<'_>, attempt: &AttemptRef) {
        let empty = body.disk.dirs.get(attempt).is_none_or(|dir| dir.spool.is_empty());
        let Some(entry) = self.entries.get_mut(attempt) else { return };
        if empty && entry.uploading.is_none() && entry.stage != Stage::Settled {
            entry.stage = Stage::Settled;
            self.news = true;
        }
    }
}

fn store_error(error: &StoreError) -> String {
    format!("cannot store the artifacts: {error}")
}

fn launch(
    around: &mut Around,
    gangs: &mut Gangs,
    body: &mut Body<'_>,
    attempt: &AttemptRef,
    work: &trainyard_worker::decide::Work,
    resume: u64,
) {
    let node = body.node;
    let allowance = work.time_allowance;
    around.tell(Fact::Launched { node, attempt });
    note!(around, "w{} launches {attempt} at step {resume}", body.n);
    let script = Script::of(&work.spec);
    let ranks: Vec<u32> = work.ranks.iter().map(|(rank, _)| *rank).collect();
    let supervisor = Supervisor::new(
        ranks.iter().copied(),
        work.spec.stop_grace().into(),
        allowance.map(Into::into),
    );
    let mut processes = BTreeMap::new();
    let size = (work.world_size, work.group_world_size);
    for (rank, unit) in &work.ranks {
        around.tell(Fact::RankStarted { node, unit, attempt, rank: *rank });
        gangs.joins(attempt, *rank, body.n, size, resume, script);
        processes.insert(*rank, Process { unit: unit.clone(), ends: None });
    }
    let shim = Shim { supervisor, began: around.now, processes, script, told: false };
    body.shims.insert(attempt.clone(), shim);
    if let Some(dir) = body.disk.dirs.get_mut(attempt) {
        dir.started = true;
    }
}
