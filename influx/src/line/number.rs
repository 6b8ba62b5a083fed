//! Numbers as text, as the standard library's `Display` writes them, and several times faster for those that agents write.

use std::io::Write;

/// The digits of the largest `u64`.
const DIGITS_MAX: usize = 20;

/// Figures with at most two decimals below this are put together from integers. It is well below where an `f64` stops
/// telling hundredths apart.
const HUNDREDTHS_BELOW: f64 = 1e12;

/// Appends an integer.
pub(super) fn write_integer(bytes: &mut Vec<u8>, value: i64) {
    if value < 0 {
        bytes.push(b'-');
    }
    write_unsigned(bytes, value.unsigned_abs());
}

fn write_unsigned(bytes: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; DIGITS_MAX];
    let mut start = DIGITS_MAX;
    loop {
        start -= 1;
        digits[start] = digit(value % 10);
        value /= 10;
        if value == 0 {
            break;
        }
    }
    bytes.extend_from_slice(&digits[start..]);
}

fn digit(value: u64) -> u8 {
    // Below ten, as both callers see to.
    b'0' + u8::try_from(value).unwrap_or(0)
}

/// Appends a finite float, so that what is read back equals it.
pub(super) fn write_float(bytes: &mut Vec<u8>, value: f64) {
    match hundredths(value) {
        Some(hundredths) => {
            write_unsigned(bytes, hundredths / 100);
            let (tenth, hundredth) = (hundredths / 10 % 10, hundredths % 10);
            if tenth > 0 || hundredth > 0 {
                bytes.extend_from_slice(&[b'.', digit(tenth)]);
            }
            if hundredth > 0 {
                bytes.push(digit(hundredth));
            }
        }
        // Writing to memory cannot fail.
        None => drop(write!(bytes, "{value}")),
    }
}

/// The value as a whole number of hundredths, if it is one. Negative zero is not, since its sign would be lost.
fn hundredths(value: f64) -> Option<u64> {
    if value.is_sign_negative() || value >= HUNDREDTHS_BELOW {
        return None;
    }
    #[expect(clippy::cast_sign_loss, reason = "it is not negative, and below 2^53")]
    let hundredths = (value * 100.0).round() as u64;
    // The nearest float to that many hundredths is this one: reading the text back gives it again.
    (hundredths as f64 / 100.0 == value).then_some(hundredths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_float(value: f64) {
        let mut bytes = Vec::new();
        write_float(&mut bytes, value);
        assert_eq!(String::from_utf8(bytes).unwrap(), format!("{value}"));
    }

    #[test]
    fn floats_are_written_as_the_standard_library_does() {
        for value in [
            0.0,
            -0.0,
            0.01,
            0.1,
            0.5,
            1.0,
            12.3,
            12.34,
            99.99,
            100.0,
            1.005,
            1.0 / 3.0,
            1e11,
            1e12,
            1e300,
            -2.5,
            5e-324,
        ] {
            check_float(value);
        }
        for hundredths in (0..10_000_000_u32).step_by(7) {
            check_float(f64::from(hundredths) / 100.0);
        }
    }

    #[test]
    fn integers_are_written_as_the_standard_library_does() {
        for value in [0, 1, 9, 10, 99, 100, -1, i64::MAX, i64::MIN] {
            let mut bytes = Vec::new();
            write_integer(&mut bytes, value);
            assert_eq!(String::from_utf8(bytes).unwrap(), value.to_string());
        }
    }
}
