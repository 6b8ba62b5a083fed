//! What is attached to the kernel's hook for packets, changed within milliseconds.
//!
//! A benchmark that waits for an agent to start and to end compares seconds that lie far apart. So it borrows the
//! agent's programs, and attaches and detaches them itself, with the few calls of `bpf(2)` that this takes.

use std::cell::UnsafeCell;
use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use anyhow::{Context, Result, ensure};

use super::cgroups;

/// Commands of `enum bpf_cmd`, types of `enum bpf_prog_type` and `enum bpf_attach_type`, in `linux/bpf.h`.
const MAP_GET_NEXT_KEY: u32 = 4;
const PROG_LOAD: u32 = 5;
const PROG_GET_FD_BY_ID: u32 = 13;
const MAP_GET_FD_BY_ID: u32 = 14;
const LINK_CREATE: u32 = 28;
const LINK_GET_FD_BY_ID: u32 = 30;
const LINK_DETACH: u32 = 34;
const CGROUP_SKB: u32 = 8;
const MAP_HASH: u64 = 1;
const INGRESS: u32 = 0;
const EGRESS: u32 = 1;

/// `r0 = 1; exit`: the packet passes.
const PASS: [u64; 2] = [0x0000_0001_0000_00b7, 0x0000_0000_0000_0095];

/// The beginning of a `union bpf_attr`: all that these commands take. The kernel takes the rest for zero.
#[repr(C, align(8))]
struct Attributes<'a>([u8; 128], PhantomData<&'a ()>);

impl<'a> Attributes<'a> {
    fn new() -> Self {
        Self([0; 128], PhantomData)
    }

    /// Four bytes at an offset of the `union bpf_attr`.
    fn u32(mut self, offset: usize, value: u32) -> Self {
        self.0[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    /// The address of what the kernel reads.
    fn input<T: ?Sized>(mut self, offset: usize, from: &'a T) -> Self {
        let address = std::ptr::from_ref(from).cast::<u8>() as u64;
        self.0[offset..offset + 8].copy_from_slice(&address.to_ne_bytes());
        self
    }

    /// The address of what the kernel writes.
    fn output(self, offset: usize, to: &'a UnsafeCell<u64>) -> Self {
        self.input(offset, to)
    }

    fn descriptor(self, offset: usize, of: &impl AsRawFd) -> Self {
        self.u32(offset, of.as_raw_fd().cast_unsigned())
    }

    #[expect(unsafe_code, reason = "bpf(2) has no safe wrapper")]
    fn call(&self, command: u32) -> io::Result<RawFd> {
        // SAFETY: the kernel reads the bytes, which are there; all addresses in them are those of values that outlive
        // `self`, and of these the kernel writes only what `output` was given.
        let done = unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_ptr(), self.0.len()) };
        RawFd::try_from(done).ok().filter(|done| *done >= 0).ok_or_else(io::Error::last_os_error)
    }

    #[expect(unsafe_code, reason = "bpf(2) has no safe wrapper")]
    fn open(&self, command: u32) -> io::Result<OwnedFd> {
        // SAFETY: these commands give a new descriptor, which nobody else owns.
        self.call(command).map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) })
    }
}

/// One program for each direction.
#[derive(Debug)]
pub(super) struct Programs {
    ingress: OwnedFd,
    egress: OwnedFd,
    cgroup: File,
}

/// For as long as it lives, the programs run for each packet.
#[derive(Debug)]
pub(super) struct Attached {
    _links: [OwnedFd; 2],
}

impl Programs {
    /// Programs that do nothing: what the hook itself costs, whatever is attached.
    pub(super) fn empty() -> Result<Self> {
        let load = |direction| {
            let attributes = Attributes::new()
                .u32(0, CGROUP_SKB)
                .u32(4, PASS.len() as u32)
                .input(8, &PASS)
                .input(16, c"GPL".to_bytes_with_nul())
                .u32(68, direction);
            attributes.open(PROG_LOAD).context("the kernel refuses an empty program")
        };
        Ok(Self { ingress: load(INGRESS)?, egress: load(EGRESS)?, cgroup: root()? })
    }

