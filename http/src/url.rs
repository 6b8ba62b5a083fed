//! An address of the form `http://host[:port][/path][?query]`.
//!
//! Not a general URL library: no TLS, no userinfo, no fragment, no percent-decoding; path and query are sent as they
//! were written. What is refused is refused when the configuration is read, with what was found and what is allowed,
//! so that a `Url` in hand can always be connected to and written into a request line.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use hyper::header::HeaderValue;

/// The port meant when none is written (RFC 9110, section 4.2.1).
const PORT_DEFAULT: u16 = 80;

/// Longest address accepted: beyond it, servers answer 414 anyway.
const URL_BYTES_MAX: usize = 2048;

/// An `http://` address that can be connected to.
///
/// `Debug` and `Display` show the whole address, its query included: whoever keeps a password in a query must not print
/// this type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Url {
    authority: String,
    /// `authority` once more, checked to be a header's value.
    host_header: HeaderValue,
    /// Where the host ends in `authority`, brackets of an IPv6 address included.
    host_end: usize,
    port: u16,
    path_and_query: String,
}

/// Why a text is not an address this crate can talk to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// The address wants TLS.
    #[error("the address begins with `https://`: TLS is not supported by this version, only `http://` is")]
    Tls,
    /// The address has no scheme, or another one.
    #[error("the address begins with `{found}`: it must begin with `http://`")]
    Scheme {
        /// The first characters of what was given.
        found: String,
    },
    /// A name or password stands before the host. They are not repeated here: this text is logged.
    #[error("a name or password before the host (`name:password@host`) is not allowed: give credentials on their own")]
    Userinfo,
    /// The host is missing or is neither a name, an IPv4 address nor a bracketed IPv6 address.
    #[error("`{found}` is not a host: a name, an IPv4 address or an [IPv6 address in brackets] is allowed")]
    Host {
        /// What stood where the host is expected.
        found: String,
    },
    /// The port is not a port.
    #[error("`{found}` is not a port: 1 to 65535 is allowed")]
    Port {
        /// What stood after the colon.
        found: String,
    },
    /// Path or query hold a character that cannot stand in a request line.
    #[error("{found:?} cannot stand in a path or query: only printable ASCII without spaces and without `#` can")]
    Character {
        /// The character.
        found: char,
    },
    /// The path does not begin with a slash.
    #[error("the path begins with {found:?}: it must begin with `/`")]
    Path {
        /// The first character, if there is one.
        found: Option<char>,
    },
    /// The address is too long.
    #[error("the address has {found} bytes: at most {max} are allowed")]
    Length {
        /// Bytes given.
        found: usize,
        /// Bytes allowed.
        max: usize,
    },
}

impl Url {
    /// The host and, if one was written, the port: the value of the `Host` header.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) const fn host_header(&self) -> &HeaderValue {
        &self.host_header
    }

    /// The host to connect to, an IPv6 address without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.authority[..self.host_end].trim_start_matches('[').trim_end_matches(']')
    }

    /// The port to connect to; 80 when none was written.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Path and query as written; `/` when neither was.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        &self.path_and_query
    }

    /// The path alone, without `?` and what follows.
    #[must_use]
    pub fn path(&self) -> &str {
        self.path_and_query.split_once('?').map_or(self.path_and_query.as_str(), |(path, _)| path)
    }

    /// The query alone, without the `?`; empty when there is none.
    #[must_use]
    pub fn query(&self) -> &str {
        self.path_and_query.split_once('?').map_or("", |(_, query)| query)
    }

    /// The same host and port with another path and query.
    ///
    /// # Errors
    /// When `path_and_query` does not begin with `/`, holds a character that cannot be sent, or is too long.
    pub fn with_path(&self, path_and_query: &str) -> Result<Self, UrlError> {
        check_path(path_and_query)?;
        Ok(Self { path_and_query: path_and_query.to_owned(), ..self.clone() })
    }
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let rest = strip_scheme(text)?;
        let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(authority_end);
        if authority.contains('@') {
            return Err(UrlError::Userinfo);
        }
        let (host_end, port) = split_authority(authority)?;
        let path_and_query = match tail.chars().next() {
            None => "/".to_owned(),
            Some('/') => tail.to_owned(),
            // `http://host?query` names the root (RFC 3986, section 6.2.3).
            Some(_) => format!("/{tail}"),
        };
        check_path(&path_and_query)?;
        let host_header =
            HeaderValue::from_str(authority).map_err(|_invalid| UrlError::Host { found: authority.to_owned() })?;
        Ok(Self { authority: authority.to_owned(), host_header, host_end, port, path_and_query })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path_and_query)
    }
}

