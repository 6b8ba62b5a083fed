//! The parameters of a request: `key=value` pairs, checked against what the endpoint takes.
//!
//! Nothing is ignored: an unknown or repeated key is refused like a value out of range, so a typing
//! error never runs another stress than was meant. Every refusal names key, value and what is
//! allowed.

use std::fmt;
use std::ops::RangeInclusive;

/// The pairs of one request, keys known and each at most once.
#[derive(Debug)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

/// Why the parameters were refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum QueryError {
    /// The endpoint takes no such key.
    Unknown { key: String, value: String, allowed: &'static [&'static str] },
    /// The key came twice.
    Repeated { key: String, value: String },
    /// A key without default did not come.
    Missing { key: &'static str, allowed: RangeInclusive<u64> },
    /// Not a whole number of the range.
    OutOfRange { key: &'static str, value: String, allowed: RangeInclusive<u64> },
    /// None of a set of keys came, one of which is needed.
    NoneOf { allowed: &'static [&'static str] },
    /// Not a host and port that can be resolved.
    NoAddress { key: &'static str, value: String },
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { key, value, allowed: [] } => {
                write!(f, "{key}={value}: unknown parameter, none is allowed here")
            }
            Self::Unknown { key, value, allowed } => {
                let allowed = allowed.join(", ");
                write!(f, "{key}={value}: unknown parameter, allowed are {allowed}")
            }
            Self::Repeated { key, value } => {
                write!(f, "{key}={value}: repeated, allowed is once")
            }
            Self::Missing { key, allowed } => {
                let (low, high) = (allowed.start(), allowed.end());
                write!(f, "{key} is missing: allowed is a whole number from {low} to {high}")
            }
            Self::OutOfRange { key, value, allowed } => {
                let (low, high) = (allowed.start(), allowed.end());
                write!(f, "{key}={value}: allowed is a whole number from {low} to {high}")
            }
            Self::NoneOf { allowed } => {
                let allowed = allowed.join(", ");
                write!(f, "nothing to start: allowed is one or more above 0 of {allowed}")
            }
            Self::NoAddress { key, value } => {
                write!(f, "{key}={value}: allowed is HOST:PORT with a known host")
            }
        }
    }
}

impl Query {
    /// Splits `raw` (the part after `?`) and refuses keys that are not `allowed`.
    pub(crate) fn parse(raw: Option<&str>, allowed: &'static [&'static str]) -> Result<Self, QueryError> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        let raw = raw.unwrap_or_default();
        for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (key, value) = (decode(key), decode(value));
            if !allowed.contains(&key.as_str()) {
                return Err(QueryError::Unknown { key, value, allowed });
            }
            if pairs.iter().any(|(known, _)| *known == key) {
                return Err(QueryError::Repeated { key, value });
            }
            pairs.push((key, value));
        }
        Ok(Self { pairs })
    }

    /// The value as it came.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        let pair = self.pairs.iter().find(|(known, _)| known == key);
        pair.map(|(_, value)| value.as_str())
    }

    /// A whole number of the range; `None` if the key did not come.
    pub(crate) fn optional(&self, key: &'static str, allowed: RangeInclusive<u64>) -> Result<Option<u64>, QueryError> {
        let Some(value) = self.text(key) else {
            return Ok(None);
        };
        match value.parse() {
            Ok(number) if allowed.contains(&number) => Ok(Some(number)),
            Ok(_) | Err(_) => Err(QueryError::OutOfRange { key, value: value.to_owned(), allowed }),
        }
    }

    /// A whole number of the range; refused if the key did not come.
    pub(crate) fn required(&self, key: &'static str, allowed: RangeInclusive<u64>) -> Result<u64, QueryError> {
        self.optional(key, allowed.clone())?.ok_or(QueryError::Missing { key, allowed })
    }
}

/// Undoes percent-encoding, as clients apply it to the colon of `host:port`; what is not a valid
/// escape stays as it is.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%').then(|| bytes.get(at + 1..at + 3)).flatten();
        let digits = escape.and_then(|digits| match digits {
            [high, low] => Some((hex(*high)?, hex(*low)?)),
            _ => None,
        });
        match digits {
            Some((high, low)) => {
                decoded.push(high * 16 + low);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &[&str] = &["target", "to"];

    fn target(raw: &str) -> Result<u64, String> {
        let query = Query::parse(Some(raw), KEYS).map_err(|error| error.to_string())?;
        query.required("target", 1..=100).map_err(|error| error.to_string())
    }

    #[test]
    fn a_whole_number_in_range_is_taken() {
        assert_eq!(target("target=80"), Ok(80));
        assert_eq!(target("to=a:1&target=1"), Ok(1));
        assert_eq!(target("&target=100&"), Ok(100));
    }

    #[test]
    fn a_refusal_names_key_value_and_what_is_allowed() {
        let check = |raw: &str, expected: &str| assert_eq!(target(raw), Err(expected.to_owned()));
        let range = "allowed is a whole number from 1 to 100";
        check("target=0", &format!("target=0: {range}"));
        check("target=101", &format!("target=101: {range}"));
        check("target=-5", &format!("target=-5: {range}"));
        check("target=8.5", &format!("target=8.5: {range}"));
        check("target=", &format!("target=: {range}"));
        check("target", &format!("target=: {range}"));
        check("", &format!("target is missing: {range}"));
        check("taget=80", "taget=80: unknown parameter, allowed are target, to");
        check("target=1&target=2", "target=2: repeated, allowed is once");
    }

    #[test]
    fn where_nothing_is_allowed_the_refusal_says_so() {
        let error = Query::parse(Some("a=1"), &[]).unwrap_err().to_string();
        assert_eq!(error, "a=1: unknown parameter, none is allowed here");
    }

    #[test]
    fn an_encoded_colon_is_a_colon_and_a_broken_escape_is_text() {
        let query = Query::parse(Some("to=host%3A9"), KEYS).unwrap();
        assert_eq!(query.text("to"), Some("host:9"));
        assert_eq!(decode("100%"), "100%");
        assert_eq!(decode("%zz%2"), "%zz%2");
        assert_eq!(decode("%+1"), "%+1");
    }
}
