//! The machine's file system: a cpio archive in the kernel's "newc" format, in memory.
//!
//! Not compressed: what is saved by reading less is lost by unpacking it on an emulated processor.

use std::fs::File;
use std::io::{BufWriter, Seek, Write};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{MemfdFlags, memfd_create};

const FOLDER_MODE: u32 = 0o040_755;
const FILE_MODE: u32 = 0o100_755;

/// The name by which the kernel knows the end.
const TRAILER: &str = "TRAILER!!!";

/// Names and contents begin at multiples of this.
const ALIGNMENT: usize = 4;

/// An archive being written.
#[derive(Debug)]
pub(super) struct Initrd<W: Write> {
    to: W,
    files: u32,
}

impl Initrd<BufWriter<File>> {
    pub(super) fn new() -> Result<Self> {
        let memory = memfd_create("initrd", MemfdFlags::CLOEXEC).context("getting memory for the machine's files")?;
        Ok(Self { to: BufWriter::new(File::from(memory)), files: 0 })
    }

    /// The whole archive, to be read from its beginning.
    pub(super) fn finish(mut self) -> Result<File> {
        self.entry(TRAILER, 0, &[])?;
        let mut file = self.to.into_inner().map_err(|error| error.into_error()).context("writing the initrd")?;
        file.rewind().context("rewinding the initrd")?;
        Ok(file)
    }
}

impl<W: Write> Initrd<W> {
    pub(super) fn folder(&mut self, path: &str) -> Result<()> {
        self.entry(path, FOLDER_MODE, &[])
    }

    pub(super) fn copy(&mut self, source: &Path, target: &str) -> Result<()> {
        let content = std::fs::read(source).with_context(|| format!("reading {}", source.display()))?;
        self.file(target, &content)
    }

    /// A file that can be run.
    pub(super) fn file(&mut self, path: &str, content: &[u8]) -> Result<()> {
        self.entry(path, FILE_MODE, content)
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        let path = path.trim_start_matches('/');
        let size = u32::try_from(content.len()).with_context(|| format!("{path} is too large for an initrd"))?;
        self.files += 1;
        let name_size = u32::try_from(path.len() + 1).context("a path is too long for an initrd")?;
        // Inode, mode, user, group, links, time, size, four numbers of devices, length of the name, checksum.
        let fields = [self.files, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        let mut header = String::from("070701");
        header.extend(fields.map(|field| format!("{field:08X}")));
        let written = header.len() + path.len() + 1;
        self.to
            .write_all(header.as_bytes())
            .and_then(|()| self.to.write_all(path.as_bytes()))
            .and_then(|()| self.to.write_all(&[0]))
            .and_then(|()| self.pad(written))
            .and_then(|()| self.to.write_all(content))
            .and_then(|()| self.pad(content.len()))
            .with_context(|| format!("writing {path} to the initrd"))
    }

    fn pad(&mut self, written: usize) -> std::io::Result<()> {
        self.to.write_all(&[0; ALIGNMENT][..written.next_multiple_of(ALIGNMENT) - written])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_contents_are_aligned_whatever_their_length() {
        for path in ["a", "ab", "abc", "abcd", "abcde"] {
            for content in [&b""[..], b"1", b"12", b"123", b"1234"] {
                let mut initrd = Initrd { to: Vec::new(), files: 0 };
                initrd.file(path, content).unwrap();
                let bytes = initrd.to;
                assert_eq!(bytes.len() % ALIGNMENT, 0, "{path} with {} bytes", content.len());
                let name_end = 110 + path.len();
                assert_eq!(&bytes[110..name_end], path.as_bytes());
                let begin = (name_end + 1).next_multiple_of(ALIGNMENT);
                assert_eq!(&bytes[begin..begin + content.len()], content);
            }
        }
    }

    #[test]
    fn a_leading_slash_is_not_part_of_a_name() {
        let mut initrd = Initrd { to: Vec::new(), files: 0 };
        initrd.folder("/bin").unwrap();
        assert_eq!(&initrd.to[110..114], b"bin\0");
    }
}