fn strip_scheme(text: &str) -> Result<&str, UrlError> {
    const HTTP: &str = "http://";
    const HTTPS: &str = "https://";
    let begins_with = |scheme: &str| text.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme));
    if begins_with(HTTPS) {
        return Err(UrlError::Tls);
    }
    if !begins_with(HTTP) {
        // Only the scheme, or of a text without one only the first characters: a password may stand further on.
        let found = text.split_once("://").map_or_else(
            || text.chars().take(HTTPS.len()).collect(),
            |(scheme, _)| format!("{}://", scheme.chars().take(HTTPS.len()).collect::<String>()),
        );
        return Err(UrlError::Scheme { found });
    }
    Ok(&text[HTTP.len()..])
}

/// Where the host ends in `authority`, and the port.
fn split_authority(authority: &str) -> Result<(usize, u16), UrlError> {
    let host_end = match authority.find(']') {
        Some(bracket) if authority.starts_with('[') => bracket + 1,
        Some(_) | None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(host_end);
    if !is_host(host) {
        return Err(UrlError::Host { found: host.to_owned() });
    }
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => PORT_DEFAULT,
        None => return Err(UrlError::Host { found: authority.to_owned() }),
        Some(digits) => parse_port(digits).ok_or_else(|| UrlError::Port { found: digits.to_owned() })?,
    };
    Ok((host_end, port))
}

fn parse_port(digits: &str) -> Option<u16> {
    // `u16::from_str` would let a leading plus sign through.
    let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| digits.parse().ok()).flatten().filter(|port| *port != 0)
}

fn is_host(host: &str) -> bool {
    if let Some(inside) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inside.parse::<Ipv6Addr>().is_ok();
    }
    // `10.0.0.256` is a typing error, not a name to ask a resolver for.
    let looks_like_ipv4 = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if looks_like_ipv4 {
        return host.parse::<Ipv4Addr>().is_ok();
    }
    // An underscore is not in DNS's alphabet, but Docker's network aliases use it.
    host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

