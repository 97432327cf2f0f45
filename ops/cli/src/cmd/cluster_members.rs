//! `yard cluster members|add|remove|replace|transfer`. The schedulers carry a change out by
//! themselves, whoever leads; a command puts it on record and says what is left to do.

use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep};
use toml::{Table, Value};
use trainyard_proto::v1;

use crate::{
    app::App,
    client::{Cluster, Members},
    error::CliError,
    exit::Exit,
    output::{List, Page},
    view::member::MemberView,
};

/// How long a change is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

const LOOK: Duration = Duration::from_millis(200);

/// Where the new scheduler will listen.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// Where the new scheduler will listen, HOST:PORT
    address: String,
}

/// Which scheduler goes.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// Its id
    id: u64,
    /// Even if the members that answer would be no majority any more
    #[arg(long)]
    force: bool,
}

/// Who takes whose place.
#[derive(Debug, Args)]
pub(crate) struct ReplaceArgs {
    /// The id of the scheduler to be replaced
    old: u64,
    /// Where the new one will listen, HOST:PORT; the old one's address does
    address: String,
}

/// Who is to lead.
#[derive(Debug, Args)]
pub(crate) struct TransferArgs {
    /// Its id; without one, whoever can take over soonest
    to: Option<u64>,
}

async fn fetch(cluster: &Cluster, stale: bool) -> Result<v1::MembersAnswer, CliError> {
    let request = v1::MembersRequest { stale };
    let ask = async |mut service: Members| service.members(request).await;
    cluster.call_members("list the members", ask).await
}

/// Lists the schedulers.
pub(crate) async fn list(app: &App) -> Result<Exit, CliError> {
    let cluster = app.cluster()?;
    app.show(async || page(app, fetch(&cluster, app.global.stale).await?)).await
}

fn page(app: &App, answer: v1::MembersAnswer) -> Result<Page, CliError> {
    let leader = answer.leader;
    let items: Vec<_> =
        answer.members.into_iter().map(|member| MemberView::new(member, leader)).collect();
    let voters = items.iter().filter(|member| member.state == "voter").count();
    let list = List { items, more: false, stale: false, empty: "no members".to_owned() };
    let mut page = app.out.list(&list, app.out.look())?;
    if voters.is_multiple_of(2) {
        page.notes.push(format!(
            "{voters} voters survive no more losses than {}: `yard cluster add` one",
            voters.saturating_sub(1)
        ));
    }
    Ok(page)
}

/// Gives out an id and prints the configuration of the scheduler that is to have it.
pub(crate) async fn add(app: &App, args: &AddArgs) -> Result<Exit, CliError> {
    let request = v1::AddMemberRequest { address: args.address.clone() };
    let ask = async |mut service: Members| service.add_member(request.clone()).await;
    let answer = app.cluster()?.call_members("add the scheduler", ask).await?;
    print(app, &answer)
}

/// The same for one that takes another's place.
pub(crate) async fn replace(app: &App, args: &ReplaceArgs) -> Result<Exit, CliError> {
    let request = v1::ReplaceMemberRequest { old: args.old, address: args.address.clone() };
    let ask = async |mut service: Members| service.replace_member(request.clone()).await;
    let answer = app.cluster()?.call_members("replace the scheduler", ask).await?;
    print(app, &answer)
}

fn print(app: &App, answer: &v1::AddMemberAnswer) -> Result<Exit, CliError> {
    let id = answer.id;
    if app.out.quiet {
        app.out.result(&format!("{id}\n"))?;
        return Ok(Exit::Done);
    }
    if !app.out.is_human() {
        let config = configuration(answer)?;
        let document = serde_json::json!({
            "id": id,
            "cluster": answer.cluster,
            "address": answer.address,
            "replaces": Some(answer.replaces).filter(|old| *old != 0),
            "config": config,
        });
        app.out.result(&app.out.document("NewMember", &document)?)?;
        return Ok(Exit::Done);
    }
    app.out.result(&configuration(answer)?)?;
    let what = match answer.replaces {
        0 => "it votes once it has caught up and the number of voters stays odd".to_owned(),
        old => format!("it takes the place of {old} once it has caught up"),
    };
    app.out.note(&format!(
        "this is the configuration of scheduler {id}: give it a `data_dir` that is empty, start \
         it with `yard scheduler --config`, and {what}; `yard cluster members` shows how far it is"
    ));
    Ok(Exit::Done)
}

/// What a joining scheduler's file holds.
fn configuration(answer: &v1::AddMemberAnswer) -> Result<String, CliError> {
    let number = |id: u64| i64::try_from(id).unwrap_or(i64::MAX);
    let mut ids: Vec<_> = answer.peers.iter().collect();
    ids.sort();
    let peers = ids.into_iter().map(|(id, at)| (id.to_string(), Value::from(at.as_str())));
    let config = Table::from_iter([
        ("id".to_owned(), number(answer.id).into()),
        ("cluster".to_owned(), answer.cluster.as_str().into()),
        ("join".to_owned(), true.into()),
        ("listen".to_owned(), answer.address.as_str().into()),
        ("data_dir".to_owned(), format!("/var/lib/trainyard/scheduler-{}", answer.id).into()),
        ("store".to_owned(), answer.store.as_str().into()),
        ("peers".to_owned(), Value::Table(peers.collect())),
    ]);
    toml::to_string(&config)
        .map_err(|error| CliError::internal(format!("cannot write a configuration: {error}")))
}

/// Removes a scheduler and waits until it is gone.
pub(crate) async fn remove(app: &App, args: &RemoveArgs) -> Result<Exit, CliError> {
    let cluster = app.cluster()?;
    let request = v1::RemoveMemberRequest { id: args.id, force: args.force };
    let ask = async |mut service: Members| service.remove_member(request).await;
    cluster.call_members("remove the scheduler", ask).await?;
    let gone = |answer: &v1::MembersAnswer| answer.members.iter().all(|m| m.id != args.id);
    wait(&cluster, gone).await?;
    app.out.note(&format!(
        "scheduler {} is no member any more: stop it; its id is never used again",
        args.id
    ));
    Ok(Exit::Done)
}

/// Hands the leadership over and waits until it has arrived.
pub(crate) async fn transfer(app: &App, args: &TransferArgs) -> Result<Exit, CliError> {
    let cluster = app.cluster()?;
    let request = v1::TransferRequest { to: args.to.unwrap_or(0) };
    let ask = async |mut service: Members| service.transfer(request).await;
    let to = cluster.call_members("transfer the leadership", ask).await?.to;
    wait(&cluster, |answer| answer.leader == to).await?;
    app.out.note(&format!("scheduler {to} leads"));
    Ok(Exit::Done)
}

async fn wait(
    cluster: &Cluster,
    done: impl Fn(&v1::MembersAnswer) -> bool,
) -> Result<(), CliError> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let last = fetch(cluster, false).await;
        if last.as_ref().is_ok_and(&done) {
            return Ok(());
        }
        if Instant::now() > give_up {
            last?;
            return Err(CliError::new(
                Exit::NotFinished,
                "it is on record, and not done yet".to_owned(),
            )
            .help("the schedulers go on with it; `yard cluster members` shows how far they are"));
        }
        sleep(LOOK).await;
    }
}
