//! `yard token create|list|revoke`. The secret is drawn here and printed once: the schedulers are
//! told its digest alone, so nobody else ever holds it.

use clap::Args;
use serde::Serialize;
use trainyard_jobs::{Digest, Millis, Secret, Token};
use trainyard_proto::v1;
use uuid::Uuid;

use crate::{
    app::App,
    args::TokenCommand,
    error::CliError,
    exit::Exit,
    output::{Format, List, human},
    view::token::TokenView,
};

/// What the token is good for.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// viewer, researcher, operator, admin; for a machine: worker, scheduler
    #[arg(long, value_name = "ROLE")]
    role: String,
    /// Who bears it, for the audit trail
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    name: String,
    /// How long it is good: 15m, 30d; at most 366d, for a machine 7d
    #[arg(long, value_name = "TIME")]
    ttl: Millis,
    /// A project that the bearer is bound to; may be repeated. None: every project
    #[arg(long = "project", value_name = "NAME")]
    project: Vec<String>,
    /// Say what would be made, and make nothing
    #[arg(long)]
    dry_run: bool,
}

/// Which token.
#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// Its id, or the beginning of it
    #[arg(value_name = "ID")]
    token: String,
    /// Say what would be revoked, and revoke nothing
    #[arg(long)]
    dry_run: bool,
}

/// A token that was made, for programs.
#[derive(Debug, Serialize)]
struct Made {
    token: String,
    #[serde(flatten)]
    view: TokenView,
}

/// Carries a `yard token` command out.
pub(crate) async fn run(app: &App, command: TokenCommand) -> Result<Exit, CliError> {
    match command {
        TokenCommand::Create(args) => create(app, args).await,
        TokenCommand::List => list(app).await,
        TokenCommand::Revoke(args) => revoke(app, &args).await,
    }
}

async fn create(app: &App, args: CreateArgs) -> Result<Exit, CliError> {
    let projects = args.project;
    if args.dry_run {
        let of = if projects.is_empty() { "every project".into() } else { projects.join(", ") };
        app.out.note(&format!("would make a token: role {}, {of}, for {}", args.role, args.ttl));
        return Ok(Exit::Done);
    }
    let secret = Secret::from_random(rand::random());
    let request = v1::CreateTokenRequest {
        key: Uuid::now_v7().to_string(),
        role: args.role,
        projects,
        name: args.name,
        ttl_ms: args.ttl.0,
        digest: secret.digest().to_string(),
    };
    let answer = app
        .cluster()?
        .call_access("make the token", async |mut access| {
            access.create_token(request.clone()).await
        })
        .await?;
    let made = answer.token.ok_or_else(|| CliError::internal("the answer holds no token"))?;
    let id = made.id.parse().map_err(|error| CliError::internal(format!("{error}")))?;
    let token = if made.kind == "join" {
        let ca = Digest::from_hex(&answer.ca)
            .ok_or_else(|| CliError::internal("the answer names no certificate authority"))?;
        Token::Join { id, secret, ca }
    } else {
        Token::Api { id, secret }
    };
    let view = TokenView::from(made);
    if app.out.format == Format::Table || app.out.format == Format::Wide {
        app.out.result(&format!("{}\n", token.expose()))?;
        let expires = human::instant(view.expires_unix_ms);
        app.out
            .note(&format!("token {}, {}; good until {expires}; shown once", view.id, view.role));
    } else {
        let made = Made { token: token.expose(), view };
        app.out.result(&app.out.document("Token", &made)?)?;
    }
    Ok(Exit::Done)
}

async fn fetch(app: &App) -> Result<v1::ListTokensAnswer, CliError> {
    let request = v1::ListTokensRequest { stale: app.global.stale };
    app.cluster()?
        .call_access("list the tokens", async |mut access| access.list_tokens(request).await)
        .await
}

async fn list(app: &App) -> Result<Exit, CliError> {
    app.show(async || {
        let answer = fetch(app).await?;
        let items: Vec<TokenView> = answer.tokens.into_iter().map(TokenView::from).collect();
        let empty = "no tokens: `yard token create` makes one".to_owned();
        let mut look = app.out.look();
        look.id_chars = human::id_chars(items.iter().map(|token| token.id.as_str()));
        app.out.list(&List { items, more: false, stale: answer.stale, empty }, look)
    })
    .await
}

async fn revoke(app: &App, args: &RevokeArgs) -> Result<Exit, CliError> {
    if args.dry_run {
        let tokens = fetch(app).await?.tokens.into_iter();
        let named: Vec<_> = tokens.filter(|token| token.id.starts_with(&args.token)).collect();
        return match named.as_slice() {
            [token] => {
                app.out.note(&format!("would revoke token {} of `{}`", token.id, token.name));
                Ok(Exit::Done)
            }
            _ => Err(CliError::not_found(format!("`{}` names no one token", args.token))),
        };
    }
    let key = Uuid::now_v7().to_string();
    let request = v1::RevokeTokenRequest { key, token: args.token.clone() };
    let answer = app
        .cluster()?
        .call_access("revoke the token", async |mut access| {
            access.revoke_token(request.clone()).await
        })
        .await?;
    let items: Vec<TokenView> = answer.token.into_iter().map(TokenView::from).collect();
    let list = List { items, more: false, stale: false, empty: "no tokens".to_owned() };
    app.out.print(&app.out.list(&list, app.out.look())?)?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn several_projects_can_be_named() {
        let line = "yard token create --role viewer --project a --project b --ttl 1h";
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let Command::Token(TokenCommand::Create(args)) = cli.command else { panic!("{line}") };
        assert_eq!(args.project, ["a", "b"]);
    }
}
