//! `/bin/true` jobs a second, from the first submit until all have ended, with equal declared
//! slots: what a system adds to a job that does nothing.

use std::time::Duration;

use crate::{
    args::Args,
    progress,
    report::{Row, Section, System},
    rounds::{Figures, order},
};

mod hyperqueue;
pub(crate) mod slurm;
mod yard;

/// A round that takes longer than this has failed.
const LIMIT: Duration = Duration::from_secs(180);

/// A system that runs jobs.
#[async_trait::async_trait(?Send)]
trait Queue {
    /// Submits `jobs` jobs and waits until all have ended well; gives the time that took.
    async fn run(&mut self, jobs: u32) -> anyhow::Result<Duration>;

    fn version(&self) -> String;
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Section> {
    let slots = args.slots;
    let yard = yard::Yard::start(&args.yard(), &args.data, slots).await.map(boxed);
    let slurm = slurm::Slurm::start(&args.data, slots).await.map(boxed);
    let hq = hyperqueue::HyperQueue::start(&args.hq_python(), &args.data, slots).await.map(boxed);
    let systems = vec![
        System::new("trainyard", &yard, |queue| queue.version()),
        System::new("slurm", &slurm, |queue| queue.version()),
        System::new("hyperqueue", &hq, |queue| queue.version()),
    ];
    let mut queues = [yard.ok(), slurm.ok(), hq.ok()];
    let mut figures: Vec<Option<Figures>> =
        queues.iter().map(|queue| queue.as_ref().map(|_| Figures::default())).collect();
    for round in 0..args.rounds {
        for i in order(queues.len(), round) {
            let queue = queues.get_mut(i).and_then(Option::as_mut);
            let (Some(queue), Some(Some(figures))) = (queue, figures.get_mut(i)) else { continue };
            match queue.run(args.jobs).await {
                Ok(time) => {
                    progress(&format!("jobs: system {i}: {:.2} s", time.as_secs_f64()));
                    figures.rounds.push(f64::from(args.jobs) / time.as_secs_f64());
                }
                Err(error) => figures.failure = Some(format!("{error:#}")),
            }
        }
    }
    Ok(Section {
        title: "Short jobs".to_owned(),
        unit: "jobs/s".to_owned(),
        case: "slots".to_owned(),
        systems,
        rows: vec![Row { case: slots.to_string(), figures }],
        notes: vec![
            format!(
                "{} jobs of `/bin/true` a round, {} rounds, one worker.",
                args.jobs, args.rounds
            ),
            "Trainyard: each job durably logged before its answer, 16 clients. Slurm: one array, \
             state on disk in the background, `batch_sched_delay=0,sched_min_interval=0,\
             sched_interval=1` (its defaults wait longer); polled every 50 ms. HyperQueue: no \
             journal, driven through its Python package."
                .to_owned(),
        ],
        ..Section::default()
    })
}

fn boxed<Q: Queue + 'static>(queue: Q) -> Box<dyn Queue> {
    Box::new(queue)
}