fn check_path(path_and_query: &str) -> Result<(), UrlError> {
    let first = path_and_query.chars().next();
    if first != Some('/') {
        return Err(UrlError::Path { found: first });
    }
    if path_and_query.len() > URL_BYTES_MAX {
        return Err(UrlError::Length { found: path_and_query.len(), max: URL_BYTES_MAX });
    }
    match path_and_query.chars().find(|char| !char.is_ascii_graphic() || *char == '#') {
        Some(found) => Err(UrlError::Character { found }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, host: &str, port: u16, path_and_query: &str) {
        let url: Url = text.parse().unwrap();
        assert_eq!((url.host(), url.port(), url.path_and_query()), (host, port, path_and_query), "{text}");
    }

    #[track_caller]
    fn refused(text: &str, expected: UrlError) {
        assert_eq!(text.parse::<Url>().unwrap_err(), expected, "{text}");
    }

    #[test]
    fn names_and_both_kinds_of_addresses_are_understood() {
        check("http://db", "db", 80, "/");
        check("http://db/", "db", 80, "/");
        check("http://db:8086", "db", 8086, "/");
        check("HTTP://db.example:8086/write?db=m", "db.example", 8086, "/write?db=m");
        check("http://10.0.0.7:8086/a/b", "10.0.0.7", 8086, "/a/b");
        check("http://[fd00::7]:8086/x", "fd00::7", 8086, "/x");
        check("http://[::1]", "::1", 80, "/");
        check("http://my_stack_influx:1?q", "my_stack_influx", 1, "/?q");
        check("http://db/a?b=http://c:9/@d", "db", 80, "/a?b=http://c:9/@d");
    }

    #[test]
    fn the_host_header_is_host_and_port_as_written() {
        let authority = |text: &str| text.parse::<Url>().unwrap().authority().to_owned();
        assert_eq!(authority("http://db:80/x"), "db:80");
        assert_eq!(authority("http://db/x"), "db");
        assert_eq!(authority("http://[::1]:9/x"), "[::1]:9");
    }

    #[test]
    fn what_is_shown_is_parsed_to_the_same() {
        for text in ["http://db/", "http://[::1]:9/x?y=z", "http://10.0.0.7:8086/write?db=m"] {
            let url: Url = text.parse().unwrap();
            assert_eq!(url.to_string(), text);
            assert_eq!(url.to_string().parse::<Url>().unwrap(), url);
        }
    }

    #[test]
    fn tls_is_refused_by_name() {
        refused("https://db", UrlError::Tls);
        refused("HTTPS://db", UrlError::Tls);
        assert!(UrlError::Tls.to_string().contains("TLS is not supported by this version"));
    }

    #[test]
    fn other_schemes_and_none_are_refused_without_showing_the_rest() {
        refused("db:8086", UrlError::Scheme { found: "db:8086".into() });
        refused("", UrlError::Scheme { found: String::new() });
        refused("unix:///a", UrlError::Scheme { found: "unix://".into() });
        refused("ftp://name:password@host", UrlError::Scheme { found: "ftp://".into() });
    }

    #[test]
    fn credentials_are_refused_and_not_repeated() {
        refused("http://me:hunter2@db/", UrlError::Userinfo);
        assert!(!UrlError::Userinfo.to_string().contains("hunter2"));
    }

    #[test]
    fn what_is_not_a_host_is_refused() {
        for (text, found) in [
            ("http://", ""),
            ("http:///x", ""),
            ("http://a b/", "a b"),
            ("http://10.0.0.256", "10.0.0.256"),
            ("http://10.0", "10.0"),
            ("http://[::1", "["),
            ("http://[nope]/", "[nope]"),
            ("http://[::1]9", "[::1]9"),
        ] {
            refused(text, UrlError::Host { found: found.into() });
        }
    }

    #[test]
    fn what_is_not_a_port_is_refused() {
        for found in ["", "0", "65536", "+80", "80a", "-1"] {
            refused(&format!("http://db:{found}/"), UrlError::Port { found: found.into() });
        }
    }

    #[test]
    fn what_would_break_the_request_line_is_refused() {
        refused("http://db/a b", UrlError::Character { found: ' ' });
        refused("http://db/a\r\nX: y", UrlError::Character { found: '\r' });
        refused("http://db/a#b", UrlError::Character { found: '#' });
        refused("http://db/ä", UrlError::Character { found: 'ä' });
        let long = format!("http://db/{}", "a".repeat(URL_BYTES_MAX));
        refused(&long, UrlError::Length { found: URL_BYTES_MAX + 1, max: URL_BYTES_MAX });
    }

    #[test]
    fn another_path_keeps_host_and_port() {
        let url: Url = "http://[::1]:9/x?y".parse().unwrap();
        assert_eq!(url.with_path("/z?w").unwrap().to_string(), "http://[::1]:9/z?w");
        assert_eq!(url.with_path("z").unwrap_err(), UrlError::Path { found: Some('z') });
        assert_eq!(url.with_path("").unwrap_err(), UrlError::Path { found: None });
        assert_eq!((url.path(), url.query()), ("/x", "y"));
    }
}
