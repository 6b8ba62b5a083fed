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

/// What became of the requests of a part of a load; several can be put together.
#[derive(Debug, Default)]
pub struct Stretch {
    report: Report,
    histogram: Histogram,
}

impl Stretch {
    /// Adds another one.
    pub fn add(&mut self, other: &Self) {
        self.histogram.merge(&other.histogram);
        self.report.requests += other.report.requests;
        for (text, count) in &other.report.errors {
            fail(&mut self.report, text.clone(), *count);
        }
        for (status, count) in &other.report.statuses {
            *self.report.statuses.entry(*status).or_default() += count;
        }
    }

    /// What it comes to.
    #[must_use]
    pub fn report(&self) -> Report {
        Report { latency_ms: self.histogram.summary(), ..self.report.clone() }
    }
}

fn fail(report: &mut Report, error: String, times: u64) {
    report.failed += times;
    let errors = &mut report.errors;
    if let Some((_, count)) = errors.iter_mut().find(|(text, _)| *text == error) {
        *count += times;
    } else if errors.len() < ERRORS_MAX {
        errors.push((error, times));
    } else if let Some((text, count)) = errors.last_mut() {
        // The last place becomes the collective one.
        OTHER_ERRORS.clone_into(text);
        *count += times;
    }
}

/// Counts while the load runs.
#[derive(Debug, Default)]
pub(super) struct Tally {
    due: u64,
    counted: Stretch,
}

impl Tally {
    /// One more request ought to be sent.
    pub(super) fn due(&mut self) {
        self.due += 1;
    }

    /// Requests that are due and not yet counted.
    pub(super) fn unanswered(&self) -> u64 {
        self.due.saturating_sub(self.counted.report.requests)
    }

    /// `latency` is absent for what was never sent.
    pub(super) fn count(&mut self, outcome: Outcome, latency: Option<Duration>) {
        let Stretch { report, histogram } = &mut self.counted;
        report.requests += 1;
        if let Some(latency) = latency {
            histogram.add(latency);
        }
        match outcome {
            Outcome::Answered(status) => {
                *report.statuses.entry(status).or_default() += 1;
                if !(200..300).contains(&status) {
                    fail(report, format!("status {status}"), 1);
                }
            }
            Outcome::Failed(error) => fail(report, error, 1),
        }
    }

    pub(super) fn report(&self) -> Report {
        self.counted.report()
    }

    pub(super) fn cut(&mut self) -> Stretch {
        self.due = self.unanswered();
        std::mem::take(&mut self.counted)
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
    fn what_is_cut_and_put_together_again_is_the_same() {
        let count = |tally: &mut Tally, from: u64| {
            for ms in from..from + 50 {
                tally.due();
                tally.count(Outcome::Answered(if ms % 10 == 0 { 500 } else { 200 }), Some(Duration::from_millis(ms)));
            }
        };
        let (mut whole, mut cut) = (Tally::default(), Tally::default());
        count(&mut whole, 0);
        count(&mut whole, 50);
        count(&mut cut, 0);
        cut.due();
        let mut first = cut.cut();
        assert_eq!((first.report().requests, cut.unanswered(), cut.report().requests), (50, 1, 0));
        count(&mut cut, 50);
        first.add(&cut.cut());
        assert_eq!(first.report(), whole.report());
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
