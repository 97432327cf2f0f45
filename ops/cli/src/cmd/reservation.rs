//! `yard reservation create|list|delete`: nodes on which nobody runs for some time, or only the
//! jobs of some projects and users do.

use std::str::FromStr;

use clap::Args;
use trainyard_jobs::{
    Millis, NodeName, NodeSelection, ProjectName, Purpose, ReservationName, ReservationSpec,
    Timestamp,
};
use trainyard_proto::v1::{self, reservations_client::ReservationsClient};
use uuid::Uuid;

use crate::{
    app::App,
    args::ReservationCommand,
    error::CliError,
    exit::Exit,
    output::{List, human},
    view::reservation::ReservationView,
};

/// What to reserve.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Its name
    name: ReservationName,
    /// When it begins: 2026-12-24T08:00:00Z, +2h, or now
    #[arg(long, value_name = "WHEN")]
    from: When,
    /// How long it lasts: 90m, 2d; at most 366d
    #[arg(long = "for", value_name = "TIME")]
    lasts: Millis,
    /// Nodes by name, with commas
    #[arg(
        long,
        value_name = "NAME,…",
        value_delimiter = ',',
        required_unless_present_any = ["label", "all"],
        conflicts_with_all = ["label", "all"]
    )]
    nodes: Vec<NodeName>,
    /// Nodes that carry this label, those too that join later; may be repeated: all of them
    #[arg(long, value_name = "KEY=VALUE", conflicts_with = "all")]
    label: Vec<Label>,
    /// Every node
    #[arg(long)]
    all: bool,
    /// Nobody runs there; who does when it begins is stopped
    #[arg(long, required_unless_present_any = ["project", "user"], conflicts_with_all = ["project", "user"])]
    maintenance: bool,
    /// Only jobs of this project, or of one below, run there; may be repeated
    #[arg(long = "project", value_name = "NAME")]
    project: Vec<String>,
    /// Only jobs that this user submitted run there; may be repeated
    #[arg(long, value_name = "NAME")]
    user: Vec<String>,
    /// Why, for people
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    /// Say what would be reserved, and reserve nothing
    #[arg(long)]
    dry_run: bool,
}

/// Which reservation.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// Its name
    name: ReservationName,
    /// Say what would be deleted, and delete nothing
    #[arg(long)]
    dry_run: bool,
}

/// An instant, or a span from the scheduler's now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    At(Timestamp),
    In(Millis),
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let relative = text.strip_prefix('+').map(str::parse);
        let absolute = || {
            let at = text.parse::<jiff::Timestamp>().ok()?;
            u64::try_from(at.as_millisecond()).ok().map(|ms| Self::At(Timestamp(ms)))
        };
        match relative {
            Some(span) => span.map(Self::In).map_err(|error| error.to_string()),
            None if text == "now" => Ok(Self::In(Millis(0))),
            None => absolute().ok_or_else(|| {
                format!("`{text}` is no time: write `2026-12-24T08:00:00Z`, `+2h` or `now`")
            }),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Label(String, String);

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=').filter(|(key, _)| !key.is_empty());
        let (key, value) = parts.ok_or_else(|| format!("`{text}` is no label: write `rack=a`"))?;
        Ok(Self(key.to_owned(), value.to_owned()))
    }
}

impl CreateArgs {
    fn selection(&self) -> NodeSelection {
        if self.all {
            NodeSelection::All
        } else if self.label.is_empty() {
            NodeSelection::Names(self.nodes.iter().cloned().collect())
        } else {
            let labels = self.label.iter().map(|Label(key, value)| (key.clone(), value.clone()));
            NodeSelection::Labels(labels.collect())
        }
    }

    /// The flag shares its text with the global one of its name.
    fn purpose(&self) -> Result<Purpose, CliError> {
        if self.maintenance {
            return Ok(Purpose::Maintenance);
        }
        let parse = |name: &String| name.parse::<ProjectName>();
        let projects = self.project.iter().map(parse).collect::<Result<_, _>>();
        let projects = projects.map_err(|error| CliError::usage(error.to_string()))?;
        Ok(Purpose::For { projects, users: self.user.iter().cloned().collect() })
    }

    /// What it comes to by this machine's clock, to tell of mistakes before anybody is asked.
    fn spec(&self, now: Timestamp) -> Result<ReservationSpec, CliError> {
        let from = match self.from {
            When::At(at) => at,
            When::In(span) => Timestamp(now.0.saturating_add(span.0)),
        };
        let until = Timestamp(from.0.saturating_add(self.lasts.0));
        let (nodes, purpose) = (self.selection(), self.purpose()?);
        Ok(ReservationSpec { from, until, nodes, purpose, reason: self.reason.clone() })
    }

    fn request(&self) -> v1::CreateReservationRequest {
        let (from_ms, begins_in_ms) = match self.from {
            When::At(at) => (at.0, None),
            When::In(span) => (0, Some(span.0)),
        };
        let labels = self.label.iter().map(|Label(key, value)| (key.clone(), value.clone()));
        let nodes = v1::NodeSelection {
            all: self.all,
            names: self.nodes.iter().map(ToString::to_string).collect(),
            labels: labels.collect(),
        };
        v1::CreateReservationRequest {
            key: Uuid::now_v7().to_string(),
            name: self.name.to_string(),
            from_ms,
            begins_in_ms,
            lasts_ms: self.lasts.0,
            nodes: Some(nodes),
            maintenance: self.maintenance,
            projects: self.project.clone(),
            users: self.user.clone(),
            reason: self.reason.clone(),
        }
    }
}

