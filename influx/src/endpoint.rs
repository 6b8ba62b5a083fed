//! Where points go: read from one address, as people copy it from their database's manual.
//!
//! The path decides the dialect; organisation, bucket, database and retention policy are passed on as written. The
//! precision is read from the query because the timestamps must agree with it, and added where it is missing, since
//! the databases would otherwise take seconds for nanoseconds. Not a client: nothing is connected to here.
//! Invariant: no `Debug` or `Display` of this module shows a token or a password.

use std::fmt;

use swarmguard_http::{Url, UrlError};

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes `text` without surrounding white space: a token read from a file ends with a line feed.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// The text itself, to be written to a socket and nowhere else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The unit of the timestamps in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// `n` to InfluxDB 1, `ns` to the others.
    Nanoseconds,
    /// `u` to InfluxDB 1, `us` to the others.
    Microseconds,
    /// `ms`.
    Milliseconds,
    /// `s`: the coarsest that every dialect speaks, and the best compressed.
    Seconds,
    /// `m`, InfluxDB 1 only.
    Minutes,
    /// `h`, InfluxDB 1 only.
    Hours,
}

impl Precision {
    const ALL: [Self; 6] =
        [Self::Nanoseconds, Self::Microseconds, Self::Milliseconds, Self::Seconds, Self::Minutes, Self::Hours];

    /// Nanoseconds in one unit.
    #[must_use]
    pub const fn unit_ns(self) -> i64 {
        match self {
            Self::Nanoseconds => 1,
            Self::Microseconds => 1_000,
            Self::Milliseconds => 1_000_000,
            Self::Seconds => 1_000_000_000,
            Self::Minutes => 60 * 1_000_000_000,
            Self::Hours => 3_600 * 1_000_000_000,
        }
    }

    /// `unix_ns`, nanoseconds since 1970, in this unit; rounded down, also before 1970.
    #[must_use]
    pub const fn from_unix_ns(self, unix_ns: i64) -> i64 {
        unix_ns.div_euclid(self.unit_ns())
    }

    /// The name of this unit in `dialect`, if it has one.
    #[must_use]
    pub const fn name(self, dialect: Dialect) -> Option<&'static str> {
        match (self, dialect) {
            (Self::Nanoseconds, Dialect::V1) => Some("n"),
            (Self::Nanoseconds, Dialect::V2) => Some("ns"),
            (Self::Microseconds, Dialect::V1) => Some("u"),
            (Self::Microseconds, Dialect::V2) => Some("us"),
            (Self::Milliseconds, Dialect::V1 | Dialect::V2) => Some("ms"),
            (Self::Seconds, Dialect::V1 | Dialect::V2) => Some("s"),
            (Self::Minutes, Dialect::V1) => Some("m"),
            (Self::Hours, Dialect::V1) => Some("h"),
            (Self::Minutes | Self::Hours, Dialect::V2) => None,
        }
    }
}

/// Which of the two write interfaces is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `/write?db=`: InfluxDB 1; InfluxDB 3 and VictoriaMetrics take it too.
    V1,
    /// `/api/v2/write?org=&bucket=`: InfluxDB 2; InfluxDB 3 and VictoriaMetrics take it too.
    V2,
}

impl Dialect {
    const fn precisions(self) -> &'static str {
        match self {
            Self::V1 => "n, u, ms, s, m and h",
            Self::V2 => "ns, us, ms and s",
        }
    }
}

/// Where points go and how they are written.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    url: Url,
    dialect: Dialect,
    precision: Precision,
    /// The whole value of `Authorization`.
    authorization: Option<Secret>,
}

/// Why an address cannot be written to. None of the texts repeats a query, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It is not an address.
    #[error("the database's address cannot be used")]
    Url(#[from] UrlError),
    /// The address ends after host and port.
    #[error(
        "the database's address has no path: \
         write http://{authority}/write?db=<database> for InfluxDB 1, or \
         http://{authority}/api/v2/write?org=<organisation>&bucket=<bucket> for InfluxDB 2, 3 or VictoriaMetrics"
    )]
    NoPath {
        /// Host and port, to be copied.
        authority: String,
    },
    /// The path is neither of the two that points are written to.
    #[error("the path `{found}` does not take points: /write and /api/v2/write do")]
    Path {
        /// The path.
        found: String,
    },
    /// InfluxDB 1 needs to be told the database.
    #[error("an address with the path /write needs the database's name: /write?db=<database>")]
    NoDatabase,
    /// The precision is not one of this dialect's.
    #[error("the precision `{found}` is not known here: {} are", dialect.precisions())]
    Precision {
        /// What was written, or the default where nothing was.
        found: String,
        /// Whose names would have been understood.
        dialect: Dialect,
    },
    /// The token cannot be sent in a header.
    #[error("the database's token holds a character that cannot be sent: only printable ASCII can")]
    Token,
}

