//! Reading `/proc/self/mountinfo`: what is mounted where.
//!
//! Format: proc(5). Only the mount point and the file system's type matter here.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) point: PathBuf,
    pub(crate) fs_type: String,
}

pub(crate) fn read() -> Result<Vec<Mount>> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    Ok(parse(&text))
}

/// Lines that are not understood are left out: the kernel may add kinds that are none of ours.
pub(crate) fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(parse_line).collect()
}

/// `36 35 98:0 /root /mount/point rw,noatime master:1 - ext4 /dev/sda1 rw`; the optional fields end at the dash.
fn parse_line(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let point = before.split(' ').nth(4)?;
    let fs_type = after.split(' ').next()?;
    Some(Mount { point: PathBuf::from(unescape(point)), fs_type: fs_type.to_owned() })
}

/// Blank, tab, newline and backslash are written as a backslash and three octal digits.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let digits = rest.get(at + 1..at + 4);
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(char::from(byte));
                rest = &rest[at + 4..];
            }
            None => {
                out.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    out + rest
}

/// Mount points at or below `dir`, those mounted last first: the order in which they can be unmounted.
pub(crate) fn below(mounts: &[Mount], dir: &Path) -> Vec<PathBuf> {
    mounts.iter().rev().filter(|mount| mount.point.starts_with(dir)).map(|mount| mount.point.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
24 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 24 0:26 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
40 24 0:33 / /var/lib/x/lab/data rw,relatime shared:2 master:3 - overlay overlay rw,lowerdir=/a
41 40 0:34 / /var/lib/x/lab/data/a\\040b rw,relatime - tmpfs tmpfs rw
42 24 0:35 / /var/lib/x/lab2 rw,relatime - tmpfs tmpfs rw
";

    #[test]
    fn mount_points_and_types_are_found_whatever_the_optional_fields() {
        let mounts = parse(TEXT);
        let types: Vec<_> = mounts.iter().map(|mount| mount.fs_type.as_str()).collect();
        assert_eq!(types, ["ext4", "cgroup2", "overlay", "tmpfs", "tmpfs"]);
        assert_eq!(mounts[3].point, Path::new("/var/lib/x/lab/data/a b"));
    }

    #[test]
    fn the_deepest_mount_comes_first_and_neighbours_are_left_out() {
        let found = below(&parse(TEXT), Path::new("/var/lib/x/lab"));
        assert_eq!(found, [Path::new("/var/lib/x/lab/data/a b"), Path::new("/var/lib/x/lab/data")]);
    }

    #[test]
    fn a_line_that_is_not_understood_is_left_out() {
        assert_eq!(parse("garbage\n1 2 3\n"), []);
        assert_eq!(unescape("a\\0z\\"), "a\\0z\\");
    }
}
