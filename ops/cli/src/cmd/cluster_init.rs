//! `yard cluster init`: the authority of a new cluster, a directory for each of its first
//! schedulers, and an administrator's certificate. Nothing is asked of any scheduler.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use toml::{Table, Value};
use trainyard_jobs::{ClusterId, Millis, Role, token::is_bearer_name};
use trainyard_pki::{AUTHORITY_LIFE, Authority, Holder, NODE_LIFE, PERSON_LIFE, PkiDir, Subject};
use uuid::Uuid;

use crate::{app::App, endpoint::Endpoint, error::CliError, exit::Exit};

/// What the cluster begins with.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The first schedulers, 1, 3 or 5: ID=HOST:PORT
    #[arg(long = "member", value_name = "ID=ADDRESS", required = true, value_parser = member)]
    members: Vec<(u64, Endpoint)>,
    /// Object store: file:///DIR or s3://BUCKET/PREFIX
    #[arg(long, value_name = "URL")]
    store: String,
    /// Where the directories are made
    #[arg(long, value_name = "DIR", default_value = "trainyard-cluster")]
    out: PathBuf,
    /// The administrator's name, for the audit trail
    #[arg(long, value_name = "NAME", default_value = "admin")]
    admin: String,
    /// How long the schedulers' first certificates are valid
    #[arg(long, value_name = "TIME", default_value = "7d")]
    life: Millis,
}

fn member(text: &str) -> Result<(u64, Endpoint), String> {
    let (id, address) = text.split_once('=').ok_or("expected ID=HOST:PORT")?;
    let id = id.parse().ok().filter(|id| *id > 0).ok_or("the id is a number from 1")?;
    Ok((id, address.parse().map_err(|_| "the address is HOST:PORT")?))
}

/// Makes the directories.
pub(crate) fn run(app: &App, args: &InitArgs) -> Result<Exit, CliError> {
    let members: BTreeMap<u64, String> =
        args.members.iter().map(|(id, at)| (*id, at.to_string())).collect();
    if members.len() != args.members.len() || !matches!(members.len(), 1 | 3 | 5) {
        return Err(CliError::usage("a cluster begins with 1, 3 or 5 schedulers")
            .help("--member 1=HOST:PORT --member 2=HOST:PORT --member 3=HOST:PORT"));
    }
    if args.out.exists() {
        return Err(CliError::usage(format!("`{}` is there already", args.out.display()))
            .help("a second authority would be a second cluster: name another --out"));
    }
    if !is_bearer_name(&args.admin) {
        return Err(CliError::usage(format!("`{}` cannot be a name", args.admin))
            .help("letters, digits and . - _ @ + make one"));
    }
    let admin = Subject::Person { role: Role::Admin, name: args.admin.clone() };
    let cluster = ClusterId(Uuid::now_v7());
    let authority = Authority::create(cluster, AUTHORITY_LIFE)?;
    let life = if args.life.0 == 0 { NODE_LIFE } else { args.life.into() };
    let administrator = authority.issue(admin, PERSON_LIFE)?;
    for &id in members.keys() {
        let dir = args.out.join(format!("scheduler-{id}"));
        let pki = PkiDir::new(dir.join("pki"));
        pki.write_authority(authority.certificate(), &authority.key())?;
        pki.write_issued(Holder::Node, &authority.issue(Subject::Scheduler(id), life)?)?;
        write(&dir.join("scheduler.toml"), &config(cluster, id, &members, &args.store)?)?;
    }
    let dir = PkiDir::new(args.out.join("admin"));
    dir.write_roots(authority.certificate())?;
    dir.write_issued(Holder::Person, &administrator)?;
    app.out.result(&next(cluster, &members, &args.out))?;
    Ok(Exit::Done)
}

fn config(
    cluster: ClusterId,
    id: u64,
    members: &BTreeMap<u64, String>,
    store: &str,
) -> Result<String, CliError> {
    let port = members.get(&id).and_then(|at| at.rsplit_once(':')).map_or("7401", |(_, p)| p);
    let peers = members.iter().map(|(id, at)| (id.to_string(), Value::from(at.clone())));
    let table = Table::from_iter([
        ("id".into(), i64::try_from(id).unwrap_or(i64::MAX).into()),
        ("cluster".into(), cluster.to_string().into()),
        ("listen".into(), format!("0.0.0.0:{port}").into()),
        ("data_dir".into(), "/var/lib/trainyard/scheduler".into()),
        ("pki_dir".into(), "/etc/trainyard/pki".into()),
        ("store".into(), store.into()),
        ("peers".into(), Value::Table(peers.collect())),
    ]);
    toml::to_string(&table)
        .map_err(|error| CliError::internal(format!("cannot write a configuration: {error}")))
}

fn write(path: &Path, text: &str) -> Result<(), CliError> {
    fs::write(path, text).map_err(|error| CliError::io("write", path, &error))
}

fn next(cluster: ClusterId, members: &BTreeMap<u64, String>, out: &Path) -> String {
    let at = out.display();
    let endpoints: Vec<&str> = members.values().map(String::as_str).collect();
    let endpoints = endpoints.join(",");
    let mut text = format!("cluster {cluster}\n\nOn each scheduler's machine:\n");
    for (id, address) in members {
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
        let _ = writeln!(text, "  scp -rp {at}/scheduler-{id}/. {host}:/etc/trainyard/");
    }
    let _ = write!(
        text,
        "  yard scheduler --config /etc/trainyard/scheduler.toml\n\n\
         Then, from here:\n  \
         export YARD_ENDPOINT={endpoints} YARD_PKI=$PWD/{at}/admin\n  \
         yard cluster status\n\n\
         Remove {at}/scheduler-* here once they are copied: each holds the authority's key.\n",
    );
    text
}
