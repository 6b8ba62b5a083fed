//! A batch becomes a gzip body, and a body that is too large becomes two.
//!
//! The compressor is made for each batch and freed after it: with its output it holds about 400 KiB, a tenth of what the
//! whole agent may use, and would hold them for ever to work for a millisecond in ten seconds.

use std::io::{self, Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

/// The fastest level. Lines repeat each other so much that it already leaves less than a tenth of them; level 6 leaves
/// half of that and takes four times as long, on the thread that also sends alerts. The memory is the same at every
/// level.
const LEVEL: Compression = Compression::fast();

/// A batch ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Lines, gzipped.
    pub body: Bytes,
    /// How many lines.
    pub points: u32,
}

/// Compresses `lines`, which are `points` whole lines.
///
/// # Errors
/// None in practice: the compressor's, which writes to memory.
pub fn pack(lines: &[u8], points: u32) -> io::Result<Packed> {
    let mut encoder = GzEncoder::new(Vec::new(), LEVEL);
    encoder.write_all(lines)?;
    let mut body = encoder.finish()?;
    // It may wait for hours; what the growing buffer took too much should not wait with it.
    body.shrink_to_fit();
    Ok(Packed { body: Bytes::from(body), points })
}

/// The two halves of a batch, older lines first; nothing for a single line, which has no halves.
///
/// # Errors
/// When the body is not what [`pack`] made.
pub fn split(packed: &Packed) -> io::Result<Option<(Packed, Packed)>> {
    let first_points = packed.points / 2;
    let Some(last_of_first) = first_points.checked_sub(1) else {
        return Ok(None);
    };
    let lines = unpack(&packed.body)?;
    // A text field holds no line feed, see `line`: each one ends a line.
    let mut ends = lines.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    let end = usize::try_from(last_of_first).ok().and_then(|nth| ends.nth(nth)).unwrap_or(lines.len());
    let (first, second) = lines.split_at(end);
    Ok(Some((pack(first, first_points)?, pack(second, packed.points - first_points)?)))
}

fn unpack(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    GzDecoder::new(body).read_to_end(&mut lines)?;
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_split(lines: &str, expected: Option<(&str, &str)>) {
        let count = |text: &str| u32::try_from(text.lines().count()).unwrap();
        let halves = split(&pack(lines.as_bytes(), count(lines)).unwrap()).unwrap();
        let Some((first, second)) = expected else { return assert_eq!(halves, None) };
        for (half, expected) in [halves.as_ref().unwrap().0.clone(), halves.unwrap().1].iter().zip([first, second]) {
            assert_eq!(unpack(&half.body).unwrap(), expected.as_bytes());
            assert_eq!(half.points, count(expected));
        }
    }

    #[test]
    fn what_is_packed_is_what_is_unpacked() {
        let lines = "container_metrics,node=a cpu=1 1\n".repeat(1000);
        let packed = pack(lines.as_bytes(), 1000).unwrap();
        assert_eq!(unpack(&packed.body).unwrap(), lines.as_bytes());
        assert!(packed.body.len() < lines.len() / 20, "{} bytes", packed.body.len());
    }

    #[test]
    fn a_batch_is_split_between_lines_and_in_order() {
        check_split("a x=1\nb x=1\n", Some(("a x=1\n", "b x=1\n")));
        check_split("a x=1\nb x=1\nc x=1\n", Some(("a x=1\n", "b x=1\nc x=1\n")));
        check_split("a x=1\nb x=1\nc x=1\nd x=1\n", Some(("a x=1\nb x=1\n", "c x=1\nd x=1\n")));
    }

    #[test]
    fn a_single_line_has_no_halves() {
        check_split("a x=1\n", None);
        check_split("", None);
    }
}
