//! `yard cluster certificate`: a certificate for a person or a program, made where a scheduler's
//! PKI directory is at hand, because the authority's key lies in it. For Prometheus, say, or for an
//! administrator whose own was lost. Nothing is asked of any scheduler.

use std::path::PathBuf;

use clap::Args;
use trainyard_jobs::{Millis, Role, token::is_bearer_name};
use trainyard_pki::{Holder, PkiDir, Subject};

use crate::{app::App, error::CliError, exit::Exit};

/// Whose certificate is made.
#[derive(Debug, Args)]
pub(crate) struct CertificateArgs {
    /// Who bears it, for the audit trail
    #[arg(long, value_name = "NAME")]
    name: String,
    /// viewer, researcher, operator or admin
    #[arg(long, value_name = "ROLE")]
    role: Role,
    /// How long it is valid; it cannot be taken back before
    #[arg(long, value_name = "TIME", default_value = "30d")]
    life: Millis,
    /// The PKI directory of a scheduler
    #[arg(long, value_name = "DIR")]
    authority: PathBuf,
    /// Where ca.crt, person.crt and person.key are written
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Makes it.
pub(crate) fn run(app: &App, args: &CertificateArgs) -> Result<Exit, CliError> {
    if !is_bearer_name(&args.name) {
        return Err(CliError::usage(format!("`{}` cannot be a name", args.name))
            .help("letters, digits and . - _ @ + make one"));
    }
    if args.out.exists() {
        return Err(CliError::usage(format!("`{}` is there already", args.out.display()))
            .help("name another --out"));
    }
    let authority = PkiDir::new(&args.authority).authority()?.ok_or_else(|| {
        let text = format!("there is no `ca.key` in `{}`", args.authority.display());
        CliError::new(Exit::Auth, text).help("only a scheduler's PKI directory holds one")
    })?;
    let subject = Subject::Person { role: args.role, name: args.name.clone() };
    let issued = authority.issue(subject, args.life.into())?;
    let dir = PkiDir::new(&args.out);
    dir.write_roots(authority.certificate())?;
    dir.write_issued(Holder::Person, &issued)?;
    app.out.note(&format!(
        "{} is {} for {}; use it: yard --pki {}",
        args.name,
        args.role,
        args.life,
        args.out.display()
    ));
    Ok(Exit::Done)
}
