//! What every command is given: the global flags, where to write, and the way to the cluster.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    args::Global,
    client::Cluster,
    endpoint,
    error::CliError,
    exit::Exit,
    output::{self, Format, Output, Page},
    places::Places,
    token,
};

/// How often `--watch` looks again.
const WATCH: Duration = Duration::from_secs(2);

/// A command's surroundings.
#[derive(Debug)]
pub(crate) struct App {
    /// The global flags.
    pub(crate) global: Global,
    /// Where results go.
    pub(crate) out: Output,
    /// What is remembered between calls.
    pub(crate) places: Places,
}

impl App {
    /// The cluster that the flags, the environment or `yard dev` name.
    pub(crate) fn cluster(&self) -> Result<Cluster, CliError> {
        let Global { endpoint, context, pki, token_file, .. } = &self.global;
        let route = endpoint::resolve(endpoint.as_deref(), context.as_deref(), &self.places)?;
        let credentials = endpoint::credentials(pki.as_deref(), &route, &self.places)?;
        let environment = self.places.token.as_ref().map(|token| token.0.as_str());
        let token = token::find(token_file.as_deref(), environment, route.token_file.as_deref())?;
        Ok(Cluster::new(route.endpoints, &credentials)?.bearing(token.as_ref()))
    }

    /// Shows what `render` gives: once, or with `--watch` again and again until interrupted.
    pub(crate) async fn show(
        &self,
        render: impl AsyncFn() -> Result<Page, CliError>,
    ) -> Result<Exit, CliError> {
        if !self.global.watch {
            self.out.print(&render().await?)?;
            return Ok(Exit::Done);
        }
        let terminal = output::stdout_is_terminal();
        loop {
            let page = render().await?;
            if terminal {
                // Home, clear to the end: no flicker, and the scrollback stays.
                self.out.result("\x1b[H\x1b[2J")?;
            }
            self.out.print(&page)?;
            if !terminal && matches!(self.out.format, Format::Table | Format::Wide) {
                self.out.result("\n")?;
            }
            sleep(WATCH).await;
        }
    }
}
