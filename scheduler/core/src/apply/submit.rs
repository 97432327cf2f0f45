//! Submitting and cancelling, and the idempotency keys that make both safe to repeat.

use trainyard_jobs::{AttemptPhase, EndReason, IdempotencyKey, JobId, JobPhase, Millis, Timestamp};
use trainyard_probe::{planted, reached};

use super::Applied;
use crate::{
    archive::Archive,
    command::{Mutation, Reply, Submit},
    event::Event,
    keys::drawn_at,
    refusal::Refusal,
    state::{Job, KeyRecord, State},
};

/// Who asked for everything before there were users. What was done then belongs to whoever
/// repeats it to the letter.
const EVERYBODY: &str = "local";

/// The feature level from which that holds. At an older one every member compares alike.
const USERS_LEVEL: u16 = 2;

/// How long a key is remembered. An older one is refused, never executed.
pub(super) const KEY_MEMORY: Millis = Millis(24 * 3_600_000);

/// Keys forgotten by one command at most, so that no command takes long.
pub(super) const FORGET_AT_ONCE: usize = 64;

impl State {
    pub(super) fn submit(
        &mut self,
        submit: Submit,
        archive: &dyn Archive,
        events: &mut Vec<Event>,
    ) -> Applied {
        if let Some(reply) = self.known_key(&submit.mutation, archive)? {
            return Ok(match reply {
                Reply::Submitted { job, .. } => Reply::Submitted { job, existed: true },
                other => other,
            });
        }
        let archived = self.archive.count;
        if self.jobs.contains_key(&submit.job) || archive.contains(&submit.job, archived) {
            return Err(Refusal::IdTaken(submit.job.to_string()));
        }
        self.check_priority(&submit.spec)?;
        let key = submit.mutation.key;
        let reply = Reply::Submitted { job: submit.job.clone(), existed: false };
        self.remember(&submit.mutation, reply.clone());
        let job = self.queued(submit);
        events.push(Event::Job { job: job.id.clone(), phase: job.phase });
        self.jobs.insert(job.id.clone(), job, Some(key));
        Ok(reply)
    }

    fn queued(&self, submit: Submit) -> Job {
        Job {
            id: submit.job,
            spec: submit.spec,
            principal: submit.mutation.principal,
            bundle: submit.bundle,
            commit: submit.commit,
            submitted: self.time,
            sequence: self.index,
            phase: JobPhase::Queued,
            version: 1,
            cancel_requested: false,
            attempts: Vec::new(),
            restarts: 0,
            not_before: Timestamp(0),
            used: Millis(0),
            checkpoints: Vec::new(),
            parts: std::collections::BTreeMap::new(),
            outcome: None,
            ended: None,
            end: None,
            registered: None,
            attained: None,
        }
    }

    pub(super) fn cancel(
        &mut self,
        mutation: &Mutation,
        id: &JobId,
        archive: &dyn Archive,
        events: &mut Vec<Event>,
    ) -> Applied {
        if let Some(reply) = self.known_key(mutation, archive)? {
            return Ok(reply);
        }
        let archived = self.archive.count;
        let Some(job) = self.jobs.get_mut(id) else {
            if !archive.contains(id, archived) {
                return Err(Refusal::NoJob(id.clone()));
            }
            // It has ended, as any job that is archived.
            self.remember(mutation, Reply::Done);
            return Ok(Reply::Done);
        };
        match job.phase {
            JobPhase::Queued | JobPhase::Finishing => {
                reached("core: a waiting job is cancelled");
                job.cancel_requested = true;
                self.end_job(id, JobPhase::Cancelled, EndReason::Cancelled, events);
            }
            JobPhase::Running | JobPhase::Stopping => {
                reached("core: a running job is cancelled");
                job.cancel_requested = true;
                job.version += 1;
                self.stop_current(id, &EndReason::Cancelled, events);
            }
            JobPhase::Succeeded | JobPhase::Failed | JobPhase::Cancelled => {
                reached("core: an ended job is cancelled");
            }
        }
        self.remember(mutation, Reply::Done);
        Ok(Reply::Done)
    }

