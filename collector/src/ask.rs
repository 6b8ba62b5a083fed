//! Asking a collector that runs: pause, resume and explain, from the command line.

use std::fmt::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use swarmguard_daemon::config::Span;
use swarmguard_http::{Connection, Method, Request, Url};

const TIMEOUT: Duration = Duration::from_secs(5);

/// A service of a thousand replicas is told in less.
const ANSWER_BYTES_MAX: usize = 4 << 20;

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
    /// Tells why something was done, or why nothing is
    Explain {
        /// A service, by name, or an action, by its identifier
        what: String,
        /// As JSON
        #[arg(long)]
        json: bool,
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
#[derive(Debug, Clone, Args)]
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
        Ask::Explain { what, json, whom } => return explain(what, *json, whom).await,
        Ask::Pause { service, length, reason, whom } => {
            let seconds = length.map(|Span(length)| length.as_secs());
            (whom, "/api/v1/pause", json!({ "service": service, "for_seconds": seconds, "reason": reason }))
        }
        Ask::Resume { service, whom } => (whom, "/api/v1/resume", json!({ "service": service })),
    };
    let (status, value) = request(whom, Method::POST, path, Bytes::from(wish.to_string())).await?;
    refused(status, &value)?;
    Ok(words(&value["pauses"]))
}

async fn request(whom: &Whom, method: Method, path: &str, body: Bytes) -> anyhow::Result<(u16, Value)> {
    let url: Url = whom.collector.parse().with_context(|| format!("--collector is {}", whom.collector))?;
    let request = Request {
        method,
        path_and_query: path,
        content_type: Some("application/json"),
        content_encoding: None,
        authorization: None,
        body,
    };
    let mut connection = Connection::new(&url).with_response_body_bytes_max(ANSWER_BYTES_MAX);
    let answer = connection.request(request, TIMEOUT).await;
    let answer = answer.with_context(|| format!("asking {}: does a collector run there?", whom.collector))?;
    Ok((answer.status, serde_json::from_slice(&answer.body).context("the answer is not JSON")?))
}

fn refused(status: u16, value: &Value) -> anyhow::Result<()> {
    if status != 200 {
        bail!("{}", value["error"].as_str().unwrap_or("refused without a reason"));
    }
    Ok(())
}

/// An action if there is one of that identifier, else a service.
async fn explain(what: &str, json: bool, whom: &Whom) -> anyhow::Result<String> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    if what.is_empty() || !what.chars().all(is_plain) {
        bail!("{what:?} is no name of a service and no identifier of an action");
    }
    let (status, action) = request(whom, Method::GET, &format!("/api/v1/actions/{what}"), Bytes::new()).await?;
    if status == 200 {
        return Ok(if json { format!("{action:#}") } else { lines(&action["explanation"], "") });
    }
    let (status, service) = request(whom, Method::GET, &format!("/api/v1/services/{what}"), Bytes::new()).await?;
    if status == 404 {
        bail!(
            "{what:?} is no service of the Swarm, and no action that this collector knows: another may (--collector)"
        );
    }
    refused(status, &service)?;
    Ok(if json { format!("{service:#}") } else { story(&service) })
}

/// What is so now, then what was done and what was not, the newest first.
fn story(service: &Value) -> String {
    let mut text = format!("Now\n{}", lines(&service["now"], "  "));
    for action in service["actions"].as_array().into_iter().flatten() {
        let id = action["id"].as_str().unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = write!(text, "\n\nAction {id}\n{}", lines(&action["explanation"], "  "));
    }
    for told in service["not_done"].as_array().into_iter().flatten().rev() {
        let _ =
            write!(text, "\n\n{}\n{}", told["at_utc"].as_str().unwrap_or_default(), lines(&told["explanation"], "  "));
    }
    text
}

fn lines(sentences: &Value, indent: &str) -> String {
    let sentences = sentences.as_array().into_iter().flatten().filter_map(Value::as_str);
    sentences.map(|sentence| format!("{indent}{sentence}")).collect::<Vec<_>>().join("\n")
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
