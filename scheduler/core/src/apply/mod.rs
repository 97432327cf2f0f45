//! `State::apply`: one committed command in, a reply and events out. The same on every replica.
//! What a command does stands in a file by subject; what follows from a change (a gang that is
//! whole again gone, a job that may be queued once more) stands in `settle`.

mod archive;
mod attempt;
mod checkpoint;
mod ending;
mod member;
mod node;
mod queue;
mod quota;
mod reservation;
mod settle;
mod submit;
#[cfg(test)]
mod tests;
mod token;

pub(crate) use attempt::{ELASTIC_LEVEL, GOES_ON_LEVEL};

use crate::{
    archive::Archive,
    command::{Command, Envelope, Reply},
    event::Event,
    refusal::Refusal,
    state::State,
};

/// What became of a command.
pub(crate) type Applied = Result<Reply, Refusal>;

impl State {
    /// Applies the command committed at `index`. Events are appended to `events`. A refused
    /// command changes nothing but the state's time and index. What it archives is then to be
    /// taken with [`State::take_archived`]; `archive` answers for what was archived before.
    ///
    /// # Errors
    /// When the command's preconditions do not hold.
    pub fn apply(
        &mut self,
        index: u64,
        envelope: Envelope,
        archive: &dyn Archive,
        events: &mut Vec<Event>,
    ) -> Applied {
        self.index = index;
        self.time = self.time.max(envelope.time);
        let applied = self.carry_out(envelope.command, archive, events);
        if applied.is_ok() {
            self.forget_reservations(events);
        }
        self.jobs.settle();
        applied
    }

    fn carry_out(
        &mut self,
        command: Command,
        archive: &dyn Archive,
        events: &mut Vec<Event>,
    ) -> Applied {
        match command {
            Command::Submit(submit) => self.submit(*submit, archive, events),
            Command::Cancel { mutation, job } => self.cancel(&mutation, &job, archive, events),
            Command::RegisterNode { node, session, inventory, running, gone } => {
                self.register_node(&node, session, inventory, &running, gone.as_ref(), events)
            }
            Command::MarkLost { node, session } => self.mark_lost(&node, session, events),
            Command::StartAttempt(start) => self.start_attempt(*start, events),
            Command::ReportStarted { node, attempt } => {
                self.report_started(&node, &attempt, events)
            }
            Command::ReportEnded(report) => self.report_ended(*report, events),
            Command::ReportCheckpoint { node, part } => self.report_checkpoint(&node, part, events),
            Command::Complete { job, attempt } => self.complete(&job, attempt, events),
            Command::RejectArtifacts { job, attempt, message } => {
                self.reject_artifacts(&job, attempt, message, events)
            }
            Command::RetireCheckpoint { job, checkpoint } => {
                self.retire_checkpoint(&job, checkpoint, events)
            }
            Command::ForgetCheckpoint { job, checkpoint } => {
                self.forget_checkpoint(&job, checkpoint, events)
            }
            Command::RaiseFeatureLevel { to } => {
                self.feature_level = self.feature_level.max(to);
                Ok(Reply::Done)
            }
            Command::CreateToken(create) => self.create_token(*create, archive),
            Command::RevokeToken { mutation, token } => {
                self.revoke_token(&mutation, &token, archive)
            }
            Command::RedeemToken { token, digest, requester } => {
                self.redeem_token(&token, &digest, requester)
            }
            Command::SetMembers { members } => self.set_members(members, events),
            Command::AddMember { address, replaces } => self.add_member(address, replaces, events),
            Command::LeaveMember { id } => self.leave_member(id, events),
            Command::ForgetMember { id } => self.forget_member(id, events),
            Command::ReleaseAttempt { node, attempt } => {
                self.release_attempt(&node, attempt, events)
            }
            Command::Archive { jobs } => self.archive_jobs(&jobs),
            Command::Preempt(preempt) => self.preempt(*preempt, events),
            Command::SetQueue(set) => self.set_queue(*set, archive, events),
            Command::CreateReservation(create) => self.create_reservation(*create, archive, events),
            Command::DeleteReservation { mutation, name } => {
                self.delete_reservation(&mutation, name, archive, events)
            }
        }
    }
}
