//! Which schedulers a command speaks to. The order: `--endpoint`, `--context`, `YARD_ENDPOINT`,
//! the default context of `config.toml`, the running `yard dev`, this machine's default port. And
//! as whom: `--pki`, `YARD_PKI`, the context's directory, that of the `yard dev`, the user's own.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::Deserialize;

use trainyard_pki::Credentials;

use crate::{error::CliError, exit::Exit, places::Places};

/// Where a scheduler listens when nothing else is said.
pub(crate) const DEFAULT: &str = "127.0.0.1:7401";

/// The file in a `yard dev` directory that names its schedulers.
pub(crate) const DEV_FILE: &str = "endpoint";

/// The directory that `yard dev` uses unless told otherwise.
pub(crate) const DEV_DIRECTORY: &str = ".trainyard";

/// The file of a `yard dev` directory that holds its owner's certificate.
pub(crate) fn dev_pki(directory: &Path) -> PathBuf {
    directory.join("pki/admin")
}

/// A scheduler's address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint(String);

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Endpoint {
    type Err = CliError;

    fn from_str(text: &str) -> Result<Self, CliError> {
        let address = text.strip_prefix("https://").unwrap_or(text).trim_end_matches('/');
        let split = address.rsplit_once(':').filter(|(host, port)| {
            !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        let odd = |host: &str| host.contains(['/', ' ', '@']);
        if split.is_none_or(|(host, _)| odd(host)) {
            return Err(CliError::usage(format!("`{text}` is not an endpoint"))
                .help("write HOST:PORT, such as 127.0.0.1:7401; several with commas"));
        }
        Ok(Self(address.to_owned()))
    }
}

/// What a user keeps in `~/.config/yard/config.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct UserConfig {
    context: Option<String>,
    contexts: BTreeMap<String, Context>,
}

/// A named list of endpoints, and as whom to speak to them.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Context {
    endpoints: Vec<String>,
    #[serde(default)]
    pki: Option<PathBuf>,
    #[serde(default)]
    token_file: Option<PathBuf>,
}

/// Where to ask, and who one is there.
#[derive(Debug)]
pub(crate) struct Route {
    /// In the order in which to try them; never empty.
    pub(crate) endpoints: Vec<Endpoint>,
    /// The directory of certificates that goes with them, if one does.
    pub(crate) pki: Option<PathBuf>,
    /// The file with the token that goes with them, if one does.
    pub(crate) token_file: Option<PathBuf>,
}

pub(crate) fn resolve(
    endpoint: Option<&str>,
    context: Option<&str>,
    places: &Places,
) -> Result<Route, CliError> {
    if let Some(list) = endpoint {
        return named(list, places);
    }
    let config = places.config.as_ref().map(|dir| read_config(&dir.join("config.toml")));
    let config = config.transpose()?.unwrap_or_default();
    if let Some(name) = context {
        return from_context(&config, name);
    }
    if let Some(list) = &places.endpoint {
        return named(list, places);
    }
    if let Some(name) = &config.context {
        return from_context(&config, name);
    }
    match dev(places) {
        Some(running) => Ok(running),
        None => Ok(Route { endpoints: parse_list(DEFAULT)?, pki: None, token_file: None }),
    }
}

/// Endpoints that somebody wrote out. Those of the running `yard dev` are known with all else.
fn named(list: &str, places: &Places) -> Result<Route, CliError> {
    let endpoints = parse_list(list)?;
    let running = dev(places).filter(|dev| endpoints.iter().any(|at| dev.endpoints.contains(at)));
    Ok(Route { endpoints, pki: running.and_then(|dev| dev.pki), token_file: None })
}

/// The running `yard dev`: of this directory, or the one that was started last.
fn dev(places: &Places) -> Option<Route> {
    let of = |directory: &Path| {
        let endpoints = parse_list(&dev_endpoints(directory)?).ok()?;
        Some(Route { endpoints, pki: Some(dev_pki(directory)), token_file: None })
    };
    of(&places.here.join(DEV_DIRECTORY)).or_else(|| of(&places.dev_directory()?))
}

/// As whom to speak: the flag, `YARD_PKI`, what goes with the endpoints, or the user's own.
pub(crate) fn credentials(
    flag: Option<&Path>,
    route: &Route,
    places: &Places,
) -> Result<Credentials, CliError> {
    let own = || places.config.as_ref().map(|dir| dir.join("pki")).filter(|dir| dir.is_dir());
    let dir = flag
        .map(Path::to_owned)
        .or_else(|| places.pki.clone())
        .or_else(|| route.pki.clone())
        .or_else(own);
    let dir = dir.ok_or_else(|| {
        CliError::new(Exit::Auth, "no certificates are named, so nobody can be trusted").help(
            "--pki DIR or YARD_PKI names the directory that an administrator gave you; `yard dev` \
             starts a cluster here that needs neither",
        )
    })?;
    Ok(Credentials::person(&dir)?)
}

/// What the `yard dev` of a directory answers on, if it runs.
fn dev_endpoints(directory: &Path) -> Option<String> {
    fs::read_to_string(directory.join(DEV_FILE)).ok().filter(|text| !text.trim().is_empty())
}

fn parse_list(list: &str) -> Result<Vec<Endpoint>, CliError> {
    let parts = list.split([',', '\n']).map(str::trim).filter(|part| !part.is_empty());
    let endpoints = parts.map(str::parse).collect::<Result<Vec<_>, _>>()?;
    if endpoints.is_empty() {
        return Err(CliError::usage("the list of endpoints is empty")
            .help("write HOST:PORT, such as 127.0.0.1:7401; several with commas"));
    }
    Ok(endpoints)
}

fn read_config(path: &Path) -> Result<UserConfig, CliError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(UserConfig::default());
        }
        Err(error) => return Err(CliError::io("read", path, &error)),
    };
    toml::from_str(&text).map_err(|error| {
        CliError::usage(format!("cannot read `{}`: {error}", path.display())).help(
            "it holds `context = \"NAME\"` and [contexts.NAME] with `endpoints = [\"HOST:PORT\"]` and `pki = \"DIR\"`",
        )
    })
}

fn from_context(config: &UserConfig, name: &str) -> Result<Route, CliError> {
    let context = config.contexts.get(name).ok_or_else(|| {
        let known: Vec<&str> = config.contexts.keys().map(String::as_str).collect();
        CliError::usage(format!("there is no context `{name}`")).help(if known.is_empty() {
            "contexts stand in ~/.config/yard/config.toml as [contexts.NAME]".to_owned()
        } else {
            format!("there are: {}", known.join(", "))
        })
    })?;
    let endpoints = parse_list(&context.endpoints.join(","))?;
    let (pki, token_file) = (context.pki.clone(), context.token_file.clone());
    Ok(Route { endpoints, pki, token_file })
}

#[cfg(test)]
mod tests;
