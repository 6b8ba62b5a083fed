//! What a service's owner chose, in the service's labels, over the policy.
//!
//! `swarmguard.enable=true` lets SwarmGuard act; `swarmguard.mode` is `act`, `observe` or `off`; `swarmguard.min` and
//! `swarmguard.max` bound the replicas; all other keys are those of the policy's file, such as
//! `swarmguard.scenario1.cpu_threshold`. A label that cannot be followed is named, and the service is only observed:
//! what its owner meant is not known then.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::policy::{Policy, PolicyError};

/// Every label of ours begins so.
pub const PREFIX: &str = "swarmguard.";

/// The note of an action under way, which is no choice of the owner's.
pub const ACTION_LABEL: &str = "swarmguard.action";

/// The fewest replicas that the owner allows.
const MIN_LABEL: &str = "swarmguard.min";

/// How many replicas there were before SwarmGuard added some, which is no choice of the owner's either.
pub const SCALED_LABEL: &str = "swarmguard.scaled";

/// A node with this label of the value `false` is never a target.
pub const TARGET_LABEL: &str = "swarmguard.target";

/// What may be done about a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Engagement {
    /// Decided and executed.
    Act,
    /// Decided and shown.
    Observe,
    /// Left out.
    Off,
}

/// A label that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LabelProblem {
    /// The label.
    pub label: String,
    /// Its value.
    pub found: String,
    /// What is allowed, in words.
    pub allowed: String,
}

impl fmt::Display for LabelProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "label {} is {:?}: expected {}", self.label, self.found, self.allowed)
    }
}

/// A service's labels, read.
#[derive(Debug, Clone, Default)]
pub struct Labels {
    enabled: bool,
    mode: Option<Engagement>,
    choices: Vec<Choice>,
    /// Whether one of them is a threshold: asked of every service at every plan, so the choices are not gone through for it.
    choose_thresholds: bool,
    problems: Vec<LabelProblem>,
}

/// One value over the policy's, which was found to be of its kind.
#[derive(Debug, Clone)]
struct Choice {
    label: String,
    value: String,
    field: Field,
}

/// Where a label's value goes.
#[derive(Debug, Clone, Copy)]
enum Field {
    Percent(fn(&mut Policy) -> &mut f32),
    Time(fn(&mut Policy) -> &mut Duration),
    Row(fn(&mut Policy) -> &mut u32),
    Replicas(fn(&mut Policy) -> &mut u64),
}

impl Field {
    /// Writes a value, if it is of the field's kind; whether it is allowed there, the policy knows.
    fn set(self, policy: &mut Policy, value: &str) -> Result<(), &'static str> {
        match self {
            Self::Percent(field) => *field(policy) = value.parse().map_err(|_| "a percentage")?,
            Self::Time(field) => {
                let seconds = value.parse::<u32>().map_err(|_| "a number of seconds")?;
                *field(policy) = Duration::from_secs(seconds.into());
            }
            Self::Row(field) => *field(policy) = value.parse().map_err(|_| "a number of ticks")?,
            Self::Replicas(field) => *field(policy) = value.parse().map_err(|_| "a number of replicas")?,
        }
        Ok(())
    }
}