    /// What was answered when the key was first used, if it was. A job takes the key that made it
    /// along to the archive.
    pub(super) fn known_key(
        &self,
        mutation: &Mutation,
        archive: &dyn Archive,
    ) -> Result<Option<Reply>, Refusal> {
        if planted("drop dedupe") {
            return Ok(None);
        }
        if let Some(record) = self.keys.get(&mutation.key) {
            return self.answer(record, mutation).map(Some);
        }
        if self.is_expired(mutation.key) {
            return Err(Refusal::KeyExpired);
        }
        if self.archive.count == 0 {
            return Ok(None);
        }
        let archived = archive.by_key(mutation.key, self.archive.count);
        let record = archived.and_then(|archived| archived.key);
        record.map(|(_, record)| self.answer(&record, mutation)).transpose()
    }

    /// The answer given first, if this is the same request of the same principal.
    fn answer(&self, record: &KeyRecord, mutation: &Mutation) -> Result<Reply, Refusal> {
        let before_users = self.feature_level >= USERS_LEVEL && record.principal == EVERYBODY;
        let same_principal = record.principal == mutation.principal || before_users;
        if same_principal && record.request == mutation.request {
            Ok(record.reply.clone())
        } else {
            Err(Refusal::KeyConflict)
        }
    }

    /// A `UUIDv7` carries its time, so that a key that may have been forgotten is refused
    /// rather than executed twice. A key of another kind was given by name and is kept.
    fn is_expired(&self, key: IdempotencyKey) -> bool {
        drawn_at(key).is_some_and(|drawn| self.time.since(drawn) >= KEY_MEMORY)
    }

    pub(super) fn remember(&mut self, mutation: &Mutation, reply: Reply) {
        self.forget_tokens();
        let old = self.keys_by_age.iter().take(FORGET_AT_ONCE);
        let forgotten: Vec<_> =
            old.take_while(|(used, _)| self.time.since(*used) >= KEY_MEMORY).copied().collect();
        for (used, key) in forgotten {
            self.keys_by_age.remove(&(used, key));
            let record = self.keys.remove(&key);
            if let Some(job) = record.as_ref().and_then(KeyRecord::made) {
                self.jobs.set_key(job, None);
            }
        }
        let record = KeyRecord {
            principal: mutation.principal.clone(),
            request: mutation.request,
            reply,
            used: self.time,
        };
        if drawn_at(mutation.key).is_some() {
            self.keys_by_age.insert((self.time, mutation.key));
        }
        self.keys.insert(mutation.key, record);
    }

    /// Stops the current attempt, if it is not being stopped already.
    pub(super) fn stop_current(&mut self, id: &JobId, reason: &EndReason, events: &mut Vec<Event>) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let Some(attempt) = job.attempts.last_mut() else { return };
        if attempt.phase != AttemptPhase::Active {
            return;
        }
        attempt.phase = AttemptPhase::Stopping;
        attempt.end.get_or_insert_with(|| reason.clone());
        let nodes: Vec<_> = attempt.placements.iter().map(|p| p.node.clone()).collect();
        job.phase = JobPhase::Stopping;
        job.version += 1;
        let attempt = job.current().map(|a| job.attempt_ref(a));
        if let Some(attempt) = attempt.as_ref().filter(|_| planted("free units before the exit")) {
            for node in self.nodes.values_mut() {
                node.release(attempt);
            }
        }
        events.extend(
            attempt.map(|attempt| Event::AttemptEnding { attempt, reason: reason.clone() }),
        );
        events.push(Event::Job { job: id.clone(), phase: JobPhase::Stopping });
        events.extend(nodes.into_iter().map(Event::Node));
    }
}
