//! Docker's identifiers, and names that people read.
//!
//! Identifiers are kept whole or refused: half an identifier identifies nothing. Names are for people and are cut at
//! [`NAME_BYTES_MAX`], so that no user's long name can push a message over its size. An identifier is therefore never
//! derived from a name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Longest name in a message, in bytes of UTF-8. Docker's own limit for service and host names is 63.
pub const NAME_BYTES_MAX: usize = 63;

/// Longest Swarm identifier that is accepted, in bytes. SwarmKit makes 25 characters of base 36.
pub const SWARM_ID_BYTES_MAX: usize = 32;

/// An identifier that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// A Swarm identifier is empty, too long, or has other characters than letters and digits.
    #[error("{found:?} is not a Swarm identifier: expected 1 to {SWARM_ID_BYTES_MAX} letters and digits")]
    Swarm {
        /// The text that was found, cut to a bound.
        found: String,
    },
    /// A container identifier is not 64 hexadecimal digits.
    #[error("{found:?} is not a container identifier: expected 64 hexadecimal digits")]
    Container {
        /// The text that was found, cut to a bound.
        found: String,
    },
}

macro_rules! swarm_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The identifier as Swarm writes it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                swarm_id_text(text).map(|text| Self(text.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

swarm_id!(
    /// A Swarm node's identifier.
    NodeId
);
swarm_id!(
    /// A Swarm service's identifier.
    ServiceId
);
swarm_id!(
    /// A Swarm task's identifier.
    TaskId
);

fn swarm_id_text(text: &str) -> Result<&str, IdError> {
    let well_formed =
        !text.is_empty() && text.len() <= SWARM_ID_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if well_formed { Ok(text) } else { Err(IdError::Swarm { found: Name::new(text).0.into() }) }
}

/// A container's identifier: 32 bytes, written as 64 hexadecimal digits wherever a person may read it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId([u8; 32]);

impl ContainerId {
    /// From its 32 bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The first byte: spreads containers evenly over what is done in turn.
    pub const fn first_byte(&self) -> u8 {
        self.0[0]
    }

    /// The first twelve digits, as `docker ps` shows them.
    pub fn short(&self) -> String {
        self.to_string().chars().take(12).collect()
    }
}

impl FromStr for ContainerId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = || IdError::Container { found: Name::new(text).0.into() };
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(error());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
            match (nibble(pair[0]), nibble(pair[1])) {
                (Some(high), Some(low)) => *byte = high << 4 | low,
                _ => return Err(error()),
            }
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContainerId({self})")
    }
}

impl Serialize for ContainerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_bytes(&self.0) }
    }
}

impl<'de> Deserialize<'de> for ContainerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = ContainerId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a container identifier of 32 bytes or 64 hexadecimal digits")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<ContainerId, E> {
                <[u8; 32]>::try_from(bytes).map(ContainerId).map_err(|_| E::invalid_length(bytes.len(), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ContainerId, E> {
                text.parse().map_err(E::custom)
            }
        }
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Visitor)
        } else {
            deserializer.deserialize_bytes(Visitor)
        }
    }
}

/// A name for people: at most [`NAME_BYTES_MAX`] bytes, cut between characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(transparent)]
pub struct Name(Box<str>);

impl Name {
    /// Cuts `text` to the bound.
    pub fn new(text: &str) -> Self {
        Self(text[..text.floor_char_boundary(NAME_BYTES_MAX)].into())
    }

    /// The name, perhaps cut.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Ok(Self::new(&text))
    }
}

/// The node a message comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRef {
    /// Swarm's identifier; absent when the agent could not ask Docker or the node is in no Swarm.
    pub id: Option<NodeId>,
    /// Its host name, or what `--node` says.
    pub name: Name,
}

/// The service a container belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRef {
    /// Swarm's identifier.
    pub id: ServiceId,
    /// The service's name.
    pub name: Name,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_identifier_is_64_hexadecimal_digits_and_nothing_else() {
        let digits = "0123456789abcdef".repeat(4);
        assert_eq!(digits.parse::<ContainerId>().unwrap().to_string(), digits);
        assert_eq!(digits.parse::<ContainerId>().unwrap().short(), "0123456789ab");
        for wrong in ["", "abc123", &"g".repeat(64), &"0".repeat(63), &"0".repeat(65), &"é".repeat(32)] {
            assert!(wrong.parse::<ContainerId>().is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn a_swarm_identifier_is_whole_or_refused() {
        assert!("7p3smy95k7lhs3x8puo3duh0z".parse::<ServiceId>().is_ok());
        for wrong in ["", "has space", "dash-ed", &"a".repeat(SWARM_ID_BYTES_MAX + 1)] {
            assert!(wrong.parse::<NodeId>().is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        assert_eq!(Name::new("web").as_str(), "web");
        assert_eq!(Name::new(&"x".repeat(200)).as_str().len(), NAME_BYTES_MAX);
        let cut = Name::new(&"é".repeat(100));
        assert_eq!(cut.as_str(), "é".repeat(31), "63 bytes would split the 32nd character");
    }
}
