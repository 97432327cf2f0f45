//! What there is to say of parts of GPUs: those that are free and are not what a job asks for, and
//! which smaller ones would do.

use std::collections::BTreeSet;

use trainyard_jobs::spec::{Fraction, Resources};

use super::{Blocker, BlockerKind, counted};
use crate::placement::{
    fit::{Request, WHOLE},
    planner::Planner,
    view::Waiting,
    yard::Yard,
};

/// What of a GPU each rank asks for, behind the count.
pub(super) fn asked(request: &Resources) -> String {
    let fraction = request.gpu_fraction.filter(|_| request.on_parts());
    let Some(fraction) = fraction else { return String::new() };
    let own = if request.gpus > 1 { ", each on a GPU of its own" } else { "" };
    format!(" of at least {fraction}{own}")
}

/// Units that would answer were they other parts of GPUs.
pub(super) fn others(yard: &Yard, asked: &Request) -> Vec<Blocker> {
    if !yard.has_parts() {
        return Vec::new();
    }
    let free = |part: u16| {
        let census = yard.census(&Request { part, ranks: 1, ..asked.clone() });
        census.all.saturating_sub(census.busy).saturating_sub(census.out)
    };
    let blocker = |message| Blocker { kind: BlockerKind::OtherParts, message };
    let are = |count: u32, word: &str| {
        format!("{} {} free", counted(count, word), if count == 1 { "is" } else { "are" })
    };
    if !asked.on_parts() {
        let parts = free(1);
        let message = format!("{}, but the job asks for whole GPUs", are(parts, "part"));
        return (parts > 0).then(|| blocker(message)).into_iter().collect();
    }
    let (whole, smaller) = (free(WHOLE), free(1).saturating_sub(free(asked.part)));
    let smaller_ones = format!("{}, but smaller than asked", are(smaller, "part"));
    let whole_ones = format!("{}, but the job asks for parts", are(whole, "whole GPU"));
    let found = [(smaller, smaller_ones), (whole, whole_ones)];
    found.into_iter().filter(|(count, _)| *count > 0).map(|(_, text)| blocker(text)).collect()
}

impl Planner {
    /// The parts that nodes offer and that are smaller than what a job asks for, the largest first.
    pub(super) fn smaller_parts(&self, job: &Waiting) -> Vec<Fraction> {
        if !job.resources.on_parts() {
            return Vec::new();
        }
        let devices = self.nodes().values().flat_map(|node| node.devices.values());
        let sizes: BTreeSet<u16> = devices.map(|device| device.part.milli()).collect();
        let smaller = sizes.into_iter().rev().filter(|milli| *milli < job.resources.part_milli());
        smaller.filter_map(Fraction::from_milli).collect()
    }
}
