//! The containers' traffic counters, which the kernel shares with the agent as memory.
//!
//! A read is a look at memory, not a system call, and costs the same whatever the number of containers. The memory has
//! a place for each container, and in it one [`swarmguard_agent_ebpf_common::Traffic`] for each processor. Counters
//! never go back: a place that is given to another container keeps them, and the container begins at what is there.
//!
//! The kernel counts memory that is mapped as the agent's, so no more blocks of places are mapped than are needed: all of
//! them would be 8 MiB on a server with 64 processors.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::ptr::NonNull;

use aya::maps::{Array, HashMap, MapData};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use swarmguard_agent_ebpf_common::{CONTAINERS_MAX, LEVELS_MAX, Traffic as Counted};

use crate::network::Counters;

/// A container's place among the counters; give it back with [`Traffic::leave`].
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    cgroup: u64,
    level: u32,
    number: u32,
    /// What was counted for earlier containers of this place.
    before: Counters,
}

/// Why a container's traffic is not counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnterError {
    /// There are more containers than places.
    #[error("the traffic of {CONTAINERS_MAX} containers is counted already, which is the maximum")]
    Full,
    /// The cgroup is deeper than the programs look.
    #[error("its cgroup is {level} levels below the root: fewer than {LEVELS_MAX} are looked at")]
    Deep {
        /// How deep.
        level: u32,
    },
    /// The cgroup is the hierarchy's root, whose traffic is everybody's.
    #[error("it is in the root of cgroup v2, with everybody else")]
    Root,
    /// The cgroup of v2 is not the container's own.
    #[error("it has no cgroup of its own in cgroup v2, beside those in v1")]
    Shared,
    /// More counters could not be mapped.
    #[error("the counters cannot be mapped: {0}")]
    Unmapped(String),
    /// The kernel refused the entry.
    #[error("the kernel refuses the entry: {0}")]
    Refused(String),
}

/// All counters, and which container has which place.
pub struct Traffic {
    map: MapData,
    /// Of `block_places` places each.
    blocks: Vec<Mapped>,
    /// So many that they are whole pages, whatever the number of processors.
    block_places: u32,
    processors: u32,
    containers: HashMap<MapData, u64, u32>,
    levels: Array<MapData, u32>,
    /// How many containers are at each level.
    at_level: [u32; LEVELS_MAX as usize],
    /// The place that has been free for longest is given away next, so that a program that still counts for the one
    /// that has left counts for nobody.
    free: VecDeque<u32>,
}

/// With fewer free places another block is mapped, so that one that was left is not given away again at once.
const FREE_MIN: usize = 16;

impl fmt::Debug for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traffic").field("entered", &self.entered()).finish_non_exhaustive()
    }
}

impl Traffic {
    /// Takes the counters of `map`, [`CONTAINERS_MAX`] times `processors` of them.
    ///
    /// # Errors
    /// The system's, when they cannot be mapped.
    pub fn map(
        map: MapData,
        processors: u32,
        containers: HashMap<MapData, u64, u32>,
        levels: Array<MapData, u32>,
    ) -> io::Result<Self> {
        let at_level = [0; LEVELS_MAX as usize];
        let per_page = rustix::param::page_size() / size_of::<Counted>();
        let mut traffic = Self {
            map,
            blocks: Vec::new(),
            block_places: u32::try_from(per_page).unwrap_or(CONTAINERS_MAX).min(CONTAINERS_MAX),
            processors,
            containers,
            levels,
            at_level,
            free: VecDeque::new(),
        };
        traffic.add_block()?;
        Ok(traffic)
    }

    fn add_block(&mut self) -> io::Result<()> {
        let first = u32::try_from(self.blocks.len()).unwrap_or(u32::MAX).saturating_mul(self.block_places);
        let count = self.block_places as usize * self.processors as usize;
        self.blocks.push(Mapped::new(self.map.fd().as_fd(), self.blocks.len(), count)?);
        self.free.extend(first..first + self.block_places);
        Ok(())
    }

    /// Counts a cgroup and all below it from now on. `level` is how far below the hierarchy's root it is.
    ///
    /// # Errors
    /// When there is no place; see [`EnterError`].
    pub fn enter(&mut self, cgroup: u64, level: u32) -> Result<Place, EnterError> {
        let refused = |error: aya::maps::MapError| EnterError::Refused(error.to_string());
        let known = *self.at_level.get(level as usize).ok_or(EnterError::Deep { level })?;
        if level == 0 {
            return Err(EnterError::Root);
        }
        let blocks_max = (CONTAINERS_MAX / self.block_places) as usize;
        if self.free.len() < FREE_MIN
            && self.blocks.len() < blocks_max
            && let Err(error) = self.add_block()
            && self.free.is_empty()
        {
            return Err(EnterError::Unmapped(error.to_string()));
        }
        let number = *self.free.front().ok_or(EnterError::Full)?;
        if known == 0 {
            self.levels.set(0, self.level_bits() | 1 << level, 0).map_err(refused)?;
        }
        let place = Place { cgroup, level, number, before: self.sum(number) };
        self.containers.insert(cgroup, number * self.processors, 0).map_err(refused)?;
        self.free.pop_front();
        self.at_level[level as usize] += 1;
        Ok(place)
    }

