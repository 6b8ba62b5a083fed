//! A point becomes one line of line protocol, in a buffer that is used again and again.
//!
//! `influxdb-line-protocol` does the escaping, of measurements, tags, texts and of keys that need it. Numbers under plain
//! keys, which is nearly all that is written and is written at each tick, are put down in `number`: character by
//! character through the formatting machinery they took half of the agent's own time. What the crate does not look after
//! is done here, before it: values that would make a line, or all lines of a batch, invalid.
//! Invariant: [`Lines::as_bytes`] holds whole lines only, each valid by itself. A point that was begun and not closed
//! leaves nothing behind.
//!
//! Give tags sorted by key: the databases then need not sort them.

mod number;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use influxdb_line_protocol::LineProtocolBuilder;
use influxdb_line_protocol::builder::AfterMeasurement;

use crate::endpoint::Precision;

/// Longest line kept. InfluxDB refuses a tag or text longer than this (64 KiB), and the whole batch with it.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// Lines of line protocol, all of one precision.
#[derive(Debug)]
pub struct Lines {
    bytes: Vec<u8>,
    tally: Tally,
    precision: Precision,
}

#[derive(Debug, Default)]
struct Tally {
    /// Where the last whole line ends; beyond it may lie the beginning of a point that was never closed.
    whole_bytes: usize,
    points: u32,
    left_out: u64,
}

impl Lines {
    /// An empty buffer for timestamps of `precision`.
    #[must_use]
    pub fn new(precision: Precision) -> Self {
        Self { bytes: Vec::new(), tally: Tally::default(), precision }
    }

    /// Begins a point. Nothing is kept of it until [`Fields::close`].
    ///
    /// A measurement that is empty or begins with `#`, which would make the line a comment, leaves the point out.
    pub fn point(&mut self, measurement: &str) -> Point<'_> {
        self.begin(&[], measurement, is_measurement(measurement))
    }

    /// Begins a point of a [`Series`]: its measurement and tags are copied as they are, which is two to three times
    /// cheaper than escaping them again at every sample.
    pub fn point_of(&mut self, series: &Series) -> Point<'_> {
        self.begin(&series.bytes, "", !series.bytes.is_empty())
    }

    /// All whole lines.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.tally.whole_bytes]
    }

    /// How many points, which is how many lines.
    #[must_use]
    pub const fn points(&self) -> u32 {
        self.tally.points
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.tally.points == 0
    }

    /// Points closed and yet not kept, since the last time this was asked: without a field, without a usable
    /// measurement, or longer than [`LINE_BYTES_MAX`].
    pub const fn take_left_out(&mut self) -> u64 {
        let left_out = self.tally.left_out;
        self.tally.left_out = 0;
        left_out
    }

    /// Forgets all lines. Memory is kept for twice as much as there was, so that a steady flow never allocates and the
    /// memory of one burst is given back after the next batch.
    pub fn clear(&mut self) {
        let kept_bytes = 2 * self.tally.whole_bytes;
        self.bytes.clear();
        self.bytes.shrink_to(kept_bytes);
        self.tally.whole_bytes = 0;
        self.tally.points = 0;
    }

    fn begin(&mut self, prefix: &[u8], measurement: &str, keep: bool) -> Point<'_> {
        self.bytes.truncate(self.tally.whole_bytes);
        self.bytes.extend_from_slice(prefix);
        if !measurement.is_empty() {
            let _ = LineProtocolBuilder::new_with(&mut self.bytes).measurement(&harmless(measurement));
        }
        Point { bytes: &mut self.bytes, ending: Ending { tally: &mut self.tally, precision: self.precision, keep } }
    }
}

/// Measurement and tags that many points share, escaped once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// Empty where the measurement was refused; then all its points are left out.
    bytes: Vec<u8>,
}

impl Series {
    /// A series of `measurement` without tags so far.
    #[must_use]
    pub fn new(measurement: &str) -> Self {
        let mut bytes = Vec::new();
        if is_measurement(measurement) {
            let _ = LineProtocolBuilder::new_with(&mut bytes).measurement(&harmless(measurement));
        }
        Self { bytes }
    }

