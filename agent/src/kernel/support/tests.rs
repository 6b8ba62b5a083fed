use super::*;

const ALL: u64 = (1 << 12) | (1 << 38) | (1 << 39);

fn everything() -> Facts {
    Facts {
        programs_built: true,
        version: Some(Version(6, 1)),
        cgroup_v2: Some("/sys/fs/cgroup".into()),
        cgroup_v1: false,
        memory_controller: true,
        pressure: true,
        capabilities: Capabilities(ALL),
        bpf: BpfCall::Allowed,
        oom_tracepoint: true,
    }
}

/// Takes one thing away, and says what is missed then.
fn check(take: impl FnOnce(&mut Facts), network: Option<Reason>, oom: Option<Reason>) {
    let mut facts = everything();
    take(&mut facts);
    let plan = decide(&facts);
    assert_eq!(plan.network.err(), network, "{facts:?}");
    assert_eq!(plan.oom.err(), oom, "{facts:?}");
}

fn without(capability: Capability) -> impl FnOnce(&mut Facts) {
    move |facts| facts.capabilities = Capabilities(ALL & !(1 << capability.bit()))
}

#[test]
fn with_everything_there_everything_is_attached() {
    check(|_| {}, None, None);
    assert_eq!(decide(&everything()).network, Ok("/sys/fs/cgroup".into()));
}

#[test]
fn each_thing_that_is_missing_costs_what_needs_it_and_no_more() {
    let both = |reason: Reason| (Some(reason.clone()), Some(reason));
    let (network, oom) = both(Reason::NotBuilt);
    check(|facts| facts.programs_built = false, network, oom);
    let (network, oom) = both(Reason::Capability(Capability::Bpf));
    check(without(Capability::Bpf), network, oom);
    check(without(Capability::NetAdmin), Some(Reason::Capability(Capability::NetAdmin)), None);
    check(without(Capability::Perfmon), None, Some(Reason::Capability(Capability::Perfmon)));
    check(|facts| facts.cgroup_v2 = None, Some(Reason::NoCgroupV2), None);
    check(|facts| facts.oom_tracepoint = false, None, Some(Reason::NoTracepoint));
    let (network, oom) = both(Reason::Refused("EPERM".into()));
    check(|facts| facts.bpf = BpfCall::Refused("EPERM".into()), network, oom);
}

#[test]
fn what_kernel_programs_do_not_need_costs_nothing() {
    check(|facts| facts.memory_controller = false, None, None);
    check(|facts| facts.pressure = false, None, None);
    check(|facts| facts.version = None, None, None);
}

#[test]
fn a_kernel_that_is_too_old_is_told_apart_by_what_it_lacks() {
    let old = |found, needed| Some(Reason::TooOld { found, needed });
    check(|facts| facts.version = Some(Version(5, 7)), None, old(Version(5, 7), Version(5, 8)));
    let very_old = Version(4, 19);
    check(|facts| facts.version = Some(very_old), old(very_old, Version(5, 7)), old(very_old, Version(5, 8)));
}

#[test]
fn the_older_right_stands_for_the_two_that_were_split_off_it() {
    let old = Capabilities((1 << 21) | (1 << 12));
    assert!(old.has(Capability::Bpf) && old.has(Capability::Perfmon) && old.has(Capability::NetAdmin));
    assert!(!Capabilities(1 << 21).has(Capability::NetAdmin));
}

#[test]
fn before_the_split_the_older_right_is_the_one_that_is_missing() {
    let take = |facts: &mut Facts| {
        facts.version = Some(Version(5, 7));
        facts.capabilities = Capabilities(1 << 12);
    };
    let missing = Reason::Capability(Capability::SysAdmin);
    check(take, Some(missing.clone()), Some(missing));
}

#[test]
fn rights_and_versions_are_read_as_the_kernel_writes_them() {
    let status = "Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t000001ffffffffff\nCapBnd:\t0\n";
    assert!(Capabilities::parse(status).unwrap().has(Capability::Bpf));
    assert_eq!(Capabilities::parse("CapEff:\tzz\n"), None);
    assert_eq!(Version::parse("6.1.0-42-cloud-arm64"), Some(Version(6, 1)));
    assert_eq!(Version::parse("6.12.25+rpt-rpi-v8"), Some(Version(6, 12)));
    assert_eq!(Version::parse("mainline"), None);
}

#[test]
fn every_reason_says_what_to_do() {
    let reason = Reason::Capability(Capability::Bpf).to_string();
    assert!(reason.contains("CAP_BPF") && reason.contains("setcap cap_bpf,cap_net_admin,cap_perfmon+ep"), "{reason}");
    assert!(!reason.contains("root"), "{reason}");
}
