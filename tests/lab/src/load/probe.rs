//! Whether a service answers at every moment: one request after the other, each on a connection of its own.
//!
//! A load measures how many requests suffer; this measures for how long users find nobody there.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Connection;

/// One look.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// Since the first one.
    pub after: Duration,
    /// How long the answer took, or how long it was waited for.
    pub took: Duration,
    /// The status, or why there was none.
    pub answer: Result<u16, String>,
}

impl Look {
    /// Whether somebody was there.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        matches!(self.answer, Ok(200..=299))
    }
}

/// What to look at, how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Where.
    pub address: SocketAddr,
    /// What to ask for.
    pub path: String,
    /// From one look to the next; more where an answer takes longer.
    pub interval: Duration,
    /// After it nobody is taken to be there.
    pub timeout: Duration,
}

/// A probe at work.
#[derive(Debug)]
pub struct Probing {
    stop: oneshot::Sender<()>,
    looks: JoinHandle<Vec<Look>>,
}

impl Probe {
    /// Begins to look, on the runtime at hand; each look also goes to `seen`, where somebody wants it at once.
    #[must_use]
    pub fn start(self, seen: Option<mpsc::UnboundedSender<Look>>) -> Probing {
        let (stop, stopped) = oneshot::channel();
        Probing { stop, looks: tokio::spawn(self.look(seen, stopped)) }
    }

    async fn look(self, seen: Option<mpsc::UnboundedSender<Look>>, mut stopped: oneshot::Receiver<()>) -> Vec<Look> {
        let begun = Instant::now();
        let mut due = interval(self.interval);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = Vec::new();
        loop {
            tokio::select! {
                _ = &mut stopped => return looks,
                _ = due.tick() => {}
            }
            let at = Instant::now();
            let mut connection = Connection::new(self.address);
            let answer = match tokio::time::timeout(self.timeout, connection.get(&self.path)).await {
                Ok(answer) => answer.map_err(|error| format!("{error:#}")),
                Err(_) => Err(format!("no answer within {:?}", self.timeout)),
            };
            let look = Look { after: at - begun, took: at.elapsed(), answer };
            // Nobody may be listening.
            let _ = seen.as_ref().map(|seen| seen.send(look.clone()));
            looks.push(look);
        }
    }
}

impl Probing {
    /// Stops after the look under way, and gives all of them.
    pub async fn stop(self) -> Vec<Look> {
        // It only ever ends after this.
        let _ = self.stop.send(());
        self.looks.await.unwrap_or_default()
    }
}

/// How long nobody was there: each time from the first look without an answer to the next one with.
#[must_use]
pub fn downtime(looks: &[Look]) -> Duration {
    let mut downtime = Duration::ZERO;
    let mut gone_since = None;
    for look in looks {
        match (look.is_answered(), gone_since) {
            (false, None) => gone_since = Some(look.after),
            (true, Some(since)) => {
                downtime += look.after.saturating_sub(since);
                gone_since = None;
            }
            (true, None) | (false, Some(_)) => {}
        }
    }
    let end = looks.last().map_or(Duration::ZERO, |look| look.after + look.took);
    downtime + gone_since.map_or(Duration::ZERO, |since| end.saturating_sub(since))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(answers: &str) -> Vec<Look> {
        let look = |(number, answer): (u64, char)| Look {
            after: Duration::from_millis(100 * number),
            took: Duration::from_millis(5),
            answer: match answer {
                '+' => Ok(200),
                '5' => Ok(503),
                _ => Err("refused".to_owned()),
            },
        };
        (0..).zip(answers.chars()).map(look).collect()
    }

    #[test]
    fn downtime_lasts_from_the_first_look_without_an_answer_to_the_next_with_one() {
        let check = |answers: &str, ms: u64| {
            assert_eq!(downtime(&looks(answers)), Duration::from_millis(ms), "{answers}");
        };
        check("", 0);
        check("+++", 0);
        check("+--+", 200);
        check("+-+5+", 200);
        check("++-", 5);
        check("---", 205);
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_down_all_the_time() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let probe = Probe {
            address,
            path: "/".to_owned(),
            interval: Duration::from_millis(10),
            timeout: Duration::from_millis(100),
        };
        let probing = probe.start(None);
        tokio::time::sleep(Duration::from_millis(60)).await;
        let looks = probing.stop().await;
        assert!(looks.len() >= 2 && looks.iter().all(|look| !look.is_answered()), "{looks:?}");
    }
}
