//! Loading and attaching the kernel programs. With `traffic` the only place that knows aya.
//!
//! What is attached stays so for as long as the value here lives; the kernel takes it away when the agent ends, however
//! it ends.

use std::fmt;
use std::fs::File;
use std::path::Path;

use aya::maps::{HashMap, Map, MapData, MapError, MapType, RingBuf};
use aya::programs::cgroup_skb::CgroupSkbLink;
use aya::programs::links::LinkError;
use aya::programs::trace_point::TracePointLink;
use aya::programs::{CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, ProgramError, TracePoint};
use aya::{Ebpf, EbpfError, EbpfLoader, VerifierLogLevel};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use swarmguard_agent_ebpf_common::CONTAINERS_MAX;
use tokio::io::unix::AsyncFd;

use super::support::BpfCall;
use super::traffic::Traffic;

static NETWORK: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/network.o"));
static OOM: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/oom.o"));

/// A program could not be loaded or attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The object is not one that this kernel takes.
    #[error("the kernel does not take the program's maps")]
    Object(#[from] EbpfError),
    /// The kernel refused a program.
    #[error("the kernel refuses the program")]
    Program(#[from] ProgramError),
    /// A link could not be kept.
    #[error("the program cannot be kept attached")]
    Link(#[from] LinkError),
    /// A map is not as it should be.
    #[error("a map of the program cannot be used")]
    Map(#[from] MapError),
    /// A file or the shared memory could not be opened.
    #[error("{what}")]
    Open {
        /// What was done.
        what: String,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The object was built from other sources than this agent.
    #[error("the object has no {0}: build both together with cargo xtask build")]
    Missing(&'static str),
}

/// Whether this build has the programs.
pub fn are_built() -> bool {
    !NETWORK.is_empty() && !OOM.is_empty()
}

/// Whether the kernel lets this process make the simplest of maps.
pub fn try_call() -> BpfCall {
    match aya::sys::is_map_supported(MapType::Array) {
        Ok(true) => BpfCall::Allowed,
        Ok(false) => BpfCall::Refused("it does not know this call".to_owned()),
        Err(error) => BpfCall::Refused(error.io_error.to_string()),
    }
}

/// Counting of traffic, for as long as it lives.
#[derive(Debug)]
pub struct NetworkPrograms {
    /// The counters.
    pub traffic: Traffic,
    /// Whether TCP segments sent again are counted too.
    pub tcp_retransmits: bool,
    _links: [CgroupSkbLink; 2],
}

const INGRESS: &str = "ingress";
const EGRESS: &str = "egress";
const EGRESS_RETRANSMITS: &str = "egress_retransmits";

/// What the kernel has taken, attached to nothing yet.
struct Loaded {
    object: Ebpf,
    tcp_retransmits: TcpRetransmits,
    processors: u32,
}

/// Whether TCP segments sent again are counted, or why this kernel does not let a program.
pub type TcpRetransmits = Result<(), String>;

/// Whether this kernel takes the programs that count traffic. They are attached to nothing, and gone afterwards.
///
/// # Errors
/// When it does not.
pub fn try_network() -> Result<TcpRetransmits, AttachError> {
    load_network().map(|loaded| loaded.tcp_retransmits)
}

fn load_network() -> Result<Loaded, AttachError> {
    let processors = aya::util::nr_cpus().map_err(|(what, source)| AttachError::Open { what: what.into(), source })?;
    let processors = u32::try_from(processors).unwrap_or(u32::MAX);
    let mut loader = loader();
    loader.map_max_entries("TRAFFIC", CONTAINERS_MAX.saturating_mul(processors));
    let mut object = loader.load(NETWORK)?;
    cgroup_skb(&mut object, INGRESS)?.load()?;
    // The verifier of an old kernel does not let a program look at a socket; what it does let be counted still is.
    let tcp_retransmits = cgroup_skb(&mut object, EGRESS_RETRANSMITS)?.load();
    if tcp_retransmits.is_err() {
        cgroup_skb(&mut object, EGRESS)?.load()?;
    }
    Ok(Loaded { object, tcp_retransmits: tcp_retransmits.map_err(|error| error.to_string()), processors })
}

/// Loads the programs that count traffic and attaches them to the hierarchy mounted at `root`.
///
/// # Errors
/// When the kernel does not take them.
pub fn attach_network(root: &Path) -> Result<NetworkPrograms, AttachError> {
    let open = |what: String| move |source| AttachError::Open { what, source };
    let cgroup = File::open(root).map_err(open(format!("opening {}", root.display())))?;
    let Loaded { mut object, tcp_retransmits, processors } = load_network()?;
    if let Err(reason) = &tcp_retransmits {
        tracing::info!(reason, "TCP segments sent again are not counted");
    }
    let tcp_retransmits = tcp_retransmits.is_ok();
    let egress = if tcp_retransmits { EGRESS_RETRANSMITS } else { EGRESS };
    let ingress = attach(&mut object, INGRESS, &cgroup, CgroupSkbAttachType::Ingress)?;
    let egress = attach(&mut object, egress, &cgroup, CgroupSkbAttachType::Egress)?;
    let containers = HashMap::try_from(map(&mut object, "CONTAINERS")?)?;
    let levels = aya::maps::Array::try_from(map(&mut object, "LEVELS")?)?;
    let Map::Array(counters) = map(&mut object, "TRAFFIC")? else { return Err(AttachError::Missing("TRAFFIC")) };
    let traffic = Traffic::map(counters, processors, containers, levels).map_err(open("mapping counters".into()))?;
    Ok(NetworkPrograms { traffic, tcp_retransmits, _links: [ingress, egress] })
}

/// Kills for lack of memory as they happen, for as long as it lives.
pub struct OomProgram {
    kills: AsyncFd<RingBuf<MapData>>,
    _link: TracePointLink,
}

/// Loads the program that tells of kills, and attaches it.
///
/// # Errors
/// When the kernel does not take it. Must be called inside a runtime.
pub fn attach_oom() -> Result<OomProgram, AttachError> {
    let mut object = load_oom()?;
    let program = oom_kill(&mut object)?;
    let link = program.attach("oom", "mark_victim")?;
    let link = program.take_link(link)?;
    let kills = RingBuf::try_from(map(&mut object, "OOM_KILLS")?)?;
    #[expect(unsafe_code, reason = "the ring buffer is a descriptor that the runtime waits for")]
    // SAFETY: the ring buffer owns its descriptor and gives out the same one until it is dropped.
    let kills = unsafe { AsyncFd::register(kills) };
    let kills =
        kills.map_err(|error| AttachError::Open { what: "waiting for kills".to_owned(), source: error.into() })?;
    Ok(OomProgram { kills, _link: link })
}

/// Whether this kernel takes the program that tells of kills. It is attached to nothing, and gone afterwards.
///
/// # Errors
/// When it does not.
pub fn try_oom() -> Result<(), AttachError> {
    load_oom().map(|_| ())
}

fn load_oom() -> Result<Ebpf, AttachError> {
    let mut object = loader().load(OOM)?;
    oom_kill(&mut object)?.load()?;
    Ok(object)
}

fn oom_kill(object: &mut Ebpf) -> Result<&mut TracePoint, AttachError> {
    Ok(object.program_mut("oom_kill").ok_or(AttachError::Missing("oom_kill"))?.try_into()?)
}

impl fmt::Debug for OomProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OomProgram").finish_non_exhaustive()
    }
}

impl OomProgram {
    /// Resolves when processes have been killed since it last did. Cancelling it loses nothing.
    pub async fn killed(&mut self) {
        let Ok(mut ready) = self.kills.readable_mut().await else {
            // The runtime is ending.
            return std::future::pending().await;
        };
        while ready.get_inner_mut().next().is_some() {}
        ready.clear_ready();
    }
}

fn attach(
    object: &mut Ebpf,
    name: &'static str,
    cgroup: &File,
    direction: CgroupSkbAttachType,
) -> Result<CgroupSkbLink, AttachError> {
    let program = cgroup_skb(object, name)?;
    // A link of its own, which never replaces or excludes what others have attached.
    let link = program.attach(cgroup, direction, CgroupAttachMode::Single)?;
    Ok(program.take_link(link)?)
}

fn cgroup_skb<'a>(object: &'a mut Ebpf, name: &'static str) -> Result<&'a mut CgroupSkb, AttachError> {
    Ok(object.program_mut(name).ok_or(AttachError::Missing(name))?.try_into()?)
}

fn map(object: &mut Ebpf, name: &'static str) -> Result<Map, AttachError> {
    object.take_map(name).ok_or(AttachError::Missing(name))
}

/// A loader that has not read the kernel's BTF, which these programs do not need. `EbpfLoader::new` reads and parses all
/// of it before it can be told not to, 13 MiB at the peak; for that moment this process may open no file.
fn loader() -> EbpfLoader<'static> {
    let kept = getrlimit(Resource::Nofile);
    let none = Rlimit { current: Some(0), maximum: kept.maximum };
    let limited = setrlimit(Resource::Nofile, none).is_ok();
    let mut loader = EbpfLoader::new();
    if limited && setrlimit(Resource::Nofile, kept).is_err() {
        tracing::warn!("the limit of open files cannot be put back: no further container can be sampled");
    }
    loader.btf(None).verifier_log_level(VerifierLogLevel::DEBUG);
    loader
}
