//! Counts each container's traffic: bytes and packets, received and sent, and TCP segments sent again.
//!
//! Attached once to the root of the cgroup v2 hierarchy. There the kernel runs `cgroup_skb` programs for each packet
//! that a socket on this node sends or is about to receive, whatever network namespace it is in; so host-network
//! containers count like all others, and forwarded packets do not count twice.
//!
//! Only the stable `__sk_buff` is looked at, and helpers that are as stable: no kernel structure, no BTF. A cgroup is
//! counted when the agent has entered it in `CONTAINERS`, and with it all cgroups below it. Loopback does not count.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

use core::arch::asm;
use core::mem::MaybeUninit;
use core::sync::atomic::AtomicU64;

use aya_ebpf::bindings::{__sk_buff, BPF_F_MMAPABLE};
use aya_ebpf::helpers::{
    bpf_get_smp_processor_id, bpf_skb_ancestor_cgroup_id, bpf_skb_cgroup_id, bpf_skb_load_bytes, bpf_tcp_sock,
};
use aya_ebpf::macros::{cgroup_skb, map};
use aya_ebpf::maps::{Array, HashMap};
use aya_ebpf::programs::SkBuffContext;
use swarmguard_agent_ebpf_common::{CONTAINERS_MAX, LEVELS_MAX, Traffic};

/// From a cgroup's id to the place of its first [`Traffic`]; that of processor `n` is `n` places further.
#[map]
static CONTAINERS: HashMap<u64, u32> = HashMap::with_max_entries(CONTAINERS_MAX, 0);

/// The agent makes it as large as the machine has processors, and reads it as memory.
#[map]
static TRAFFIC: Array<Traffic> = Array::with_max_entries(CONTAINERS_MAX, BPF_F_MMAPABLE);

/// Bit `n`: there are containers whose cgroup is `n` levels below the root.
#[map]
static LEVELS: Array<u32> = Array::with_max_entries(1, 0);

/// The kernel lets a packet pass for 1; it would drop it for 0.
const PASS: i32 = 1;

/// Loopback has this index in every network namespace.
const LOOPBACK_IFINDEX: u32 = 1;

#[cgroup_skb]
fn ingress(context: SkBuffContext) -> i32 {
    let skb = context.skb.skb;
    if let Some(traffic) = traffic(skb) {
        let (bytes, packets) = on_the_link(skb);
        add(&traffic.rx_bytes, bytes);
        add(&traffic.rx_packets, packets);
    }
    PASS
}

#[cgroup_skb]
fn egress(context: SkBuffContext) -> i32 {
    let skb = context.skb.skb;
    if let Some(traffic) = traffic(skb) {
        let (bytes, packets) = on_the_link(skb);
        add(&traffic.tx_bytes, bytes);
        add(&traffic.tx_packets, packets);
    }
    PASS
}

/// [`egress`] for kernels that let a program look at the packet's socket (Linux 5.1).
#[cgroup_skb]
fn egress_retransmits(context: SkBuffContext) -> i32 {
    let skb = context.skb.skb;
    if let Some(traffic) = traffic(skb) {
        let (bytes, packets) = on_the_link(skb);
        add(&traffic.tx_bytes, bytes);
        add(&traffic.tx_packets, packets);
        if is_sent_again(skb) {
            add(&traffic.tcp_retransmits, packets);
        }
    }
    PASS
}

#[inline(always)]
fn add(counter: &AtomicU64, more: u64) {
    // SAFETY: the one instruction adds to the counter, which is valid and aligned. `fetch_add` does not exist for this
    // target, since the oldest version of its instructions cannot give back what was there before.
    unsafe {
        asm!("lock *(u64 *)({counter} + 0) += {more}", counter = in(reg) counter.as_ptr(), more = in(reg) more);
    }
}

