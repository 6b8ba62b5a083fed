//! Tells the agent of every process that is killed for lack of memory, at the moment it happens.
//!
//! Attached to the tracepoint `oom:mark_victim`. It only wakes the agent: the kernel has counted the kill for the
//! cgroup before it comes here, so the agent reads there which container it was.

#![no_std]
#![no_main]

use aya_ebpf::macros::{map, tracepoint};
use aya_ebpf::maps::RingBuf;
use aya_ebpf::programs::TracePointContext;
use swarmguard_agent_ebpf_common::OomKill;

/// One page. When it is full, the agent has enough reason to look already.
#[map]
static OOM_KILLS: RingBuf = RingBuf::with_byte_size(4096, 0);

/// Where `pid` is in the tracepoint's record, after the eight bytes that all records begin with.
const PID_OFFSET: usize = 8;

#[tracepoint]
fn oom_kill(context: TracePointContext) -> u32 {
    // SAFETY: the record of this tracepoint has had its `pid` there since the tracepoint exists (Linux 4.14).
    let pid = unsafe { context.read_at::<u32>(PID_OFFSET) };
    if let Ok(pid) = pid {
        let _ = OOM_KILLS.output::<OomKill>(OomKill { pid }, 0);
    }
    0
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
