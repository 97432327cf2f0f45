//! Reservations: made when an operator makes them, by the command that a cluster's log would
//! carry. What they mean is the state's and the planner's to know.

use super::{Happening, Replay, desk::clock};
use crate::SimError;

impl Replay<'_> {
    /// When reservations are made, begin and end.
    pub(super) fn await_windows(&mut self) {
        for (at, (_, window)) in self.cluster.windows().into_iter().enumerate() {
            self.agenda.push(window.announced.0.0, Happening::Reserve { window: at });
            self.agenda.push(window.from.0.0, Happening::Due);
            self.agenda.push(window.to.0.0, Happening::Due);
        }
    }

    /// Somebody reserves nodes.
    pub(super) fn reserve(&mut self, window: usize) -> Result<(), SimError> {
        let Some((name, window)) = self.cluster.windows().into_iter().nth(window) else {
            return Ok(());
        };
        self.desk.reserve(self.now, name, window.spec(clock(0)))?;
        self.stirred = true;
        self.take_in()
    }
}
