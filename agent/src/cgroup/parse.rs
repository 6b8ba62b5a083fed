//! The kernel's text formats, as pure functions over bytes.
//!
//! Each returns `None` for anything it does not fully understand: an empty or cut file, a word where a number should
//! be. Formats are those of the kernel's `Documentation/admin-guide/cgroup-v1` and `cgroup-v2.rst`.

use super::Limit;

/// Memory limits from here on mean "none" in cgroup v1, whose counter ends at `i64::MAX` rounded down to a page.
const V1_UNLIMITED_FROM: u64 = 1 << 62;

/// A file that holds one number and a line end.
pub fn number(text: &[u8]) -> Option<u64> {
    let digits = text.strip_suffix(b"\n")?;
    digits_only(digits)
}

fn digits_only(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// The number behind `key` in a file of `key value` lines. A last line without its end is not trusted.
pub fn field(text: &[u8], key: &str) -> Option<u64> {
    let whole = &text[..=text.iter().rposition(|byte| *byte == b'\n')?];
    whole.split(|byte| *byte == b'\n').find_map(|line| {
        let value = line.strip_prefix(key.as_bytes())?.strip_prefix(b" ")?;
        digits_only(value)
    })
}

/// `some avg10` of a `*.pressure` file: the share of the last ten seconds in which at least one task waited, in percent.
/// Format: the kernel's `Documentation/accounting/psi.rst`.
pub fn pressure_some_avg10(text: &[u8]) -> Option<f32> {
    let line = text.split(|byte| *byte == b'\n').next().filter(|line| line.len() < text.len())?;
    let mut words = line.split(|byte| *byte == b' ');
    if words.next()? != b"some" {
        return None;
    }
    let value = std::str::from_utf8(words.next()?.strip_prefix(b"avg10=")?).ok()?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, part) = value.split_once('.')?;
    let percent: f32 = (digits(whole) && digits(part)).then(|| value.parse().ok())??;
    (0.0..=100.0).contains(&percent).then_some(percent)
}

/// `memory.limit_in_bytes`.
pub fn v1_memory_limit(text: &[u8]) -> Option<Limit<u64>> {
    let bytes = number(text)?;
    Some(if bytes >= V1_UNLIMITED_FROM { Limit::Unlimited } else { Limit::At(bytes) })
}

/// `cpu.cfs_quota_us` over `cpu.cfs_period_us`, in cores.
pub fn v1_cpu_limit(quota: &[u8], period: &[u8]) -> Option<Limit<f64>> {
    if quota == b"-1\n" {
        return Some(Limit::Unlimited);
    }
    cores(number(quota)?, number(period)?)
}

/// `memory.max`.
pub fn v2_memory_limit(text: &[u8]) -> Option<Limit<u64>> {
    if text == b"max\n" { Some(Limit::Unlimited) } else { number(text).map(Limit::At) }
}

/// `cpu.max`: quota and period in one line, in cores.
pub fn v2_cpu_limit(text: &[u8]) -> Option<Limit<f64>> {
    let line = text.strip_suffix(b"\n")?;
    let space = line.iter().position(|byte| *byte == b' ')?;
    let (quota, period) = (&line[..space], digits_only(&line[space + 1..])?);
    if quota == b"max" { Some(Limit::Unlimited) } else { cores(digits_only(quota)?, period) }
}

fn cores(quota_us: u64, period_us: u64) -> Option<Limit<f64>> {
    (quota_us > 0 && period_us > 0).then(|| Limit::At(quota_us as f64 / period_us as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_is_the_ten_second_average_of_some() {
        let text = b"some avg10=12.50 avg60=1.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(pressure_some_avg10(text), Some(12.5));
        for wrong in [
            "",
            "some avg10=1.00",
            "some avg10=\n",
            "some avg10=x.y\n",
            "some avg10=-1.00 \n",
            "full avg10=1.00 \n",
            "some avg10=101.00 \n",
            "some avg10=inf \n",
        ] {
            assert_eq!(pressure_some_avg10(wrong.as_bytes()), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_number_is_digits_and_a_line_end_and_nothing_else() {
        assert_eq!(number(b"0\n"), Some(0));
        assert_eq!(number(b"18446744073709551615\n"), Some(u64::MAX));
        for wrong in ["", "\n", "12", "-1\n", "1 2\n", "max\n", "18446744073709551616\n", "12\0\n", " 12\n"] {
            assert_eq!(number(wrong.as_bytes()), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let stat = b"cache 10\ninactive_file 20\ntotal_inactive_file 30\nodd x\n";
        assert_eq!(field(stat, "inactive_file"), Some(20));
        assert_eq!(field(stat, "total_inactive_file"), Some(30));
        for absent in ["file", "inactive", "odd", "none", ""] {
            assert_eq!(field(stat, absent), None, "{absent:?}");
        }
    }

    #[test]
    fn a_cut_file_gives_no_half_number() {
        assert_eq!(field(b"usage_usec 123", "usage_usec"), None);
        assert_eq!(field(b"usage_usec 123\nuser_usec 45", "usage_usec"), Some(123));
        assert_eq!(field(b"", "usage_usec"), None);
    }

    #[test]
    fn unknown_memory_limit_is_not_unlimited() {
        assert_eq!(v1_memory_limit(b"9223372036854771712\n"), Some(Limit::Unlimited));
        assert_eq!(v1_memory_limit(b"104857600\n"), Some(Limit::At(104_857_600)));
        assert_eq!(v1_memory_limit(b""), None);
        assert_eq!(v2_memory_limit(b"max\n"), Some(Limit::Unlimited));
        assert_eq!(v2_memory_limit(b"104857600\n"), Some(Limit::At(104_857_600)));
        assert_eq!(v2_memory_limit(b"ma"), None);
    }

    #[test]
    fn a_cpu_limit_is_in_cores() {
        assert_eq!(v1_cpu_limit(b"-1\n", b"100000\n"), Some(Limit::Unlimited));
        assert_eq!(v1_cpu_limit(b"25000\n", b"100000\n"), Some(Limit::At(0.25)));
        assert_eq!(v1_cpu_limit(b"25000\n", b"0\n"), None);
        assert_eq!(v1_cpu_limit(b"", b"100000\n"), None);
        assert_eq!(v2_cpu_limit(b"max 100000\n"), Some(Limit::Unlimited));
        assert_eq!(v2_cpu_limit(b"150000 100000\n"), Some(Limit::At(1.5)));
        for wrong in ["max\n", "150000\n", "150000 0\n", "150000 100000", ""] {
            assert_eq!(v2_cpu_limit(wrong.as_bytes()), None, "{wrong:?}");
        }
    }
}