    /// Adds a tag, as [`Point::tag`] does.
    #[must_use]
    pub fn tag<'v>(mut self, key: &str, value: impl Into<Option<&'v str>>) -> Self {
        if !self.bytes.is_empty() {
            write_tag(&mut self.bytes, key, value.into());
        }
        self
    }
}

/// A point that can still get tags.
#[derive(Debug)]
#[must_use = "a point is kept only when it is closed"]
pub struct Point<'a> {
    bytes: &'a mut Vec<u8>,
    ending: Ending<'a>,
}

/// A point that can get fields, and be closed.
#[derive(Debug)]
#[must_use = "a point is kept only when it is closed"]
pub struct Fields<'a> {
    bytes: &'a mut Vec<u8>,
    /// Whether it has a field already.
    has_field: bool,
    ending: Ending<'a>,
}

/// What closing a point needs.
#[derive(Debug)]
struct Ending<'a> {
    tally: &'a mut Tally,
    precision: Precision,
    keep: bool,
}

impl<'a> Point<'a> {
    /// Adds a tag. One that is absent or empty is not written: an empty value makes the whole line invalid.
    ///
    /// Control characters become spaces and backslashes become slashes: a line feed would end the line, and the
    /// databases do not agree on how a backslash is escaped (to InfluxDB 1 and 2 one at the end of a value, doubled or
    /// not, swallows the separator that follows).
    pub fn tag<'v>(self, key: &str, value: impl Into<Option<&'v str>>) -> Self {
        write_tag(self.bytes, key, value.into());
        self
    }

    /// Adds the first field, as [`Fields::field`] does; no tag can follow.
    pub fn field<'v>(self, key: &str, value: impl FieldValue<'v>) -> Fields<'a> {
        Fields { bytes: self.bytes, has_field: false, ending: self.ending }.field(key, value)
    }
}

impl Fields<'_> {
    /// Adds a field. What is absent, not a number or infinite is not written.
    ///
    /// Floats are written so that what is read back equals what was given; unsigned integers as signed ones, at most
    /// [`i64::MAX`], because InfluxDB 1 does not know unsigned ones; control characters in texts become spaces.
    pub fn field<'v>(mut self, key: &str, value: impl FieldValue<'v>) -> Self {
        let Some(scalar) = value.into_scalar() else { return self };
        if key.is_empty() {
            return self;
        }
        let start = self.bytes.len();
        match scalar {
            Scalar::Float(value) if is_plain_key(key) => {
                self.begin_field(key);
                number::write_float(self.bytes, value);
            }
            Scalar::Integer(value) if is_plain_key(key) => {
                self.begin_field(key);
                number::write_integer(self.bytes, value);
                self.bytes.push(b'i');
            }
            Scalar::Float(_) | Scalar::Integer(_) | Scalar::Boolean(_) | Scalar::Text(_) => {
                write_escaped(self.bytes, key, scalar);
                // The crate writes every field as a point's first.
                self.bytes[start] = self.separator();
            }
        }
        Self { has_field: true, ..self }
    }

    fn begin_field(&mut self, key: &str) {
        self.bytes.push(self.separator());
        self.bytes.extend_from_slice(key.as_bytes());
        self.bytes.push(b'=');
    }

    fn separator(&self) -> u8 {
        if self.has_field { b',' } else { b' ' }
    }

    /// Ends the point with the time it was sampled at, in nanoseconds since 1970, and keeps it.
    ///
    /// A point without a field, or longer than [`LINE_BYTES_MAX`], is left out; see [`Lines::take_left_out`].
    pub fn close(self, unix_ns: i64) {
        let Ending { tally, precision, keep } = self.ending;
        let bytes = self.bytes;
        if !self.has_field {
            tally.left_out += 1;
            return;
        }
        bytes.push(b' ');
        number::write_integer(bytes, precision.from_unix_ns(unix_ns));
        bytes.push(b'\n');
        if !keep || bytes.len() - tally.whole_bytes > LINE_BYTES_MAX {
            tally.left_out += 1;
            return;
        }
        tally.whole_bytes = bytes.len();
        tally.points += 1;
    }
}

