//! One kept-alive HTTP/1.1 connection to one address.
//!
//! - [`url`]: an `http://` address, parsed and refused with reasons
//! - [`message`]: what is asked and what is answered, both bounded
//! - [`connection`]: the connection itself: opened when first needed, kept, reopened
//!
//! This is not a pool, not a browser and not TLS: the agent talks to two or three addresses, one request at a time, and
//! each of them has one connection of its own. No redirects, no cookies, no proxy, no decompression.
//! Invariant: a request is never written twice by this crate. Whether to try again is decided by whoever asked.

pub mod url;

pub mod message;

pub mod connection;

pub use connection::{Connection, Counters};
pub use hyper::Method;
pub use message::{Error, Request, Response};
pub use url::{Url, UrlError};

#[cfg(test)]
mod test_server;