/// The counters for this packet on this processor; nothing for packets of no container.
#[inline(always)]
fn traffic(skb: *mut __sk_buff) -> Option<&'static Traffic> {
    // SAFETY: the kernel gives a valid context; the verifier has checked the access.
    if unsafe { (*skb).ifindex } == LOOPBACK_IFINDEX {
        return None;
    }
    // SAFETY: the helper is given the context that the program was given.
    let own = unsafe { bpf_skb_cgroup_id(skb) };
    let first = first_place(own).or_else(|| first_place_above(skb))?;
    // SAFETY: the helper takes nothing and always succeeds.
    let processor = unsafe { bpf_get_smp_processor_id() };
    TRAFFIC.get(first + processor)
}

#[inline(always)]
fn first_place(cgroup: u64) -> Option<u32> {
    // SAFETY: an entry that is being replaced can at worst name a place of a container that has just ended, which is
    // not given to another one at once.
    unsafe { CONTAINERS.get(&cgroup) }.copied()
}

/// A container can have cgroups of its own below its own: a systemd or a Docker in it makes them.
#[inline(always)]
fn first_place_above(skb: *mut __sk_buff) -> Option<u32> {
    let levels = *LEVELS.get(0)?;
    let mut level = 1;
    while level < LEVELS_MAX {
        if levels & (1 << level) != 0 {
            // SAFETY: as for `bpf_skb_cgroup_id`; it gives 0, which no cgroup has, where there is no such level.
            let ancestor = unsafe { bpf_skb_ancestor_cgroup_id(skb, level as i32) };
            if let Some(first) = first_place(ancestor) {
                return Some(first);
            }
        }
        level += 1;
    }
    None
}

/// Bytes and packets as they are on the link, where what the kernel handles as one packet of up to 64 KiB is many, each
/// with headers of its own.
#[inline(always)]
fn on_the_link(skb: *mut __sk_buff) -> (u64, u64) {
    // SAFETY: as above.
    let (len, segments) = unsafe { (u64::from((*skb).len), u64::from((*skb).gso_segs)) };
    if segments <= 1 {
        return (len, 1);
    }
    (len + (segments - 1) * headers(skb), segments)
}

/// The shortest IP header: enough to know what follows where.
const IP_BYTES: usize = 20;
const IPV4_PROTOCOL_OFFSET: usize = 9;
const IPV6_PROTOCOL_OFFSET: usize = 6;
const IPV6_HEADER_BYTES: usize = 40;
const UDP_HEADER_BYTES: u64 = 8;
/// The part of a TCP header that is looked at.
const TCP_BYTES: usize = 14;
const TCP_SEQUENCE_OFFSET: usize = 4;
/// Upper four bits: the length of the TCP header in words.
const TCP_LENGTH_OFFSET: usize = 12;
const TCP_FLAGS_OFFSET: usize = 13;
const TCP_FIN: u8 = 1;
const TCP_SYN: u8 = 2;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// IP and transport header together; 0 where they cannot be read.
#[inline(always)]
fn headers(skb: *mut __sk_buff) -> u64 {
    match transport(skb) {
        Some((TCP, at)) => match tcp(skb, at) {
            Some(tcp) => at + tcp.header_bytes,
            None => 0,
        },
        Some((UDP, at)) => at + UDP_HEADER_BYTES,
        _ => 0,
    }
}

/// The transport protocol, and where its header begins.
#[inline(always)]
fn transport(skb: *mut __sk_buff) -> Option<(u8, u64)> {
    let ip = in_place::<0, IP_BYTES>(skb)?;
    // SAFETY: `IP_BYTES` bytes are there.
    let byte = |offset: usize| unsafe { *ip.add(offset) };
    match byte(0) >> 4 {
        4 => Some((byte(IPV4_PROTOCOL_OFFSET), u64::from(byte(0) & 0xf) * 4)),
        6 => Some((byte(IPV6_PROTOCOL_OFFSET), IPV6_HEADER_BYTES as u64)),
        _ => None,
    }
}

/// What is looked at of a TCP header.
struct Tcp {
    header_bytes: u64,
    sequence: u32,
    flags: u8,
}

