//! Debian's kernel and busybox of an architecture, fetched once and kept.
//!
//! They are not installed, only unpacked into a folder of our own: the kernel of another architecture, or another kernel
//! in the boot menu, is nothing to leave on a user's machine. To get a newer kernel, remove the folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::arch::Arch;
use crate::command::run;

/// Below it is a folder for each architecture.
const CACHE: &str = "/var/cache/swarmguard-lab/machines";

const KERNEL: &str = "vmlinuz";
const BUSYBOX: &str = "busybox";
const MODULES: &str = "modules";

/// The unpacked files.
#[derive(Debug)]
pub(super) struct Packages {
    folder: PathBuf,
}

impl Packages {
    /// Where they are, fetched if need be.
    pub(super) fn of(arch: Arch) -> Result<Self> {
        if !Self::are_there(arch) {
            fetch(arch).with_context(|| {
                format!("fetching a kernel for an emulated {} machine; as root: cargo xtask setup", arch.debian())
            })?;
        }
        Ok(Self { folder: folder(arch) })
    }

    pub(super) fn are_there(arch: Arch) -> bool {
        folder(arch).is_dir()
    }

    pub(super) fn kernel(&self) -> PathBuf {
        self.folder.join(KERNEL)
    }

    pub(super) fn busybox(&self) -> PathBuf {
        self.folder.join(BUSYBOX)
    }

    /// The modules, in folders.
    pub(super) fn modules(&self) -> PathBuf {
        self.folder.join(MODULES)
    }
}

fn folder(arch: Arch) -> PathBuf {
    Path::new(CACHE).join(arch.debian())
}

/// Everything is made in another folder, which gets its name when it is whole.
fn fetch(arch: Arch) -> Result<()> {
    let part = Path::new(CACHE).join(format!("{}.part", arch.debian()));
    fs::create_dir_all(CACHE).with_context(|| format!("making {CACHE}"))?;
    let lock = part.with_extension("lock");
    let lock = File::create(&lock).with_context(|| format!("opening {}", lock.display()))?;
    lock.lock().context("waiting for another one who fetches the same")?;
    if Packages::are_there(arch) {
        return Ok(());
    }
    // The lock is ours: what is there was left by somebody who was interrupted.
    if part.exists() {
        fs::remove_dir_all(&part).with_context(|| format!("removing {}", part.display()))?;
    }
    let (unpacked, whole) = (part.join("unpacked"), part.join("whole"));
    for path in [&unpacked, &whole] {
        fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))?;
    }
    download(arch, &part)?;
    for package in files(&part)?.iter().filter(|path| path.extension().is_some_and(|extension| extension == "deb")) {
        run("dpkg-deb", &["--extract", text(package)?, text(&unpacked)?])?;
    }
    pick(&unpacked, &whole)?;
    fs::rename(&whole, folder(arch)).with_context(|| format!("renaming {}", whole.display()))?;
    fs::remove_dir_all(&part).with_context(|| format!("removing {}", part.display()))
}

fn download(arch: Arch, to: &Path) -> Result<()> {
    let debian = arch.debian();
    let foreign = run("dpkg", &["--print-foreign-architectures"])?;
    ensure!(
        run("dpkg", &["--print-architecture"])?.trim() == debian || foreign.lines().any(|line| line == debian),
        "apt does not know the packages of {debian}: dpkg --add-architecture {debian} && apt-get update"
    );
    let depends = run("apt-cache", &["depends", &format!("linux-image-cloud-{debian}:{debian}")])?;
    let kernel = kernel_package(&depends).with_context(|| format!("no kernel package is named in {depends:?}"))?;
    let packages = [format!("{kernel}:{debian}"), format!("busybox-static:{debian}")];
    // It downloads into the folder it is started in.
    let folder = format!("--chdir={}", text(to)?);
    run("env", &[&folder, "apt-get", "download", "--quiet", &packages[0], &packages[1]])
        .map(drop)
        .context("are apt's lists too old? apt-get update")
}

/// The package that the one without a version depends on.
fn kernel_package(depends: &str) -> Option<&str> {
    let name = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: "))?;
    Some(name.split_once(':').map_or(name, |(name, _)| name))
}

/// Takes what is needed out of the unpacked packages.
fn pick(unpacked: &Path, to: &Path) -> Result<()> {
    let take = |from: &Path, name: &str| {
        fs::rename(from, to.join(name)).with_context(|| format!("taking {} from the packages", from.display()))
    };
    take(&only(&unpacked.join("boot"), "vmlinuz-")?, KERNEL)?;
    take(&only(&unpacked.join("lib/modules"), "")?.join("kernel"), MODULES)?;
    take(&unpacked.join("bin/busybox"), BUSYBOX)
}

/// The only file or folder whose name begins like this.
fn only(folder: &Path, beginning: &str) -> Result<PathBuf> {
    let mut found = files(folder)?;
    found.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(beginning)));
    match found.as_slice() {
        [path] => Ok(path.clone()),
        others => bail!("{} has {} of {beginning}*, expected one", folder.display(), others.len()),
    }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>().context("reading a folder")
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not text", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_package_is_what_the_one_without_a_version_depends_on() {
        let own = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-9-cloud-amd64\n";
        assert_eq!(kernel_package(own), Some("linux-image-6.1.0-9-cloud-amd64"));
        let foreign = "linux-image-cloud-arm64:arm64\n  Depends: linux-image-6.1.0-9-cloud-arm64:arm64\n";
        assert_eq!(kernel_package(foreign), Some("linux-image-6.1.0-9-cloud-arm64"));
        assert_eq!(kernel_package("linux-image-cloud-amd64\n"), None);
    }
}
