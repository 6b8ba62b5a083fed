//! The database as trials use it: their results go in as `test_results`, and the agents' metrics come out.

use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use swarmguard_http::{Method, Request};
use swarmguard_influx::{Endpoint, Lines, Precision, Secret};

use crate::http::ask_at;
use crate::trial::Trial;

/// An InfluxDB that takes line protocol and answers InfluxQL: version 1, or 2 and 3 by their compatible interface.
#[derive(Debug, Clone)]
pub struct Database {
    endpoint: Endpoint,
    /// What queries name the database by.
    name: String,
}

/// A container's means over some seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Mean {
    /// The container.
    pub container: String,
    /// CPU, 100 is one core.
    pub cpu_percent: f64,
    /// Sent, in Mbit/s.
    pub sent_mbps: f64,
}

impl Database {
    /// Of the address that the agents write to.
    ///
    /// # Errors
    /// When it is none of a database.
    pub fn parse(url: &str, token: Option<Secret>) -> Result<Self> {
        let endpoint =
            Endpoint::parse(url, token, Precision::Milliseconds).with_context(|| format!("reading {url}"))?;
        let value = |key: &str| {
            let pairs = endpoint.url().query().split('&').filter_map(|pair| pair.split_once('='));
            pairs.into_iter().find(|(found, _)| *found == key).map(|(_, value)| value.to_owned())
        };
        let name = value("db").or_else(|| value("bucket")).context("the database's address names no database")?;
        Ok(Self { endpoint, name })
    }

    /// Stores results, now.
    ///
    /// # Errors
    /// When they are not taken.
    pub async fn store(&self, trials: &[Trial]) -> Result<()> {
        let mut lines = Lines::new(self.endpoint.precision());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        for (number, trial) in (0_i64..).zip(trials) {
            // Two of one millisecond would be one point.
            trial.write(&mut lines, now + number * 1_000_000);
        }
        let body = lines.as_bytes().to_vec();
        let url = self.endpoint.url();
        let request = Request {
            authorization: self.endpoint.authorization().map(Secret::expose),
            ..Request::post(url.path_and_query(), "text/plain; charset=utf-8", body.into())
        };
        let answer = ask_at(url, request).await.context("storing results")?;
        let text = String::from_utf8_lossy(&answer.body);
        ensure!((200..300).contains(&answer.status), "the database answered {}: {text}", answer.status);
        Ok(())
    }

    /// Asks in InfluxQL.
    ///
    /// # Errors
    /// When it does not answer, or with an error.
    pub async fn query(&self, query: &str) -> Result<Value> {
        let path = format!("/query?db={}&epoch=ms&q={}", self.name, encoded(query));
        let request = Request {
            // What changes something has to be posted.
            method: Method::POST,
            authorization: self.endpoint.authorization().map(Secret::expose),
            ..Request::get(&path)
        };
        let answer = ask_at(self.endpoint.url(), request).await.context("asking the database")?;
        let text = String::from_utf8_lossy(&answer.body);
        ensure!(answer.status == 200, "the database answered {}: {text}", answer.status);
        let value: Value = serde_json::from_str(&text).context("the database's answer is no JSON")?;
        let result = value["results"][0].clone();
        ensure!(result["error"].is_null(), "the database refused {query}: {}", result["error"]);
        Ok(result)
    }

    /// Means of a service's containers from so many seconds ago to so many seconds ago.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn means(&self, service: &str, from: u64, to: u64) -> Result<Vec<Mean>> {
        let query = format!(
            "SELECT mean(cpu_percent), mean(network_tx_mbps) FROM container_metrics WHERE service_name='{service}' AND \
             time > now() - {from}s AND time <= now() - {to}s GROUP BY container_id"
        );
        let result = self.query(&query).await?;
        let series = result["series"].as_array().cloned().unwrap_or_default();
        let mean = |series: Value| {
            let row = &series["values"][0];
            Some(Mean {
                container: series["tags"]["container_id"].as_str()?.to_owned(),
                cpu_percent: row[1].as_f64()?,
                sent_mbps: row[2].as_f64()?,
            })
        };
        Ok(series.into_iter().filter_map(mean).collect())
    }
}

/// As a URL's query takes it.
pub fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