    /// Those of an agent that runs, which then are attached no longer; it keeps the maps.
    pub(super) fn of_agent(pid: u32) -> Result<Self> {
        let mut programs = [None, None];
        for link in objects(pid, "link_id")? {
            let Some(direction) = link.get("attach_type").and_then(|direction| usize::try_from(direction).ok()) else {
                continue;
            };
            let (Some(place), Some(program)) = (programs.get_mut(direction), link.get("prog_id")) else { continue };
            *place = Some(by_id(PROG_GET_FD_BY_ID, program)?);
            let link = by_id(LINK_GET_FD_BY_ID, link.get("link_id").unwrap_or_default())?;
            Attributes::new().descriptor(0, &link).call(LINK_DETACH).context("detaching the agent's program")?;
        }
        let [Some(ingress), Some(egress)] = programs else { anyhow::bail!("the agent has attached no programs") };
        Ok(Self { ingress, egress, cgroup: root()? })
    }

    pub(super) fn attach(&self) -> Result<Attached> {
        let link = |program: &OwnedFd, direction| {
            let attributes = Attributes::new().descriptor(0, program).descriptor(4, &self.cgroup).u32(8, direction);
            attributes.open(LINK_CREATE).context("attaching a program")
        };
        Ok(Attached { _links: [link(&self.ingress, INGRESS)?, link(&self.egress, EGRESS)?] })
    }
}

/// How many cgroups an agent has its programs count: the keys of its one hash map.
pub(super) fn counted_cgroups(pid: u32) -> Result<usize> {
    let maps = objects(pid, "map_id")?;
    let Some(id) = maps.iter().find(|map| map.get("map_type") == Some(MAP_HASH)).and_then(|map| map.get("map_id"))
    else {
        return Ok(0);
    };
    let map = by_id(MAP_GET_FD_BY_ID, id)?;
    let mut key = None;
    let mut count = 0;
    while let Some(next) = next_key(&map, key) {
        (key, count) = (Some(next), count + 1);
    }
    Ok(count)
}

fn next_key(map: &OwnedFd, key: Option<u64>) -> Option<u64> {
    let next = UnsafeCell::new(0_u64);
    let attributes = Attributes::new().descriptor(0, map).output(16, &next);
    let attributes = match &key {
        Some(key) => attributes.input(8, key),
        None => attributes,
    };
    let found = attributes.call(MAP_GET_NEXT_KEY).is_ok();
    found.then(|| next.into_inner())
}

/// The root of the cgroup v2 hierarchy, to which the agent attaches too.
fn root() -> Result<File> {
    let path = cgroups::v2_root().context("no cgroup v2 hierarchy is mounted")?;
    File::open(&path).with_context(|| format!("opening {}", path.display()))
}

fn by_id(command: u32, id: u64) -> Result<OwnedFd> {
    let id = u32::try_from(id)?;
    Attributes::new().u32(0, id).open(command).context("the kernel gives no descriptor of what the agent has loaded")
}

/// What the kernel tells of a descriptor: `key:` and a number on each line.
struct Object(String);

impl Object {
    fn get(&self, key: &str) -> Option<u64> {
        let line = self.0.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.trim().parse().ok()
    }
}

/// Those open descriptors of a process of which the kernel tells `key`.
fn objects(pid: u32, key: &str) -> Result<Vec<Object>> {
    let folder = format!("/proc/{pid}/fdinfo");
    let entries = std::fs::read_dir(&folder).with_context(|| format!("process {pid} has ended"))?;
    let texts = entries.flatten().filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
    let objects: Vec<Object> = texts.map(Object).filter(|object| object.get(key).is_some()).collect();
    ensure!(!objects.is_empty(), "the agent has loaded no programs");
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_tells_its_program_and_its_direction() {
        let link = Object("pos:\t0\nlink_type:\tcgroup\nlink_id:\t7\nprog_id:\t42\nattach_type:\t1\n".to_owned());
        assert_eq!((link.get("prog_id"), link.get("attach_type"), link.get("link_type")), (Some(42), Some(1), None));
    }

    #[test]
    fn attributes_lie_where_the_kernel_looks() {
        let pass = PASS;
        let attributes = Attributes::new().u32(8, 0x0403_0201).input(16, &pass);
        assert_eq!(u32::from_ne_bytes(attributes.0[8..12].try_into().unwrap()), 0x0403_0201);
        assert_eq!(u64::from_ne_bytes(attributes.0[16..24].try_into().unwrap()), pass.as_ptr() as u64);
    }
}
