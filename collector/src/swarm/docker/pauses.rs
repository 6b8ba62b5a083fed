//! What people paused, kept in the Swarm: in a label of a config object of our own, which no service uses.
//!
//! So it outlives a collector, is the same for all of them, and touches no service's spec. Each change carries the
//! version it rests on.

use std::collections::HashMap;

use bollard::models::{Config, ConfigSpec};
use bollard::query_parameters::{ListConfigsOptionsBuilder, UpdateConfigOptionsBuilder};
use swarmguard_planner::quiet::Pauses;
use swarmguard_wire::Timestamp;

use super::{DockerSwarm, SwarmError, failed, within};
use crate::state::PauseWish;

/// The object's name, and the label's.
const NAME: &str = "swarmguard.pauses";

/// Swarm refuses an empty object. In Base64: `see the label`.
const DATA: &str = "c2VlIHRoZSBsYWJlbA==";

impl DockerSwarm {
    /// What is kept; nothing paused if nothing ever was.
    pub(super) async fn pauses(&self) -> Result<Pauses, SwarmError> {
        self.kept().await?.map_or_else(|| Ok(Pauses::default()), pauses)
    }

    async fn kept(&self) -> Result<Option<Config>, SwarmError> {
        let filters = HashMap::from([("name".to_owned(), vec![NAME.to_owned()])]);
        let options = ListConfigsOptionsBuilder::new().filters(&filters).build();
        let found = within(self.docker.list_configs(Some(options))).await.map_err(failed("listing configs"))?;
        // The filter takes names that only begin so.
        Ok(found.into_iter().find(is_ours))
    }

    /// Has the Swarm keep what people said besides what it keeps already, but for what is over by `wall`, the wall clock;
    /// `known` stands for that where it cannot be read.
    ///
    /// # Errors
    /// When the manager does not answer, or somebody else changed them at the same moment.
    pub async fn save_pauses(&self, wishes: &[PauseWish], known: Pauses, wall: Timestamp) -> Result<(), SwarmError> {
        let kept = self.kept().await?;
        let before = kept.clone().map_or_else(|| Ok(Pauses::default()), pauses);
        let mut pauses = before.unwrap_or(known);
        wishes.iter().for_each(|wish| wish.apply(&mut pauses));
        pauses.forget(wall);
        let text = serde_json::to_string(&pauses).map_err(|_| SwarmError::Pauses { why: "they cannot be written" })?;
        let spec = ConfigSpec {
            name: Some(NAME.to_owned()),
            labels: Some(HashMap::from([(NAME.to_owned(), text)])),
            data: Some(DATA.to_owned()),
            ..ConfigSpec::default()
        };
        let Some(kept) = kept else {
            return within(self.docker.create_config(spec)).await.map(drop).map_err(failed("keeping pauses"));
        };
        let version = kept.version.and_then(|version| i64::try_from(version.index?).ok());
        let (Some(id), Some(version)) = (kept.id, version) else {
            return Err(SwarmError::Pauses { why: "they have no version" });
        };
        let options = UpdateConfigOptionsBuilder::new().version(version).build();
        within(self.docker.update_config(&id, spec, options)).await.map_err(failed("keeping pauses"))
    }
}

fn is_ours(config: &Config) -> bool {
    config.spec.as_ref().and_then(|spec| spec.name.as_deref()) == Some(NAME)
}

fn pauses(config: Config) -> Result<Pauses, SwarmError> {
    let text = config.spec.and_then(|spec| spec.labels?.remove(NAME)).unwrap_or_default();
    // Not to know what is paused must not mean that nothing is.
    serde_json::from_str(&text).map_err(|_| SwarmError::Pauses { why: "they cannot be read" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_not_taken_for_nothing_paused() {
        let config = |label: Option<&str>| Config {
            spec: Some(ConfigSpec {
                name: Some(NAME.into()),
                labels: label.map(|text| HashMap::from([(NAME.to_owned(), text.to_owned())])),
                ..ConfigSpec::default()
            }),
            ..Config::default()
        };
        let kept_in = |label| pauses(config(label));
        let all = r#"{"all":{"until":null,"reason":"release"},"services":{}}"#;
        assert_eq!(kept_in(Some(all)).unwrap().all.unwrap().reason.as_deref(), Some("release"));
        assert!(kept_in(Some("{")).is_err());
        assert!(kept_in(None).is_err());
    }
}
