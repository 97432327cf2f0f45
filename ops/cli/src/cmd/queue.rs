//! `yard queue list|get|set`. Settings are read, changed and written back with the version that
//! was read, so that nobody's change is undone unseen.

use clap::Args;
use trainyard_jobs::{Backfill, Millis, Policy, ProjectName, QueueSpec, Quota, spec::UsdPerHour};
use trainyard_proto::v1::{self, queues_client::QueuesClient};
use uuid::Uuid;

use crate::{
    app::App, args::QueueCommand, error::CliError, exit::Exit, output::List, view::queue::QueueView,
};

/// Which queue.
#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// Its name: a project's, a queue's above some, or `root`
    name: ProjectName,
}

/// What to change.
#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// Its name: a project's, a queue's above some, or `root` for the whole cluster
    name: ProjectName,
    /// The queue above; `root` for none
    #[arg(long, value_name = "QUEUE")]
    parent: Option<ProjectName>,
    /// The order of its jobs: auto, fair, fifo, gavel, las, srsf
    #[arg(long, value_name = "POLICY")]
    policy: Option<Policy>,
    /// Its share beside its siblings'
    #[arg(long, value_name = "N")]
    weight: Option<u32>,
    /// Units that it gets back from whoever borrows them; of any type, or TYPE=N
    #[arg(long, value_name = "[TYPE=]N")]
    guaranteed: Vec<Units>,
    /// Units that it never exceeds; `none` for no limit
    #[arg(long, value_name = "[TYPE=]N")]
    limit: Vec<Units>,
    /// The time from which its use counts half
    #[arg(long, value_name = "TIME")]
    half_life: Option<Millis>,
    /// What a job loses when it is stopped and resumed
    #[arg(long, value_name = "TIME")]
    restart_cost: Option<Millis>,
    /// How long an attempt runs before it may be stopped for another job
    #[arg(long, value_name = "TIME")]
    min_run: Option<Millis>,
    /// How long a job may take to save its state before it is stopped
    #[arg(long, value_name = "TIME")]
    notice: Option<Millis>,
    /// A job that has waited so long goes first
    #[arg(long, value_name = "TIME")]
    patience: Option<Millis>,
    /// Stops of one job in a day at most
    #[arg(long, value_name = "N")]
    max_disruptions: Option<u32>,
    /// Who may pass its jobs that wait under fifo and fair: none, easy, conservative
    #[arg(long, value_name = "WHO")]
    backfill: Option<Backfill>,
    /// Of a hundred units of its jobs, so many may be stopped for other jobs within an hour; what
    /// one job needs is let through once an hour
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(0..=100))]
    disruption_budget: Option<u32>,
    /// The highest priority that its jobs may have
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    max_priority: Option<i32>,
    /// Dollars that an hour of a unit is worth to its jobs
    #[arg(long, value_name = "USD")]
    value_per_hour: Option<UsdPerHour>,
    /// Forget all of its settings first
    #[arg(long)]
    reset: bool,
    /// Say what would be set, and set nothing
    #[arg(long)]
    dry_run: bool,
}

/// A number of units of any type or of one; none: no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Units {
    kind: Option<String>,
    units: Option<u32>,
}

impl std::str::FromStr for Units {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, number) = match text.split_once('=') {
            Some((kind, number)) => (Some(kind.to_lowercase()), number),
            None => (None, text),
        };
        let units = match number {
            "none" => None,
            number => Some(number.parse().map_err(|_| {
                format!("`{number}` is no number of units: write `8`, `h100=8` or `none`")
            })?),
        };
        Ok(Self { kind, units })
    }
}

impl SetArgs {
    /// The settings with what was asked for.
    fn change(&self, spec: &mut QueueSpec) {
        if self.reset {
            *spec = QueueSpec::default();
        }
        if let Some(parent) = &self.parent {
            spec.parent = Some(parent.clone()).filter(|parent| parent.as_str() != "root");
        }
        for asked in &self.guaranteed {
            quota(spec, asked).guaranteed = asked.units.unwrap_or(0);
        }
        for asked in &self.limit {
            quota(spec, asked).limit = asked.units;
        }
        spec.quotas.retain(|quota| quota.guaranteed > 0 || quota.limit.is_some());
        spec.policy = self.policy.or(spec.policy);
        spec.weight = self.weight.or(spec.weight);
        spec.half_life = self.half_life.or(spec.half_life);
        spec.restart_cost = self.restart_cost.or(spec.restart_cost);
        spec.min_run = self.min_run.or(spec.min_run);
        spec.notice = self.notice.or(spec.notice);
        spec.patience = self.patience.or(spec.patience);
        spec.max_disruptions = self.max_disruptions.or(spec.max_disruptions);
        spec.backfill = self.backfill.or(spec.backfill);
        spec.disruption_budget = self.disruption_budget.or(spec.disruption_budget);
        spec.max_priority = self.max_priority.or(spec.max_priority);
        spec.value_per_hour = self.value_per_hour.or(spec.value_per_hour);
    }
}