impl Endpoint {
    /// Reads `url`; a `token` that is not empty is sent as `Authorization: Token …` in both dialects (InfluxDB 1.8 and
    /// later read it as `user:password`). `default` is the precision where the address names none.
    ///
    /// # Errors
    /// See [`EndpointError`].
    pub fn parse(url: &str, token: Option<Secret>, default: Precision) -> Result<Self, EndpointError> {
        let url: Url = url.parse()?;
        let dialect = dialect_of(&url)?;
        if dialect == Dialect::V1 && query_value(&url, "db").is_none_or(str::is_empty) {
            return Err(EndpointError::NoDatabase);
        }
        let (url, precision) = settle_precision(url, dialect, default)?;
        let authorization = token.filter(|token| !token.expose().is_empty()).map(authorization).transpose()?;
        Ok(Self { url, dialect, precision, authorization })
    }

    /// The whole address, its `precision` included. It may hold a password: print the endpoint instead.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// Which interface is spoken.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The unit of timestamps.
    #[must_use]
    pub const fn precision(&self) -> Precision {
        self.precision
    }

    /// The value of the `Authorization` header, where there is a token.
    #[must_use]
    pub const fn authorization(&self) -> Option<&Secret> {
        self.authorization.as_ref()
    }
}

/// The address with the password of InfluxDB 1 (`p=`) made unreadable.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.url.authority(), self.url.path())?;
        for (at, pair) in self.url.query().split('&').enumerate() {
            let separator = if at == 0 { '?' } else { '&' };
            let shown = if pair.starts_with("p=") { "p=***" } else { pair };
            write!(f, "{separator}{shown}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self}, token {})", if self.authorization.is_some() { "given" } else { "not given" })
    }
}

fn dialect_of(url: &Url) -> Result<Dialect, EndpointError> {
    match url.path() {
        "/write" => Ok(Dialect::V1),
        "/api/v2/write" => Ok(Dialect::V2),
        "/" => Err(EndpointError::NoPath { authority: url.authority().to_owned() }),
        other => Err(EndpointError::Path { found: other.to_owned() }),
    }
}

fn query_value<'a>(url: &'a Url, key: &str) -> Option<&'a str> {
    url.query().split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
}

fn settle_precision(url: Url, dialect: Dialect, default: Precision) -> Result<(Url, Precision), EndpointError> {
    if let Some(found) = query_value(&url, "precision") {
        let known = Precision::ALL.into_iter().find(|precision| precision.name(dialect) == Some(found));
        let precision = known.ok_or_else(|| EndpointError::Precision { found: found.to_owned(), dialect })?;
        return Ok((url, precision));
    }
    let unknown = || EndpointError::Precision { found: format!("{default:?}"), dialect };
    let name = default.name(dialect).ok_or_else(unknown)?;
    let separator = if url.query().is_empty() { "" } else { "&" };
    let path_and_query = format!("{}?{}{separator}precision={name}", url.path(), url.query());
    Ok((url.with_path(&path_and_query)?, default))
}

