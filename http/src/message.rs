//! What is asked, what is answered, and what can go wrong between the two.
//!
//! Only what the agent needs: a method, a path, three headers and a body; of the answer a status, `Retry-After` and a
//! bounded body. An [`Error`] says how far the request had come, since that decides whether asking again is safe.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Method;
use hyper::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, RETRY_AFTER,
};

/// One request. Everything but the body is borrowed: it is copied once, into the bytes that are sent.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// GET, POST and so on.
    pub method: Method,
    /// Path and query, beginning with `/`.
    pub path_and_query: &'a str,
    /// `Content-Type`, where the body has one.
    pub content_type: Option<&'a str>,
    /// `Content-Encoding`, such as `gzip`, where the body is encoded.
    pub content_encoding: Option<&'a str>,
    /// The whole value of `Authorization`, scheme included. Marked sensitive, so that hyper's own traces leave it out.
    pub authorization: Option<&'a str>,
    /// The body, sent with a `Content-Length`. Cloning `Bytes` for another attempt copies nothing.
    pub body: Bytes,
}

impl<'a> Request<'a> {
    /// A GET without a body.
    #[must_use]
    pub const fn get(path_and_query: &'a str) -> Self {
        Self {
            method: Method::GET,
            path_and_query,
            content_type: None,
            content_encoding: None,
            authorization: None,
            body: Bytes::new(),
        }
    }

    /// A POST of `body`, which is of type `content_type`.
    #[must_use]
    pub const fn post(path_and_query: &'a str, content_type: &'a str, body: Bytes) -> Self {
        Self {
            method: Method::POST,
            path_and_query,
            content_type: Some(content_type),
            content_encoding: None,
            authorization: None,
            body,
        }
    }

    /// The same in hyper's type, to be sent to `host`.
    pub(crate) fn into_hyper(self, host: &HeaderValue) -> Result<hyper::Request<Full<Bytes>>, Error> {
        // hyper writes the length of a body that has one. An empty POST has to say so too (RFC 9110, section 8.6), or
        // some servers answer 411.
        let says_that_it_is_empty = self.body.is_empty() && self.method != Method::GET && self.method != Method::HEAD;
        let mut message = hyper::Request::builder()
            .method(self.method)
            .uri(self.path_and_query)
            .body(Full::new(self.body))
            .map_err(|source| Error::Message { source })?;
        let headers = message.headers_mut();
        headers.insert(HOST, host.clone());
        if says_that_it_is_empty {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        for (name, value) in [(CONTENT_TYPE, self.content_type), (CONTENT_ENCODING, self.content_encoding)] {
            if let Some(value) = value {
                headers.insert(name, header_value(value)?);
            }
        }
        if let Some(value) = self.authorization {
            let mut value = header_value(value)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(message)
    }
}

fn header_value(text: &str) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(text).map_err(|source| Error::Message { source: source.into() })
}

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// 200 to 599.
    pub status: u16,
    /// `Retry-After` where it was given in seconds. Its other form, a date, would need this machine's clock to agree
    /// with the server's, and counts as not given.
    pub retry_after: Option<Duration>,
    /// The body, at most as long as the connection's maximum.
    pub body: Bytes,
}

pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// What went wrong, named for how far the request had come.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Path or a header value cannot be written in HTTP. Nothing was sent; the connection is as it was.
    #[error("the request cannot be written as HTTP")]
    Message {
        /// hyper's reason.
        source: hyper::http::Error,
    },
    /// The name was not resolved or the connection not accepted. Nothing was sent.
    #[error("cannot connect to {authority}")]
    Connect {
        /// Host and port.
        authority: String,
        /// The system's reason.
        source: io::Error,
    },
    /// No whole answer in the time given for connecting, sending and receiving. The server may have acted.
    #[error("no answer within {after:?}")]
    Timeout {
        /// The time given.
        after: Duration,
    },
    /// The connection broke or was closed before an answer began. The server may have acted.
    #[error("the connection to {authority} broke before an answer came")]
    Send {
        /// Host and port.
        authority: String,
        /// hyper's reason.
        source: hyper::Error,
    },
    /// The connection broke within the answer. The server has acted.
    #[error("the connection broke within an answer of status {status}")]
    Receive {
        /// The answer's status.
        status: u16,
        /// hyper's reason.
        source: hyper::Error,
    },
    /// The answer's body is longer than the connection's maximum. The server has acted.
    #[error("the body of an answer of status {status} is longer than {max} bytes")]
    BodyTooLarge {
        /// The answer's status.
        status: u16,
        /// Bytes allowed.
        max: usize,
    },
}

impl Error {
    /// The answer's status, where the answer had come that far.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Receive { status, .. } | Self::BodyTooLarge { status, .. } => Some(*status),
            Self::Message { .. } | Self::Connect { .. } | Self::Timeout { .. } | Self::Send { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_seconds_only() {
        let check = |text: &'static str, expected: Option<u64>| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]);
            assert_eq!(retry_after(&headers), expected.map(Duration::from_secs), "{text}");
        };
        check("120", Some(120));
        check(" 7 ", Some(7));
        check("0", Some(0));
        check("-1", None);
        check("1.5", None);
        check("", None);
        check("99999999999999999999999", None);
        check("Wed, 21 Oct 2026 07:28:00 GMT", None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn a_header_that_would_smuggle_another_is_refused() {
        let request = Request { authorization: Some("Token a\r\nX: y"), ..Request::get("/") };
        let refused = request.into_hyper(&HeaderValue::from_static("db"));
        assert!(matches!(refused, Err(Error::Message { .. })));
    }

    #[test]
    fn the_authorization_is_not_in_hypers_debug_output() {
        let request = Request { authorization: Some("Token hunter2"), ..Request::get("/") };
        let message = request.into_hyper(&HeaderValue::from_static("db")).unwrap();
        assert!(!format!("{message:?}").contains("hunter2"));
    }
}