fn quota<'a>(spec: &'a mut QueueSpec, asked: &Units) -> &'a mut Quota {
    let known = spec.quotas.iter().position(|quota| quota.gpu_type == asked.kind);
    let at = known.unwrap_or_else(|| {
        spec.quotas.push(Quota { gpu_type: asked.kind.clone(), guaranteed: 0, limit: None });
        spec.quotas.len() - 1
    });
    #[expect(clippy::indexing_slicing, reason = "found or pushed just above")]
    &mut spec.quotas[at]
}

/// Carries a `yard queue` command out.
pub(crate) async fn run(app: &App, command: QueueCommand) -> Result<Exit, CliError> {
    match command {
        QueueCommand::List => show(app, "").await,
        QueueCommand::Get(args) => show(app, args.name.as_str()).await,
        QueueCommand::Set(args) => set(app, &args).await,
    }
}

async fn fetch(app: &App, name: &str) -> Result<v1::ListQueuesAnswer, CliError> {
    let request = v1::ListQueuesRequest { name: name.to_owned(), stale: app.global.stale };
    let list = async |line| QueuesClient::new(line).list_queues(request.clone()).await;
    app.cluster()?.call_line("list the queues", list).await
}

async fn show(app: &App, name: &str) -> Result<Exit, CliError> {
    app.show(async || {
        let answer = fetch(app, name).await?;
        let items = answer.queues.into_iter().map(QueueView::try_from);
        let items: Vec<QueueView> = items.collect::<Result<_, _>>()?;
        let empty = "no queues: every project is one once it has jobs".to_owned();
        let list = List { items, more: false, stale: answer.stale, empty };
        app.out.list(&list, app.out.look())
    })
    .await
}

async fn set(app: &App, args: &SetArgs) -> Result<Exit, CliError> {
    let name = args.name.as_str();
    let known = fetch(app, "").await?.queues.into_iter().find(|queue| queue.name == name);
    let known = known.map(QueueView::try_from).transpose()?;
    let (version, mut spec) = known.map_or_else(Default::default, |q| (q.version, q.settings));
    args.change(&mut spec);
    if let Some(problem) = spec.problem(&args.name) {
        return Err(CliError::usage(problem));
    }
    let settings_json = if spec == QueueSpec::default() {
        String::new()
    } else {
        serde_json::to_string(&spec).map_err(|error| CliError::internal(error.to_string()))?
    };
    if args.dry_run {
        let would = if settings_json.is_empty() { "the defaults" } else { &settings_json };
        app.out.note(&format!("would set queue {name} to {would}"));
        return Ok(Exit::Done);
    }
    let request = v1::SetQueueRequest {
        key: Uuid::now_v7().to_string(),
        name: name.to_owned(),
        settings_json,
        version: Some(version),
    };
    let set = async |line| QueuesClient::new(line).set_queue(request.clone()).await;
    let answer = app.cluster()?.call_line("set the queue", set).await?;
    let items = answer.queue.into_iter().map(QueueView::try_from);
    let items: Vec<QueueView> = items.collect::<Result<_, _>>()?;
    let list = List { items, more: false, stale: false, empty: "no queue".to_owned() };
    app.out.print(&app.out.list(&list, app.out.look())?)?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn parse(line: &str) -> SetArgs {
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let Command::Queue(QueueCommand::Set(args)) = cli.command else { panic!("{line}") };
        *args
    }

    #[test]
    fn what_is_not_named_stays() {
        let mut spec = QueueSpec::default();
        parse("yard queue set a --guaranteed 8 --limit h100=4 --policy las").change(&mut spec);
        parse("yard queue set a --weight 2 --limit 16").change(&mut spec);
        let quota = |gpu_type: Option<&str>, guaranteed, limit| Quota {
            gpu_type: gpu_type.map(str::to_owned),
            guaranteed,
            limit,
        };
        assert_eq!(spec.quotas, [quota(None, 8, Some(16)), quota(Some("h100"), 0, Some(4))]);
        assert_eq!((spec.policy, spec.weight), (Some(Policy::Las), Some(2)));
        assert_eq!(spec.backfill, None);
        parse("yard queue set a --backfill conservative").change(&mut spec);
        parse("yard queue set a --disruption-budget 10 --max-priority -1").change(&mut spec);
        assert_eq!((spec.disruption_budget, spec.max_priority), (Some(10), Some(-1)));
        parse("yard queue set a --limit h100=none --value-per-hour 3.2").change(&mut spec);
        parse("yard queue set a --weight 2").change(&mut spec);
        assert_eq!(spec.disruption_budget, Some(10));
        assert_eq!(spec.value_per_hour, "3.2".parse().ok());
        assert_eq!(spec.backfill, Some(Backfill::Conservative));
        assert_eq!(spec.quotas, [quota(None, 8, Some(16))]);
        parse("yard queue set a --reset").change(&mut spec);
        assert_eq!(spec, QueueSpec::default());
    }

    #[test]
    fn units_are_numbers_of_a_type_or_of_any() {
        assert!("h100=many".parse::<Units>().unwrap_err().contains("write `8`"));
        assert_eq!("H100=2".parse(), Ok(Units { kind: Some("h100".into()), units: Some(2) }));
    }
}