/// What a field can hold. `Option`s of it are fields that may be absent.
pub trait FieldValue<'v> {
    /// The value as it is written, or nothing where there is nothing to write.
    fn into_scalar(self) -> Option<Scalar<'v>>;
}

/// The four types of line protocol that every database knows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar<'v> {
    /// A finite float.
    Float(f64),
    /// A signed integer.
    Integer(i64),
    /// True or false.
    Boolean(bool),
    /// A text.
    Text(&'v str),
}

impl<'v> FieldValue<'v> for f64 {
    fn into_scalar(self) -> Option<Scalar<'v>> {
        self.is_finite().then_some(Scalar::Float(self))
    }
}

impl<'v> FieldValue<'v> for i64 {
    fn into_scalar(self) -> Option<Scalar<'v>> {
        Some(Scalar::Integer(self))
    }
}

impl<'v> FieldValue<'v> for u64 {
    fn into_scalar(self) -> Option<Scalar<'v>> {
        Some(Scalar::Integer(i64::try_from(self).unwrap_or(i64::MAX)))
    }
}

impl<'v> FieldValue<'v> for u32 {
    fn into_scalar(self) -> Option<Scalar<'v>> {
        Some(Scalar::Integer(self.into()))
    }
}

impl<'v> FieldValue<'v> for bool {
    fn into_scalar(self) -> Option<Scalar<'v>> {
        Some(Scalar::Boolean(self))
    }
}

impl<'v> FieldValue<'v> for &'v str {
    fn into_scalar(self) -> Option<Scalar<'v>> {
        Some(Scalar::Text(self))
    }
}

impl<'v, T: FieldValue<'v>> FieldValue<'v> for Option<T> {
    fn into_scalar(self) -> Option<Scalar<'v>> {
        self.and_then(T::into_scalar)
    }
}

fn write_tag(bytes: &mut Vec<u8>, key: &str, value: Option<&str>) {
    if let Some(value) = value.filter(|value| !value.is_empty() && !key.is_empty()) {
        let _ = after_measurement(bytes).tag(&harmless(key), &harmless(value));
    }
}

/// A field as the first of its point, with a space in front, whatever its key and value are.
fn write_escaped(bytes: &mut Vec<u8>, key: &str, value: Scalar<'_>) {
    let (builder, key) = (after_measurement(bytes), &harmless(key));
    let _ = match value {
        Scalar::Float(value) => builder.field(key, value),
        Scalar::Integer(value) => builder.field(key, value),
        Scalar::Boolean(value) => builder.field(key, value),
        Scalar::Text(value) => builder.field(key, &*harmless_text(value)),
    };
}

/// The crate in the state that follows a measurement: it writes nothing for an empty one.
fn after_measurement(bytes: &mut Vec<u8>) -> LineProtocolBuilder<&mut Vec<u8>, AfterMeasurement> {
    LineProtocolBuilder::new_with(bytes).measurement("")
}

/// Whether a key stands for itself.
fn is_plain_key(key: &str) -> bool {
    key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_measurement(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('#')
}

/// A name, key or tag value without what no escaping makes safe in every database. Nearly always as given.
fn harmless(text: &str) -> Cow<'_, str> {
    replace(text, |char| match char {
        '\\' => '/',
        char if char.is_control() => ' ',
        char => char,
    })
}

/// A text field without line feeds, since a batch is split at line feeds. Backslashes are safe here: every database
/// reads a doubled one in quotes as one.
fn harmless_text(text: &str) -> Cow<'_, str> {
    replace(text, |char| if char.is_control() { ' ' } else { char })
}

fn replace(text: &str, with: fn(char) -> char) -> Cow<'_, str> {
    // Nearly every text ends here, after one cheap pass over its bytes.
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\' || byte == b' ';
    if text.bytes().all(plain) || text.chars().all(|char| with(char) == char) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(with).collect())
}
