//! Which schedulers a command speaks to. The order: `--endpoint`, `--context`, `YARD_ENDPOINT`,
//! the default context of `config.toml`, the running `yard dev`, this machine's default port.
//! Anything but loopback is refused here, because the connection is plaintext.

use std::{collections::BTreeMap, fmt, fs, net::IpAddr, path::Path, str::FromStr};

use serde::Deserialize;

use crate::{error::CliError, places::Places};

/// Where a scheduler listens when nothing else is said.
pub(crate) const DEFAULT: &str = "127.0.0.1:7401";

/// The file in a `yard dev` directory that names its schedulers.
pub(crate) const DEV_FILE: &str = "endpoint";

/// The directory that `yard dev` uses unless told otherwise.
pub(crate) const DEV_DIRECTORY: &str = ".trainyard";

/// A scheduler's address on this machine.
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
        let address = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        let split = address.rsplit_once(':').filter(|(host, port)| {
            !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        let Some((host, _)) = split.filter(|(host, _)| !host.contains("://")) else {
            return Err(CliError::usage(format!("`{text}` is not an endpoint"))
                .help("write HOST:PORT, such as 127.0.0.1:7401; several with commas"));
        };
        if !is_loopback(host) {
            return Err(CliError::usage(format!(
                "endpoint `{text}` is not on this machine, and the connection would be plaintext"
            ))
            .help(format!(
                "open a tunnel and use its end here: ssh -N -L 7401:{address} {host}, then \
                 --endpoint 127.0.0.1:7401"
            )));
        }
        Ok(Self(address.to_owned()))
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What a user keeps in `~/.config/yard/config.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct UserConfig {
    context: Option<String>,
    contexts: BTreeMap<String, Context>,
}

/// A named list of endpoints.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Context {
    endpoints: Vec<String>,
}

/// The endpoints to try, in order; never empty.
pub(crate) fn resolve(
    endpoint: Option<&str>,
    context: Option<&str>,
    places: &Places,
) -> Result<Vec<Endpoint>, CliError> {
    if let Some(list) = endpoint {
        return parse_list(list);
    }
    let config = places.config.as_ref().map(|dir| read_config(&dir.join("config.toml")));
    let config = config.transpose()?.unwrap_or_default();
    if let Some(name) = context {
        return from_context(&config, name);
    }
    if let Some(list) = &places.endpoint {
        return parse_list(list);
    }
    if let Some(name) = &config.context {
        return from_context(&config, name);
    }
    let running = dev_endpoints(&places.here.join(DEV_DIRECTORY))
        .or_else(|| dev_endpoints(&places.dev_directory()?));
    parse_list(running.as_deref().unwrap_or(DEFAULT))
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
            "it holds `context = \"NAME\"` and [contexts.NAME] with `endpoints = [\"HOST:PORT\"]`",
        )
    })
}

fn from_context(config: &UserConfig, name: &str) -> Result<Vec<Endpoint>, CliError> {
    let context = config.contexts.get(name).ok_or_else(|| {
        let known: Vec<&str> = config.contexts.keys().map(String::as_str).collect();
        CliError::usage(format!("there is no context `{name}`")).help(if known.is_empty() {
            "contexts stand in ~/.config/yard/config.toml as [contexts.NAME]".to_owned()
        } else {
            format!("there are: {}", known.join(", "))
        })
    })?;
    parse_list(&context.endpoints.join(","))
}

#[cfg(test)]
mod tests;