/// Every label over the policy, and the policy's key that it stands over.
fn field(key: &str) -> Option<(Field, &'static str)> {
    Some(match key {
        "min" => {
            (Field::Replicas(|policy| &mut policy.scaling.min_replicas), "scenarios.scenario2_scaling.min_replicas")
        }
        "max" => {
            (Field::Replicas(|policy| &mut policy.scaling.max_replicas), "scenarios.scenario2_scaling.max_replicas")
        }
        "scenario1.cpu_threshold" => (
            Field::Percent(|policy| &mut policy.migration.cpu_threshold),
            "scenarios.scenario1_migration.cpu_threshold",
        ),
        "scenario1.memory_threshold" => (
            Field::Percent(|policy| &mut policy.migration.memory_threshold),
            "scenarios.scenario1_migration.memory_threshold",
        ),
        "scenario1.network_threshold_max" => (
            Field::Percent(|policy| &mut policy.migration.network_threshold_max),
            "scenarios.scenario1_migration.network_threshold_max",
        ),
        "scenario1.cooldown_period" => {
            (Field::Time(|policy| &mut policy.migration.cooldown), "scenarios.scenario1_migration.cooldown_period")
        }
        "scenario1.consecutive_breaches" => (
            Field::Row(|policy| &mut policy.migration.consecutive_breaches),
            "scenarios.scenario1_migration.consecutive_breaches",
        ),
        "scenario2.cpu_threshold" => {
            (Field::Percent(|policy| &mut policy.scaling.cpu_threshold), "scenarios.scenario2_scaling.cpu_threshold")
        }
        "scenario2.memory_threshold" => (
            Field::Percent(|policy| &mut policy.scaling.memory_threshold),
            "scenarios.scenario2_scaling.memory_threshold",
        ),
        "scenario2.network_threshold_min" => (
            Field::Percent(|policy| &mut policy.scaling.network_threshold_min),
            "scenarios.scenario2_scaling.network_threshold_min",
        ),
        "scenario2.scale_up_cooldown" => (
            Field::Time(|policy| &mut policy.scaling.scale_up_cooldown),
            "scenarios.scenario2_scaling.scale_up_cooldown",
        ),
        "scenario2.scale_down_cooldown" => (
            Field::Time(|policy| &mut policy.scaling.scale_down_cooldown),
            "scenarios.scenario2_scaling.scale_down_cooldown",
        ),
        "scenario2.consecutive_breaches" => (
            Field::Row(|policy| &mut policy.scaling.consecutive_breaches),
            "scenarios.scenario2_scaling.consecutive_breaches",
        ),
        _ => return None,
    })
}

impl Labels {
    /// Reads a service's labels; those that are not ours are left out.
    pub fn parse<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let is_choice = |label: &str| label.starts_with(PREFIX) && label != ACTION_LABEL && label != SCALED_LABEL;
        let mut ours: Vec<(&str, &str)> = labels.filter(|(label, _)| is_choice(label)).collect();
        ours.sort_unstable();
        let mut read = Self::default();
        for (label, value) in ours {
            if let Err(allowed) = read.take(label, value) {
                read.problems.push(problem(label, value, allowed));
            }
        }
        read
    }

    fn take(&mut self, label: &str, value: &str) -> Result<(), &'static str> {
        let key = label.strip_prefix(PREFIX).unwrap_or(label);
        match key {
            "enable" => {
                self.enabled = value.parse().map_err(|_| "true or false")?;
                return Ok(());
            }
            "mode" => {
                self.mode = Some(match value {
                    "act" => Engagement::Act,
                    "observe" => Engagement::Observe,
                    "off" => Engagement::Off,
                    _ => return Err("act, observe or off"),
                });
                return Ok(());
            }
            _ => {}
        }
        let (field, _) = field(key).ok_or("a label that SwarmGuard knows, see docs/operations.md")?;
        field.set(&mut Policy::default(), value)?;
        self.choose_thresholds |= matches!(field, Field::Percent(_));
        self.choices.push(Choice { label: label.to_owned(), value: value.to_owned(), field });
        Ok(())
    }

    /// The policy with this owner's choices, what may be done, and what cannot be followed. Where something cannot, the
    /// policy is the one without any choice.
    pub fn over<'a>(&self, policy: &'a Policy) -> (Cow<'a, Policy>, Engagement, Vec<LabelProblem>) {
        let mut problems = self.problems.clone();
        let mut chosen = Cow::Borrowed(policy);
        for Choice { field, value, .. } in &self.choices {
            // It was found to be of the field's kind when it was read.
            let _ = field.set(chosen.to_mut(), value);
        }
        if !self.choices.is_empty()
            && let Err(error) = chosen.validate()
        {
            problems.push(self.blame(&error));
            chosen = Cow::Borrowed(policy);
        }
        let engagement = match self.mode {
            Some(Engagement::Off) => Engagement::Off,
            Some(Engagement::Observe) => Engagement::Observe,
            Some(Engagement::Act) | None if self.enabled && problems.is_empty() => Engagement::Act,
            Some(Engagement::Act) | None => Engagement::Observe,
        };
        (chosen, engagement, problems)
    }

    /// Whether the owner chose anything over the policy.
    pub fn choose(&self) -> bool {
        !self.choices.is_empty()
    }

    /// Whether the owner chose a threshold: where not, what is high and what is idle is the policy's to say.
    pub(crate) fn choose_thresholds(&self) -> bool {
        self.choose_thresholds
    }

    /// Whether the owner chose the fewest replicas.
    pub fn choose_minimum(&self) -> bool {
        self.choices.iter().any(|choice| choice.label == MIN_LABEL)
    }

    /// Whether nothing is to be done, nor shown.
    pub fn are_off(&self) -> bool {
        self.mode == Some(Engagement::Off)
    }

    /// Whether the owner said that we may act, whatever else is said.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// The label that is not allowed: the one of the key that is wrong, else (the value that it does not go with is in
    /// another label) the first.
    fn blame(&self, error: &PolicyError) -> LabelProblem {
        let stands_over = |choice: &&Choice| {
            field(choice.label.strip_prefix(PREFIX).unwrap_or_default()).is_some_and(|(_, key)| key == error.key)
        };
        let choice = self.choices.iter().find(stands_over).or(self.choices.first());
        let (label, value) = choice.map_or(("", ""), |choice| (&choice.label, &choice.value));
        problem(label, value, &format!("what goes with the rest of the policy: {error}"))
    }
}