#[inline(always)]
fn tcp(skb: *mut __sk_buff, at: u64) -> Option<Tcp> {
    // Zeroing it would be a loop, and one that a program without CAP_PERFMON may not have.
    let mut copy = MaybeUninit::<[u8; TCP_BYTES]>::uninit();
    let tcp = if at == IP_BYTES as u64 {
        in_place::<IP_BYTES, TCP_BYTES>(skb)?
    } else if at == IPV6_HEADER_BYTES as u64 {
        in_place::<IPV6_HEADER_BYTES, TCP_BYTES>(skb)?
    } else {
        // After options of IPv4, which are rare.
        // SAFETY: the helper writes at most `TCP_BYTES` bytes, and all of them if it gives 0.
        let done = unsafe { bpf_skb_load_bytes(skb.cast(), at as u32, copy.as_mut_ptr().cast(), TCP_BYTES as u32) };
        if done != 0 {
            return None;
        }
        copy.as_ptr().cast()
    };
    // SAFETY: `TCP_BYTES` bytes are there.
    let byte = |offset: usize| unsafe { *tcp.add(offset) };
    let sequence = [
        byte(TCP_SEQUENCE_OFFSET),
        byte(TCP_SEQUENCE_OFFSET + 1),
        byte(TCP_SEQUENCE_OFFSET + 2),
        byte(TCP_SEQUENCE_OFFSET + 3),
    ];
    Some(Tcp {
        header_bytes: u64::from(byte(TCP_LENGTH_OFFSET) >> 4) * 4,
        sequence: u32::from_be_bytes(sequence),
        flags: byte(TCP_FLAGS_OFFSET),
    })
}

/// `BYTES` bytes of the packet where they are, counted from the IP header, so that no helper has to copy them. The kernel
/// has the headers in one piece, since it has written or read them itself; what lies beyond that piece gives nothing.
///
/// The verifier lets a program without CAP_PERFMON add only constants to the address of a packet. That one for each
/// offset is an instruction with its own constant, which the compiler cannot make one addition of a variable of.
#[inline(always)]
fn in_place<const OFFSET: usize, const BYTES: usize>(skb: *mut __sk_buff) -> Option<*const u8> {
    // SAFETY: the kernel gives a valid context.
    let (mut at, end) = unsafe { ((*skb).data as usize, (*skb).data_end as usize) };
    // SAFETY: an addition.
    unsafe {
        asm!("{at} += {offset}", at = inout(reg) at, offset = const OFFSET, options(pure, nomem, nostack));
    }
    if at + BYTES > end { None } else { Some(at as *const u8) }
}

/// Whether this is a TCP segment whose first byte has been sent before: the socket's next number is beyond it. When a
/// segment is sent for the first time it is that number itself, since the kernel only moves on afterwards. Keep-alives
/// and window probes, which are old numbers without data, do not count; the kernel's own `RetransSegs` does the same.
#[inline(always)]
fn is_sent_again(skb: *mut __sk_buff) -> bool {
    // SAFETY: the context's socket is null or valid, and the helper gives null for what is no connection of TCP.
    let next = unsafe {
        let socket = (*skb).__bindgen_anon_2.sk;
        if socket.is_null() {
            return false;
        }
        let tcp = bpf_tcp_sock(socket);
        // The kernel counts first and sends then, and most connections have never sent anything again: no need to look
        // into their packets. Nor into the answers of a listening socket, which counts nothing and has no numbers.
        if tcp.is_null() || (*tcp).total_retrans == 0 {
            return false;
        }
        (*tcp).snd_nxt
    };
    let Some((TCP, at)) = transport(skb) else { return false };
    let Some(tcp) = tcp(skb, at) else { return false };
    // Numbers wrap: "before" is a negative distance.
    if (tcp.sequence.wrapping_sub(next) as i32) >= 0 {
        return false;
    }
    // SAFETY: as above.
    let len = u64::from(unsafe { (*skb).len });
    len > at + tcp.header_bytes || tcp.flags & (TCP_SYN | TCP_FIN) != 0
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
