//! Alerts and reports on their way to the collectors: one task and one kept-alive connection for each.
//!
//! Sampling never waits for a collector. Alerts queue, at most [`ALERTS_WAITING_MAX`], and go before any report; only
//! the newest report waits. An alert that cannot be delivered in one attempt and one retry is dropped and counted: the
//! next tick carries fresher facts. All collectors are told.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use swarmguard_daemon::presence::Presence;
use swarmguard_http::{Connection, Request, Url};
use swarmguard_wire::time::{ClockOffset, Exchange};
use swarmguard_wire::{Alert, Policy, Reply, Report, Timestamp, codec};
use tokio::sync::{mpsc, watch};

use crate::clock::ClockFilter;

/// Alerts that wait for one collector.
pub const ALERTS_WAITING_MAX: usize = 512;

/// An alert that has waited longer says nothing about now: a later tick has said it again, or has not.
const ALERT_AGE_MAX: Duration = Duration::from_secs(2);

/// What a collector asked for counts until it has not answered for so long: a single lost answer changes nothing.
const SILENCE_MAX: Duration = Duration::from_secs(10);

const TIMEOUT: Duration = Duration::from_secs(1);
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Why a message did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The request failed.
    #[error("collector {collector} does not answer")]
    Request {
        /// Its address.
        collector: String,
        /// What went wrong.
        #[source]
        source: swarmguard_http::Error,
    },
    /// The collector refused the message.
    #[error("collector {collector} answered {status}: {body}")]
    Refused {
        /// Its address.
        collector: String,
        /// The status.
        status: u16,
        /// The beginning of its reason.
        body: String,
    },
    /// The collector's answer is not one.
    #[error("collector {collector} answered with something else than a reply")]
    Reply {
        /// Its address.
        collector: String,
        /// What is wrong with it.
        #[source]
        source: codec::DecodeError,
    },
    /// The message could not be encoded.
    #[error("a message for {collector} could not be encoded: {reason}")]
    Encode {
        /// Its address.
        collector: String,
        /// The encoder's reason.
        reason: String,
    },
}

/// The sampling side: hands messages over without waiting.
#[derive(Debug)]
pub struct Collectors {
    lanes: Vec<Lane>,
    dropped: Arc<AtomicU64>,
    /// Reports are encoded here, again and again.
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Lane {
    alerts: mpsc::Sender<Alert>,
    /// Encoded, as it goes out.
    report: watch::Sender<Bytes>,
    clock_offset: watch::Receiver<Option<ClockOffset>>,
}

impl Collectors {
    /// Starts one task for each address; `policy` is set from their answers, to what is enough for all that answer.
    ///
    /// # Errors
    /// When an address cannot stand in a request.
    pub fn start(urls: &[Url], policy: &watch::Sender<Policy>) -> Result<Self, swarmguard_http::Error> {
        let dropped = Arc::new(AtomicU64::new(0));
        let policies = Arc::new(Policies { of_each: Mutex::new(vec![None; urls.len()]), followed: policy.clone() });
        let mut lanes = Vec::new();
        for (number, url) in urls.iter().enumerate() {
            let (alerts, alerts_waiting) = mpsc::channel(ALERTS_WAITING_MAX);
            let (report, newest_report) = watch::channel(Bytes::new());
            let (clock_offset_sender, clock_offset) = watch::channel(None);
            let collector = Collector {
                name: url.authority().to_owned(),
                connection: Connection::new(url),
                clock: ClockFilter::default(),
                clock_offset: clock_offset_sender,
                presence: Presence::new("collector"),
                number,
                policies: policies.clone(),
                silent_since: None,
                dropped: dropped.clone(),
                buffer: Vec::new(),
            };
            tokio::spawn(collector.deliver(alerts_waiting, newest_report));
            lanes.push(Lane { alerts, report, clock_offset });
        }
        Ok(Self { lanes, dropped, buffer: Vec::new() })
    }

