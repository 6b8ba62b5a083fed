//! What became of the requests.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::{Histogram, LatencyMs};

/// Different error texts kept; more are counted together.
const ERRORS_MAX: usize = 8;
const OTHER_ERRORS: &str = "other errors";

/// What became of the requests of a load.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// Requests answered or failed.
    pub requests: u64,
    /// Those of them without a whole 2xx answer in time.
    pub failed: u64,
    /// The first few different errors and how often each came up.
    pub errors: Vec<(String, u64)>,
    /// Of everything that was sent, failed or not.
    pub latency_ms: LatencyMs,
    /// Answers by HTTP status.
    pub statuses: BTreeMap<u16, u64>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LatencyMs { p50, p95, p99, max } = self.latency_ms;
        write!(f, "{} requests, {} failed; ", self.requests, self.failed)?;
        write!(f, "latency p50 {p50:.1} ms, p95 {p95:.1} ms, p99 {p99:.1} ms, max {max:.1} ms")?;
        self.errors.iter().try_for_each(|(text, count)| write!(f, "; {count} × {text}"))
    }
}

pub(super) enum Outcome {
    /// A whole answer came, with this status.
    Answered(u16),
    /// No whole answer came, for this reason.
    Failed(String),
}

/// Counts while the load runs.
#[derive(Debug, Default)]
pub(super) struct Tally {
    due: u64,
    report: Report,
    histogram: Histogram,
}

impl Tally {
    /// One more request ought to be sent.
    pub(super) fn due(&mut self) {
        self.due += 1;
    }

    /// Requests that are due and not yet counted.
    pub(super) fn unanswered(&self) -> u64 {
        self.due.saturating_sub(self.report.requests)
    }

    /// `latency` is absent for what was never sent.
    pub(super) fn count(&mut self, outcome: Outcome, latency: Option<Duration>) {
        self.report.requests += 1;
        if let Some(latency) = latency {
            self.histogram.add(latency);
        }
        match outcome {
            Outcome::Answered(status) => {
                *self.report.statuses.entry(status).or_default() += 1;
                if !(200..300).contains(&status) {
                    self.fail(format!("status {status}"));
                }
            }
            Outcome::Failed(error) => self.fail(error),
        }
    }

    fn fail(&mut self, error: String) {
        self.report.failed += 1;
        let errors = &mut self.report.errors;
        if let Some((_, count)) = errors.iter_mut().find(|(text, _)| *text == error) {
            *count += 1;
        } else if errors.len() < ERRORS_MAX {
            errors.push((error, 1));
        } else if let Some((text, count)) = errors.last_mut() {
            // The last place becomes the collective one.
            OTHER_ERRORS.clone_into(text);
            *count += 1;
        }
    }

    pub(super) fn report(&self) -> Report {
        Report { latency_ms: self.histogram.summary(), ..self.report.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_beyond_the_first_few_are_counted_together() {
        let mut tally = Tally::default();
        for number in 0..20 {
            tally.due();
            tally.count(Outcome::Failed(format!("error {number}")), None);
        }
        let report = tally.report();
        assert_eq!((report.requests, report.failed, tally.unanswered()), (20, 20, 0));
        assert_eq!(report.errors.len(), ERRORS_MAX);
        assert_eq!(report.errors.iter().map(|(_, count)| count).sum::<u64>(), 20);
        assert_eq!(report.errors.last().unwrap().0, OTHER_ERRORS);
    }

    #[test]
    fn only_2xx_has_succeeded() {
        let mut tally = Tally::default();
        for status in [200, 204, 301, 404, 500] {
            tally.count(Outcome::Answered(status), Some(Duration::from_millis(1)));
        }
        let report = tally.report();
        assert_eq!((report.requests, report.failed), (5, 3));
        assert_eq!(report.errors[0], ("status 301".to_owned(), 1));
    }
}
