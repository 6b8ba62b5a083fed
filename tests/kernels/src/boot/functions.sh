# Functions of the scripts that run in the machines, with busybox's shell.
# What they print is told apart by headlines: === NAME ===
set -u
parent=/sys/fs/cgroup/test
agent="swarmguard-agent --docker-host unix:///nonexistent"
sample="$agent sample --cgroup-parent test --format json"

part() { echo "=== $1 ==="; }

# Three cgroups, of which two have a network namespace each, as containers have, with a cable between them.
prepare() {
    mkdir "$parent"
    for controller in cpu memory pids; do
        echo "+$controller" > "$parent/cgroup.subtree_control"
    done 2> /dev/null
    # Two levels of the container's own below one of them.
    mkdir -p "$parent/a/inner/most" "$parent/b" "$parent/idle"
    # The kernel calls the other end veth0.
    ip link add cable type veth
    hold a cable 1
    a=$holder
    hold b veth0 2
    b=$holder
    traffic --cgroup "$parent/idle" sleep &
    in_namespace "$b" traffic --cgroup "$parent/b" listen --port 5000 > /tmp/listener &
    until [ -s /tmp/listener ]; do sleep 0.1; done
}

# hold CGROUP INTERFACE NUMBER: a network namespace with the interface and a process that keeps it
hold() {
    unshare -n traffic --cgroup "$parent/$1" sleep &
    holder=$!
    until [ "$(readlink "/proc/$holder/ns/net")" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.1; done
    ip link set "$2" netns "$holder"
    # Nobody else can have the address: looking for duplicates would only delay.
    in_namespace "$holder" sh -c "
        echo 0 > /proc/sys/net/ipv6/conf/$2/accept_dad
        ip address add 10.99.0.$3/24 dev $2
        ip address add fd99::$3/64 dev $2
        ip link set $2 up
        ip link set lo up"
}

in_namespace() {
    namespace_pid=$1
    shift
    nsenter -t "$namespace_pid" -n "$@"
}

# Each transfer and the counters after it have a part; what belongs to a sample begins with its name.
begin_sample() {
    name=$1
    part "$name begins"
    $sample --interval 8s > "/tmp/$name" 2> "/tmp/$name.log" &
    sampler=$!
    # What flows before the programs are in the kernel is not counted. If they do not get there, the test will say so.
    tries=0
    until [ $tries -ge 30 ] || ls -l "/proc/$sampler/fd" 2> /dev/null | grep -q bpf_link; do
        tries=$((tries + 1))
        sleep 0.1
    done
    sleep 1
    counters before
}

# transfer NUMBER ARGUMENTS...
transfer() {
    number=$1
    shift
    part "$name $number"
    # Every other one from a cgroup below the container's.
    below=$((number % 2))
    in_namespace "$a" traffic --cgroup "$parent/a$([ $below -eq 0 ] || echo /inner/most)" "$@" 2>&1
    counters "$number"
}

# lost NUMBER ARGUMENTS...: a transfer whose beginning is lost, since nobody has the other end's address for a while
lost() {
    in_namespace "$b" ip address del 10.99.0.2/24 dev veth0
    (sleep 1.5; in_namespace "$b" ip address add 10.99.0.2/24 dev veth0) &
    transfer "$@"
}

counters() {
    part "$name $1 a"
    in_namespace "$a" cat /proc/net/snmp
    part "$name $1 b"
    in_namespace "$b" cat /proc/net/snmp
}

end_sample() {
    part "$name in time"
    if kill -0 "$sampler"; then echo yes; else echo no; fi
    wait "$sampler"
    show_sample
}

show_sample() {
    part "$name"
    cat "/tmp/$name"
    part "$name log"
    cat "/tmp/$name.log"
}

# measure NAME: a short sample without transfers
measure() {
    name=$1
    $sample --interval 2s > "/tmp/$name" 2> "/tmp/$name.log"
    show_sample
}

# Something for the cgroup a to do, until the machine is switched off.
busy() {
    sh -c "echo 0 > $parent/a/cgroup.procs; while :; do :; done" &
}

# How long the cgroup a waits for a processor, before the agent looks, by the agent, and after: three want two.
pressure() {
    busy
    first=$!
    busy
    second=$!
    busy
    third=$!
    tries=0
    until [ $tries -ge 40 ] || grep -q "some avg10=[1-9]" "$parent/a/cpu.pressure"; do
        tries=$((tries + 1))
        sleep 0.5
    done
    part "pressure before"
    cat "$parent/a/cpu.pressure"
    measure pressed
    part "pressure after"
    cat "$parent/a/cpu.pressure"
    kill "$first" "$second" "$third"
}

# The agent, which ticks only every minute here, is told at once when a process is killed for lack of memory.
killed() {
    doctor "killed doctor"
    mkdir "$parent/small"
    echo 8388608 > "$parent/small/memory.max"
    $agent --cgroup-parent test --interval 60s > /tmp/killed 2>&1 &
    sampler=$!
    # Two programs count traffic, and the third one tells of kills.
    tries=0
    until [ $tries -ge 100 ] || [ "$(ls -l "/proc/$sampler/fd" 2> /dev/null | grep -c bpf_link)" -ge 3 ]; do
        tries=$((tries + 1))
        sleep 0.1
    done
    # The cgroups are found at once then.
    sleep 1
    part "killed before"
    cat /tmp/killed
    sh -c "echo 0 > $parent/small/cgroup.procs; dd if=/dev/zero of=/dev/null bs=64M count=1" > /dev/null 2>&1
    sleep 1
    part killed
    cat /tmp/killed
    part "killed counted"
    cat "$parent/small/memory.events"
    kill "$sampler"
    rmdir "$parent/small"
}

# doctor NAME
doctor() {
    part "$1"
    $agent doctor 2>&1
    part "$1 json"
    $agent doctor --json 2> /tmp/doctor.log
    part "$1 log"
    cat /tmp/doctor.log
}

# The agent as somebody who may do nothing.
refused() {
    name=refused
    part "refused doctor"
    su nobody -c "$agent doctor" 2>&1
    part "refused doctor json"
    su nobody -c "$agent doctor --json" 2> /tmp/doctor.log
    part "refused doctor log"
    cat /tmp/doctor.log
    busy
    burner=$!
    su nobody -c "$sample --interval 2s" > /tmp/refused 2> /tmp/refused.log
    kill "$burner"
    show_sample
}
