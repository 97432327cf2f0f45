//! The result of `yard sim`: a line a policy.

use trainyard_sim::Figures;

use crate::output::{Cell, Look, Row, human::span};

impl Row for Figures {
    const KIND: &'static str = "simulation";
    const LIST: &'static str = "simulations";

    fn key(&self) -> String {
        self.policy.clone()
    }

    fn titles(wide: bool) -> &'static [&'static str] {
        const ALL: &[&str] = &[
            "POLICY",
            "JOBS",
            "AVG",
            "MEDIAN",
            "P99",
            "QUEUED",
            "MAKESPAN",
            "USED",
            "STOPS",
            "UNENDED",
            "FIRST-WAIT",
            "KEPT",
            "IDLE",
            "FRAGMENTED",
            "RHO",
            "RHO-P99",
            "LOST-NODE",
            "FAILED-RUNS",
            "EVICTED",
            "LOST-GPUH",
            "RESERVED-GPUH",
            "COST",
            "BOUND",
        ];
        if wide { ALL } else { ALL.split_at(10).0 }
    }

    fn cells(&self, look: Look) -> Vec<Cell> {
        let share = |value: f64| Cell::number(format!("{:.1}%", value * 100.0));
        let time = |seconds: f64| Cell::number(span(milliseconds(seconds)));
        let mut cells = vec![
            Cell::new(&self.policy),
            Cell::number(self.jobs),
            time(self.avg_jct_s),
            time(self.p50_jct_s),
            time(self.p99_jct_s),
            time(self.avg_queued_s),
            time(self.makespan_s),
            share(self.gpu_util),
            Cell::number(self.preemptions),
            Cell::number(self.unfinished + self.failed),
        ];
        if look.wide {
            cells.extend([
                time(self.avg_first_wait_s),
                share(self.goodput),
                share(self.idle_while_waiting),
                share(self.fragmentation),
                Cell::number(format!("{:.2}", self.rho_avg)),
                Cell::number(format!("{:.2}", self.rho_p99)),
                Cell::number(self.losses),
                Cell::number(self.job_failures),
                Cell::number(self.evictions),
                Cell::number(format!("{:.1}", self.lost_gpu_h)),
                Cell::number(format!("{:.1}", self.reserved_gpu_h)),
                Cell::number(format!("{:.2}", self.cost_usd)),
                time(self.bound_avg_jct_s),
            ]);
        }
        cells
    }
}

/// Whole milliseconds of a time that is not below 0.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates"
)]
const fn milliseconds(seconds: f64) -> u64 {
    (seconds * 1000.0) as u64
}
