//! What the database's answer means for a batch.
//!
//! The table is what InfluxDB 1, 2, 3 and VictoriaMetrics answer to a write. Two mistakes are worse than a lost batch: to
//! repeat for ever what can never be stored, and to repeat at once to a database that is already short of breath. So the
//! body is looked at before the status, and whatever is not understood is kept and waited for, in a bounded queue.

use std::time::Duration;

/// Longest pause a database can ask for; one that asks for more is asked again earlier.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(10 * 60);

/// Shortest pause after a 429 that names none: it may be the limit of series, which no repetition lifts.
pub const RATE_LIMITED_PAUSE_MIN: Duration = Duration::from_secs(10);

/// How much of a body is looked at: reasons stand at its beginning.
pub const BODY_PREFIX_BYTES_MAX: usize = 1024;

/// What to do with the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All stored: forget it.
    Stored,
    /// Some points are stored and the others never will be: forget it.
    Partial {
        /// How many were not stored, where the answer says so.
        dropped: Option<u64>,
    },
    /// Nothing stored, and never will be: forget it and count it.
    Rejected,
    /// The token is missing or wrong: keep it and tell.
    Unauthorized,
    /// The database or bucket is not there: keep it and tell.
    DatabaseMissing,
    /// Too large: send it in two halves.
    TooLarge,
    /// Not now: keep it and wait.
    RetryAfter {
        /// Wait at least this long, at most [`RETRY_AFTER_MAX`].
        at_least: Duration,
    },
    /// No answer to a write that is known here, such as a redirection: keep it and tell.
    Unexpected,
}

/// Reads an answer. Of the body only the first [`BODY_PREFIX_BYTES_MAX`] bytes are looked at.
#[must_use]
pub fn classify(status: u16, body: &[u8], retry_after: Option<Duration>) -> Outcome {
    let body = &body[..body.len().min(BODY_PREFIX_BYTES_MAX)];
    if find(body, b"partial write").is_some() {
        return Outcome::Partial { dropped: dropped_points(body) };
    }
    let at_least = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
    match status {
        200..=299 => Outcome::Stored,
        400 => Outcome::Rejected,
        401 | 403 => Outcome::Unauthorized,
        404 => Outcome::DatabaseMissing,
        // The server gave up waiting for the request: a slow line, not a wrong request.
        408 => Outcome::RetryAfter { at_least },
        413 => Outcome::TooLarge,
        422 => Outcome::Partial { dropped: dropped_points(body) },
        429 if retry_after.is_none() => Outcome::RetryAfter { at_least: RATE_LIMITED_PAUSE_MIN },
        429 | 500..=599 => Outcome::RetryAfter { at_least },
        _ => Outcome::Unexpected,
    }
}

/// InfluxDB 1 and 2 end the text of a partial write with `dropped=<points>`.
fn dropped_points(body: &[u8]) -> Option<u64> {
    const KEY: &[u8] = b"dropped=";
    let digits = &body[find(body, KEY)? + KEY.len()..];
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

fn find(body: &[u8], text: &[u8]) -> Option<usize> {
    body.windows(text.len()).position(|window| window == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const fn wait(at_least: u64) -> Outcome {
        Outcome::RetryAfter { at_least: seconds(at_least) }
    }

    #[test]
    fn every_status_has_its_meaning() {
        for status in 100..=999 {
            let expected = match status {
                200..=299 => Outcome::Stored,
                400 => Outcome::Rejected,
                401 | 403 => Outcome::Unauthorized,
                404 => Outcome::DatabaseMissing,
                413 => Outcome::TooLarge,
                422 => Outcome::Partial { dropped: None },
                429 => wait(10),
                408 | 500..=599 => wait(0),
                _ => Outcome::Unexpected,
            };
            assert_eq!(classify(status, b"", None), expected, "{status}");
        }
    }

    #[test]
    fn a_partial_write_is_never_repeated_whatever_its_status() {
        for status in [200, 400, 413, 422, 500, 503] {
            let body = br#"{"error":"partial write of line protocol occurred"}"#;
            assert_eq!(classify(status, body, Some(seconds(5))), Outcome::Partial { dropped: None }, "{status}");
        }
    }

    #[test]
    fn the_number_of_points_not_stored_is_read() {
        let check = |body: &str, dropped: Option<u64>| {
            assert_eq!(classify(400, body.as_bytes(), None), Outcome::Partial { dropped }, "{body}");
        };
        check(r#"{"error":"partial write: field type conflict: input field \"x\" dropped=3"}"#, Some(3));
        check("partial write: points beyond retention policy dropped=12", Some(12));
        check("partial write: dropped=", None);
        check("partial write: dropped=99999999999999999999999", None);
        check("partial write", None);
    }

    #[test]
    fn an_asked_for_pause_is_honoured_up_to_ten_minutes() {
        for status in [408, 429, 500, 502, 503, 504] {
            assert_eq!(classify(status, b"", Some(seconds(7))), wait(7), "{status}");
            assert_eq!(classify(status, b"", Some(seconds(600))), wait(600), "{status}");
            assert_eq!(classify(status, b"", Some(seconds(86_400))), wait(600), "{status}");
        }
        assert_eq!(classify(429, b"", Some(seconds(0))), wait(0), "the database said so itself");
    }

    #[test]
    fn only_the_beginning_of_a_body_is_looked_at() {
        let far = [vec![b' '; BODY_PREFIX_BYTES_MAX], b"partial write".to_vec()].concat();
        assert_eq!(classify(400, &far, None), Outcome::Rejected);
    }
}