fn problem(label: &str, found: &str, allowed: &str) -> LabelProblem {
    LabelProblem { label: label.to_owned(), found: found.to_owned(), allowed: allowed.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(labels: &[(&str, &str)]) -> (Policy, Engagement, Vec<String>) {
        let over = Policy::default();
        let (policy, engagement, problems) = Labels::parse(labels.iter().copied()).over(&over);
        (policy.into_owned(), engagement, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn acting_needs_the_owners_word_and_no_other_against_it() {
        let check = |labels: &[(&str, &str)], expected| assert_eq!(over(labels).1, expected, "{labels:?}");
        check(&[], Engagement::Observe);
        check(&[("swarmguard.enable", "true")], Engagement::Act);
        check(&[("swarmguard.enable", "false")], Engagement::Observe);
        check(&[("swarmguard.enable", "true"), ("swarmguard.mode", "observe")], Engagement::Observe);
        check(&[("swarmguard.enable", "true"), ("swarmguard.mode", "off")], Engagement::Off);
        check(&[("swarmguard.mode", "act")], Engagement::Observe);
        check(&[("swarmguard.enable", "true"), ("swarmguard.mode", "act")], Engagement::Act);
        check(&[("com.example.enable", "yes"), ("swarmguard.enable", "true")], Engagement::Act);
        check(&[("swarmguard.action", "{}"), ("swarmguard.enable", "true")], Engagement::Act);
        check(&[("swarmguard.scaled", "{}"), ("swarmguard.enable", "true")], Engagement::Act);
    }

    #[test]
    fn every_key_of_the_scenarios_can_be_chosen_by_label() {
        let (policy, engagement, problems) = over(&[
            ("swarmguard.enable", "true"),
            ("swarmguard.min", "2"),
            ("swarmguard.max", "4"),
            ("swarmguard.scenario1.cpu_threshold", "50.5"),
            ("swarmguard.scenario1.memory_threshold", "60"),
            ("swarmguard.scenario1.network_threshold_max", "20"),
            ("swarmguard.scenario1.cooldown_period", "5"),
            ("swarmguard.scenario1.consecutive_breaches", "3"),
            ("swarmguard.scenario2.cpu_threshold", "51"),
            ("swarmguard.scenario2.memory_threshold", "61"),
            ("swarmguard.scenario2.network_threshold_min", "40"),
            ("swarmguard.scenario2.scale_up_cooldown", "6"),
            ("swarmguard.scenario2.scale_down_cooldown", "7"),
            ("swarmguard.scenario2.consecutive_breaches", "4"),
        ]);
        assert_eq!((engagement, problems), (Engagement::Act, vec![]));
        let (migration, scaling) = (policy.migration, policy.scaling);
        assert_eq!(
            (migration.cpu_threshold, migration.memory_threshold, migration.network_threshold_max),
            (50.5, 60.0, 20.0)
        );
        assert_eq!((migration.cooldown, migration.consecutive_breaches), (Duration::from_secs(5), 3));
        assert_eq!(
            (scaling.cpu_threshold, scaling.memory_threshold, scaling.network_threshold_min),
            (51.0, 61.0, 40.0)
        );
        assert_eq!(
            (scaling.scale_up_cooldown, scaling.scale_down_cooldown),
            (Duration::from_secs(6), Duration::from_secs(7))
        );
        assert_eq!((scaling.min_replicas, scaling.max_replicas, scaling.consecutive_breaches), (2, 4, 4));
    }

    #[test]
    fn nonsense_is_named_and_the_service_is_only_observed() {
        let check = |label: &str, value: &str, part: &str| {
            let (policy, engagement, problems) = over(&[("swarmguard.enable", "true"), (label, value)]);
            assert_eq!((policy, engagement), (Policy::default(), Engagement::Observe), "{label}={value}");
            assert_eq!(problems.len(), 1, "{problems:?}");
            let named = [label, value, part].iter().all(|part| problems[0].contains(part));
            assert!(named, "{label}={value} gave {problems:?}");
        };
        check("swarmguard.max", "lots", "a number of replicas");
        check("swarmguard.max", "-1", "a number of replicas");
        check("swarmguard.max", "0", "at least 1");
        check("swarmguard.min", "11", "1 to max_replicas");
        check("swarmguard.mode", "on", "act, observe or off");
        check("swarmguard.scenario1.cpu_threshold", "140", "at most 100");
        check("swarmguard.scenario1.cpu_threshold", "NaN", "at most 100");
        check("swarmguard.scenario1.network_threshold_max", "70", "network_threshold_min");
        check("swarmguard.scenario2.scale_down_cooldown", "400", "at most 280");
        check("swarmguard.scenario2.scale_down_cooldown", "3 min", "seconds");
        check("swarmguard.maximum", "4", "that SwarmGuard knows");
        let (_, engagement, problems) = over(&[("swarmguard.enable", "yes")]);
        assert_eq!((engagement, problems.len()), (Engagement::Observe, 1));
    }

    #[test]
    fn a_minimum_above_the_maximum_is_named_although_each_alone_would_do() {
        let (policy, engagement, problems) =
            over(&[("swarmguard.enable", "true"), ("swarmguard.min", "5"), ("swarmguard.max", "3")]);
        assert_eq!((policy, engagement), (Policy::default(), Engagement::Observe));
        assert!(problems[0].starts_with("label swarmguard.min is \"5\""), "{problems:?}");
    }

    #[test]
    fn what_the_owner_chose_is_told_apart_from_the_word_to_act_and_from_the_word_not_to_look() {
        let check = |label: &str, value: &str, expected: (bool, bool, bool)| {
            let labels = Labels::parse([(label, value)].into_iter());
            let found = (labels.choose(), labels.choose_minimum(), labels.are_off());
            assert_eq!(found, expected, "{label}={value}");
        };
        check("swarmguard.enable", "true", (false, false, false));
        check("swarmguard.min", "2", (true, true, false));
        check("swarmguard.max", "2", (true, false, false));
        check("swarmguard.max", "lots", (false, false, false));
        check("swarmguard.mode", "act", (false, false, false));
        check("swarmguard.mode", "observe", (false, false, false));
        check("swarmguard.mode", "off", (false, false, true));
    }
}