/// Carries a `yard reservation` command out.
pub(crate) async fn run(app: &App, command: ReservationCommand) -> Result<Exit, CliError> {
    match command {
        ReservationCommand::Create(args) => create(app, &args).await,
        ReservationCommand::List => list(app).await,
        ReservationCommand::Delete(args) => delete(app, &args).await,
    }
}

async fn create(app: &App, args: &CreateArgs) -> Result<Exit, CliError> {
    let spec = args.spec(Timestamp(human::now_ms()))?;
    if let Some(problem) = spec.problem(Timestamp(human::now_ms())) {
        return Err(CliError::usage(problem));
    }
    if args.dry_run {
        let (from, until) = (human::instant(spec.from.0), human::instant(spec.until.0));
        let what = spec.what_for();
        app.out.note(&format!("would reserve nodes for {what} from {from} until {until}"));
        return Ok(Exit::Done);
    }
    let request = args.request();
    let create =
        async |line| ReservationsClient::new(line).create_reservation(request.clone()).await;
    let answer = app.cluster()?.call_line("reserve the nodes", create).await?;
    let items = answer.reservation.into_iter().map(ReservationView::from).collect();
    let list = List { items, more: false, stale: false, empty: "no reservation".to_owned() };
    app.out.print(&app.out.list(&list, app.out.look())?)?;
    Ok(Exit::Done)
}

async fn fetch(app: &App) -> Result<v1::ListReservationsAnswer, CliError> {
    let request = v1::ListReservationsRequest { stale: app.global.stale };
    let list = async |line| ReservationsClient::new(line).list_reservations(request).await;
    app.cluster()?.call_line("list the reservations", list).await
}

async fn list(app: &App) -> Result<Exit, CliError> {
    app.show(async || {
        let answer = fetch(app).await?;
        let items = answer.reservations.into_iter().map(ReservationView::from).collect();
        let empty = "no reservations: `yard reservation create` makes one".to_owned();
        let list: List<ReservationView> = List { items, more: false, stale: answer.stale, empty };
        app.out.list(&list, app.out.look())
    })
    .await
}

async fn delete(app: &App, args: &DeleteArgs) -> Result<Exit, CliError> {
    let name = args.name.as_str();
    if args.dry_run {
        let known = fetch(app).await?.reservations.into_iter().any(|known| known.name == name);
        if !known {
            let text =
                format!("there is no reservation {name}: `yard reservation list` lists them");
            return Err(CliError::not_found(text));
        }
        app.out.note(&format!("would delete reservation {name}"));
        return Ok(Exit::Done);
    }
    let key = Uuid::now_v7().to_string();
    let request = v1::DeleteReservationRequest { key, name: name.to_owned() };
    let delete =
        async |line| ReservationsClient::new(line).delete_reservation(request.clone()).await;
    app.cluster()?.call_line("delete the reservation", delete).await?;
    app.out.note(&format!("deleted reservation {name}"));
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn parse(line: &str) -> Result<CreateArgs, String> {
        let line = format!("yard reservation create upgrade {line}");
        let cli = Cli::try_parse_from(line.split(' ')).map_err(|error| error.to_string())?;
        let Command::Reservation(ReservationCommand::Create(args)) = cli.command else {
            panic!("{line}")
        };
        Ok(*args)
    }

    #[test]
    fn nodes_and_purposes_are_one_of_several() {
        let args = parse("--from +2h --for 30m --nodes a,b --maintenance").unwrap();
        assert_eq!(args.nodes.len(), 2);
        let spec = args.spec(Timestamp(1000)).unwrap();
        assert_eq!((spec.from.0, spec.until.0), (7_201_000, 9_001_000));
        let args = parse("--from now --for 1h --label rack=a --project p --project q").unwrap();
        let NodeSelection::Labels(labels) = args.selection() else { panic!("{args:?}") };
        assert_eq!(labels["rack"], "a");
        assert_eq!(args.spec(Timestamp(0)).unwrap().what_for(), "p, q");
        for bad in [
            "--from now --for 1h --maintenance",
            "--from now --for 1h --all",
            "--from now --for 1h --all --nodes a --maintenance",
            "--from now --for 1h --all --maintenance --project p",
            "--from now --for 1h --label rack --maintenance",
            "--from tomorrow --for 1h --all --maintenance",
            "--from now --all --maintenance",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_instants_or_spans() {
        let at = Timestamp(1_798_099_200_000);
        assert_eq!("2026-12-24T08:00:00Z".parse(), Ok(When::At(at)));
        assert_eq!("2026-12-24T09:00:00+01:00".parse(), Ok(When::At(at)));
        assert_eq!("+90m".parse(), Ok(When::In(Millis(5_400_000))));
        assert!("+soon".parse::<When>().unwrap_err().contains("span of time"));
        assert!("2h".parse::<When>().unwrap_err().contains("`+2h`"));
    }
}