fn authorization(token: Secret) -> Result<Secret, EndpointError> {
    let sendable = token.expose().bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if sendable { Ok(Secret(format!("Token {}", token.expose()))) } else { Err(EndpointError::Token) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Endpoint, EndpointError> {
        Endpoint::parse(url, None, Precision::Seconds)
    }

    #[track_caller]
    fn check(url: &str, dialect: Dialect, precision: Precision, path_and_query: &str) {
        let endpoint = parse(url).unwrap();
        let found = (endpoint.dialect(), endpoint.precision(), endpoint.url().path_and_query());
        assert_eq!(found, (dialect, precision, path_and_query), "{url}");
    }

    #[test]
    fn the_path_decides_the_dialect_and_the_query_the_precision() {
        use Precision::{Hours, Microseconds, Milliseconds, Minutes, Nanoseconds, Seconds};
        for (name, precision) in [
            ("n", Nanoseconds),
            ("u", Microseconds),
            ("ms", Milliseconds),
            ("s", Seconds),
            ("m", Minutes),
            ("h", Hours),
        ] {
            let path = format!("/write?db=m&precision={name}");
            check(&format!("http://db:8086{path}"), Dialect::V1, precision, &path);
        }
        for (name, precision) in [("ns", Nanoseconds), ("us", Microseconds), ("ms", Milliseconds), ("s", Seconds)] {
            let path = format!("/api/v2/write?precision={name}&org=o&bucket=b");
            check(&format!("http://db:8086{path}"), Dialect::V2, precision, &path);
        }
    }

    #[test]
    fn a_missing_precision_is_added_because_the_databases_default_to_nanoseconds() {
        check("http://db/write?db=m", Dialect::V1, Precision::Seconds, "/write?db=m&precision=s");
        check("http://db/api/v2/write", Dialect::V2, Precision::Seconds, "/api/v2/write?precision=s");
        let coarse = Endpoint::parse("http://db/api/v2/write", None, Precision::Minutes);
        assert!(matches!(coarse, Err(EndpointError::Precision { .. })));
    }

    #[test]
    fn a_precision_of_the_other_dialect_is_refused_by_name() {
        for (path, name) in [
            ("/write?db=m&", "us"),
            ("/write?db=m&", "ns"),
            ("/api/v2/write?", "u"),
            ("/api/v2/write?", "h"),
            ("/api/v2/write?", ""),
        ] {
            let error = parse(&format!("http://db{path}precision={name}")).unwrap_err();
            assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
        }
    }

    #[test]
    fn a_bare_address_is_answered_with_both_forms() {
        for url in ["http://db:8086", "http://db:8086/"] {
            let text = parse(url).unwrap_err().to_string();
            assert!(text.contains("http://db:8086/write?db="), "{text}");
            assert!(text.contains("http://db:8086/api/v2/write?org="), "{text}");
        }
    }

    #[test]
    fn other_paths_are_refused() {
        for path in ["/query", "/write/", "/api/v2/query", "/api/v3/write_lp"] {
            let error = parse(&format!("http://db{path}?db=m")).unwrap_err();
            assert_eq!(error, EndpointError::Path { found: path.to_owned() });
        }
    }

    #[test]
    fn the_first_dialect_needs_a_database() {
        for url in ["http://db/write", "http://db/write?db=", "http://db/write?xdb=m", "http://db/write?rp=db=m"] {
            assert_eq!(parse(url).unwrap_err(), EndpointError::NoDatabase, "{url}");
        }
    }

    #[test]
    fn tls_is_refused_with_the_reason_as_source() {
        assert_eq!(parse("https://db/write?db=m").unwrap_err(), EndpointError::Url(UrlError::Tls));
    }

    #[test]
    fn a_token_is_sent_and_never_shown() {
        let with = |token: &str| {
            Endpoint::parse("http://db/write?db=m&u=me&p=hunter2", Some(Secret::new(token)), Precision::Seconds)
        };
        let endpoint = with("t0ken\n").unwrap();
        assert_eq!(endpoint.authorization().unwrap().expose(), "Token t0ken");
        let shown = format!("{endpoint} {endpoint:?} {:?} {}", endpoint.authorization(), Secret::new("t0ken"));
        assert!(!shown.contains("t0ken") && !shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("db=m&u=me&p=***&precision=s"), "{shown}");
        assert_eq!(with(" \n").unwrap().authorization(), None);
        assert_eq!(with("a\nb").unwrap_err(), EndpointError::Token);
    }

    #[test]
    fn timestamps_are_rounded_down() {
        let check = |precision: Precision, ns: i64, expected: i64| assert_eq!(precision.from_unix_ns(ns), expected);
        check(Precision::Nanoseconds, 1_999_999_999, 1_999_999_999);
        check(Precision::Microseconds, 1_999_999_999, 1_999_999);
        check(Precision::Milliseconds, 1_999_999_999, 1_999);
        check(Precision::Seconds, 1_999_999_999, 1);
        check(Precision::Seconds, -1, -1);
        check(Precision::Minutes, 120_000_000_000, 2);
        check(Precision::Hours, 7_199_999_999_999, 1);
    }
}