    /// Counts it no longer, and frees its place.
    pub fn leave(&mut self, place: Place) {
        // It can only be missing, which is as good.
        let _ = self.containers.remove(&place.cgroup);
        self.free.push_back(place.number);
        let known = &mut self.at_level[place.level as usize];
        *known -= 1;
        if *known == 0 {
            // A level too many only costs packets of no container a look-up.
            let _ = self.levels.set(0, self.level_bits(), 0);
        }
    }

    /// What was counted for a container since it was entered. `tcp_retransmits` says whether those are counted.
    pub fn read(&self, place: &Place, tcp_retransmits: bool) -> Counters {
        let (now, before) = (self.sum(place.number), place.before);
        Counters {
            rx_bytes: now.rx_bytes.wrapping_sub(before.rx_bytes),
            tx_bytes: now.tx_bytes.wrapping_sub(before.tx_bytes),
            rx_packets: now.rx_packets.wrapping_sub(before.rx_packets),
            tx_packets: now.tx_packets.wrapping_sub(before.tx_packets),
            tcp_retransmits: now
                .tcp_retransmits
                .zip(before.tcp_retransmits)
                .map(|(now, before)| now.wrapping_sub(before))
                .filter(|_| tcp_retransmits),
        }
    }

    /// How many containers are counted.
    pub fn entered(&self) -> usize {
        self.blocks.len() * self.block_places as usize - self.free.len()
    }

    /// How many entries the kernel's map has: as many as [`Self::entered`], or something is wrong.
    pub fn entries_in_kernel(&self) -> usize {
        self.containers.keys().count()
    }

    fn level_bits(&self) -> u32 {
        (0..LEVELS_MAX).filter(|level| self.at_level[*level as usize] > 0).fold(0, |bits, level| bits | 1 << level)
    }

    fn sum(&self, number: u32) -> Counters {
        use std::sync::atomic::Ordering::Relaxed;
        let block = &self.blocks[(number / self.block_places) as usize];
        let first = (number % self.block_places) as usize * self.processors as usize;
        let mut sum = Counters { tcp_retransmits: Some(0), ..Counters::default() };
        for counted in &block.all()[first..first + self.processors as usize] {
            sum.rx_bytes = sum.rx_bytes.wrapping_add(counted.rx_bytes.load(Relaxed));
            sum.tx_bytes = sum.tx_bytes.wrapping_add(counted.tx_bytes.load(Relaxed));
            sum.rx_packets = sum.rx_packets.wrapping_add(counted.rx_packets.load(Relaxed));
            sum.tx_packets = sum.tx_packets.wrapping_add(counted.tx_packets.load(Relaxed));
            let more = counted.tcp_retransmits.load(Relaxed);
            sum.tcp_retransmits = sum.tcp_retransmits.map(|sum| sum.wrapping_add(more));
        }
        sum
    }
}

/// A block of the kernel's array as memory, read only.
#[derive(Debug)]
struct Mapped {
    start: NonNull<Counted>,
    count: usize,
}

impl Mapped {
    #[expect(unsafe_code, reason = "the kernel's memory becomes records here")]
    fn new(map: std::os::fd::BorrowedFd<'_>, block: usize, count: usize) -> io::Result<Self> {
        let bytes = count * size_of::<Counted>();
        let offset = (block * bytes) as u64;
        // SAFETY: a new mapping, where the kernel wants it, over nothing of ours.
        let start = unsafe { mmap(std::ptr::null_mut(), bytes, ProtFlags::READ, MapFlags::SHARED, map, offset) }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { start, count })
    }

    #[expect(unsafe_code, reason = "the kernel's memory becomes records here")]
    fn all(&self) -> &[Counted] {
        // SAFETY: `count` records are mapped, page-aligned, until drop; their members are atomic, so that the kernel may
        // change them meanwhile, and any bytes are one.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }
}

impl Drop for Mapped {
    #[expect(unsafe_code, reason = "gives back what `new` mapped")]
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length, and borrowed by nobody any more.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.count * size_of::<Counted>()) };
    }
}
