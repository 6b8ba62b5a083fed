//! Asking a collector that runs: pause and resume, from the command line.

use std::fmt::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use swarmguard_daemon::config::Span;
use swarmguard_http::{Connection, Method, Request, Url};

const TIMEOUT: Duration = Duration::from_secs(5);

/// What can be asked.
#[derive(Debug, Subcommand)]
pub enum Ask {
    /// Has nothing done about a service, or about any, until it is resumed
    Pause {
        /// The service's name [default: all services]
        service: Option<String>,
        /// How long, such as 30m [default: until it is resumed]
        #[arg(long = "for", value_name = "TIME")]
        length: Option<Span>,
        /// Why, for others to read
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        #[allow(missing_docs)]
        whom: Whom,
    },
    /// Takes a pause back
    Resume {
        /// The service's name [default: the pause of all services]
        service: Option<String>,
        #[command(flatten)]
        #[allow(missing_docs)]
        whom: Whom,
    },
}

/// The collector that is asked.
#[derive(Debug, Args)]
pub struct Whom {
    /// Its address
    #[arg(long, env = "SWARMGUARD_COLLECTOR", default_value = "http://127.0.0.1:5000")]
    pub collector: String,
}

/// Asks, and gives the answer in words.
///
/// # Errors
/// When there is no answer, or it is a refusal.
pub async fn ask(asked: &Ask) -> anyhow::Result<String> {
    let (whom, path, wish) = match asked {
        Ask::Pause { service, length, reason, whom } => {
            let seconds = length.map(|Span(length)| length.as_secs());
            (whom, "/api/v1/pause", json!({ "service": service, "for_seconds": seconds, "reason": reason }))
        }
        Ask::Resume { service, whom } => (whom, "/api/v1/resume", json!({ "service": service })),
    };
    let url: Url = whom.collector.parse().with_context(|| format!("--collector is {}", whom.collector))?;
    let request = Request {
        method: Method::POST,
        path_and_query: path,
        content_type: Some("application/json"),
        content_encoding: None,
        authorization: None,
        body: Bytes::from(wish.to_string()),
    };
    let answer = Connection::new(&url).request(request, TIMEOUT).await;
    let answer = answer.with_context(|| format!("asking {}: does a collector run there?", whom.collector))?;
    let value: Value = serde_json::from_slice(&answer.body).context("the answer is not JSON")?;
    if answer.status != 200 {
        bail!("{}", value["error"].as_str().unwrap_or("refused without a reason"));
    }
    Ok(words(&value["pauses"]))
}

/// What is paused now.
fn words(pauses: &Value) -> String {
    let mut text = match pauses["all"].is_null() {
        true => String::new(),
        false => format!("all services are paused{}", more(&pauses["all"])),
    };
    for (service, pause) in pauses["services"].as_object().into_iter().flatten() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{}{service} is paused{}", if text.is_empty() { "" } else { "\n" }, more(pause));
    }
    if text.is_empty() { "nothing is paused".to_owned() } else { text }
}

fn more(pause: &Value) -> String {
    let until = if pause["until"].is_null() { " until it is resumed" } else { " for a while" };
    let why = pause["reason"].as_str().map(|why| format!(" ({why})")).unwrap_or_default();
    format!("{until}{why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_paused_is_told_in_words() {
        let pauses = json!({ "all": null, "services": { "web": { "until": null, "reason": "release" } } });
        assert_eq!(words(&pauses), "web is paused until it is resumed (release)");
        assert_eq!(words(&json!({ "all": null, "services": {} })), "nothing is paused");
        let all = json!({ "all": { "until": 5, "reason": null }, "services": {} });
        assert_eq!(words(&all), "all services are paused for a while");
    }
}