    /// Hands over an alert.
    pub fn alert(&self, alert: &Alert) {
        for lane in &self.lanes {
            if lane.alerts.try_send(alert.clone()).is_err() {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Hands over a report, in place of one that still waits. It is encoded here and at once, from the samples
    /// themselves: a copy of them all would cost more than the bytes.
    pub fn report(&mut self, report: &mut Report<'_>) {
        for lane in &self.lanes {
            report.clock_offset = *lane.clock_offset.borrow();
            match codec::encode_into(report, &mut self.buffer) {
                Ok(()) => drop(lane.report.send_replace(Bytes::copy_from_slice(&self.buffer))),
                Err(error) => tracing::warn!(%error, "a report could not be encoded"),
            }
        }
    }

    /// Alerts dropped since the start, counted once for each collector.
    pub fn alerts_dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// What each collector that answers asks for, and what is followed.
struct Policies {
    of_each: Mutex<Vec<Option<Policy>>>,
    followed: watch::Sender<Policy>,
}

impl Policies {
    /// Takes what this collector asks for; nothing once it is silent. What was followed stays where none does.
    fn set(&self, number: usize, policy: Option<Policy>) {
        let mut of_each = self.of_each.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = of_each.get_mut(number) else { return };
        *known = policy;
        let Some(strictest) = of_each.iter().copied().flatten().reduce(Policy::strictest) else { return };
        self.followed.send_if_modified(|followed| {
            let changed = *followed != strictest;
            *followed = strictest;
            changed
        });
    }
}

struct Collector {
    name: String,
    /// Its place among the addresses.
    number: usize,
    connection: Connection,
    clock: ClockFilter,
    clock_offset: watch::Sender<Option<ClockOffset>>,
    presence: Presence,
    policies: Arc<Policies>,
    /// When it first did not answer.
    silent_since: Option<Instant>,
    dropped: Arc<AtomicU64>,
    buffer: Vec<u8>,
}

impl Collector {
    async fn deliver(mut self, mut alerts: mpsc::Receiver<Alert>, mut report: watch::Receiver<Bytes>) {
        loop {
            tokio::select! {
                biased;
                alert = alerts.recv() => match alert {
                    Some(alert) => self.deliver_alert(alert).await,
                    None => return,
                },
                changed = report.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let newest = report.borrow_and_update().clone();
                    match self.send("/report", newest).await {
                        Ok(()) => self.presence.back(),
                        Err(error) => self.lost(&error),
                    }
                }
            }
        }
    }

    async fn deliver_alert(&mut self, mut alert: Alert) {
        for attempt in 0..2 {
            if attempt > 0 {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            if now().since(alert.sampled_at) > ALERT_AGE_MAX {
                break;
            }
            alert.sent_at = now();
            alert.clock_offset = self.clock.offset();
            let sent = match codec::encode_into(&alert, &mut self.buffer) {
                Ok(()) => self.send("/alert", Bytes::copy_from_slice(&self.buffer)).await,
                Err(error) => Err(DeliveryError::Encode { collector: self.name.clone(), reason: error.to_string() }),
            };
            match sent {
                Ok(()) => return self.presence.back(),
                Err(error) => self.lost(&error),
            }
        }
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    fn lost(&mut self, error: &DeliveryError) {
        if self.silent_since.get_or_insert_with(Instant::now).elapsed() >= SILENCE_MAX {
            self.policies.set(self.number, None);
        }
        self.presence.lost(error);
    }

    async fn send(&mut self, path: &str, body: Bytes) -> Result<(), DeliveryError> {
        let collector = || self.name.clone();
        let sent = now();
        let request = Request::post(path, codec::CONTENT_TYPE, body);
        let response = self.connection.request(request, TIMEOUT).await;
        let response = response.map_err(|source| DeliveryError::Request { collector: collector(), source })?;
        let returned = now();
        if response.status != 200 {
            let text = String::from_utf8_lossy(&response.body);
            let body = text.chars().take(200).collect();
            return Err(DeliveryError::Refused { collector: collector(), status: response.status, body });
        }
        let reply: Reply =
            codec::decode(&response.body).map_err(|source| DeliveryError::Reply { collector: collector(), source })?;
        self.clock.push(Exchange { sent, received: reply.received_at, answered: reply.answered_at, returned });
        self.clock_offset.send_replace(self.clock.offset());
        self.silent_since = None;
        self.policies.set(self.number, Some(reply.policy));
        Ok(())
    }
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is followed after each of these, told by these collectors of two.
    fn check(told: &[(usize, Option<f32>)], expected: &[f32]) {
        let (followed, _receiver) = watch::channel(Policy::default());
        let policies = Policies { of_each: Mutex::new(vec![None; 2]), followed: followed.clone() };
        let follow = |(number, cpu_percent): &(usize, Option<f32>)| {
            policies.set(*number, cpu_percent.map(|cpu_percent| Policy { cpu_percent, ..Policy::default() }));
            followed.borrow().cpu_percent
        };
        assert_eq!(told.iter().map(follow).collect::<Vec<_>>(), expected, "{told:?}");
    }

    #[test]
    fn of_several_collectors_the_lowest_thresholds_are_followed_whoever_answers_last() {
        check(&[(0, Some(50.0)), (1, Some(75.0)), (0, Some(50.0)), (1, Some(60.0))], &[50.0, 50.0, 50.0, 50.0]);
        check(&[(0, Some(50.0)), (0, Some(80.0))], &[50.0, 80.0]);
    }

    #[test]
    fn a_collector_that_is_silent_asks_for_nothing_any_more() {
        check(&[(0, Some(50.0)), (1, Some(75.0)), (0, None), (0, Some(50.0))], &[50.0, 50.0, 75.0, 50.0]);
        check(&[(0, Some(50.0)), (0, None)], &[50.0, 50.0]);
    }
}
