//! Waiting for a condition with a deadline. The only place of the harness that sleeps.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::bail;

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(40);

/// Looks until `condition` gives something, for at most `limit`. An error of the condition counts
/// as "not yet" and is told when the time is up.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let begun = Instant::now();
    loop {
        let last = match condition() {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if begun.elapsed() > limit {
            match last {
                Some(error) => bail!("waited {limit:?} for {what}: {error:#}"),
                None => bail!("waited {limit:?} for {what}"),
            }
        }
        thread::sleep(POLL);
    }
}
