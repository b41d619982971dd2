//! Overlays in which each host has a subnet of its own.

use std::time::{Duration, Instant};

use serde_json::json;
use weft_testkit::{Call, Container, Feature, Host, HostState, require};

use crate::commands::ok;
use crate::daemon::{Daemon, signal, soon};
use crate::overlay_hosts::Hosts;

/// `pods`, as a host has it.
fn pods(number: usize, subnet: usize) -> String {
    format!(
        "[node]\nid = \"host-{number}\"\n[security.control_plane]\ninsecure = true\n\
         [[overlay]]\nvni = 50\nname = \"vx-pods\"\nmode = \"routed\"\nnetworks = [\"10.50.0.0/16\", \"fd50::/48\"]\n\
         underlay = {{ prefer_interfaces = [\"up0\"] }}\n\
         bridge = {{ name = \"br-pods\", ipv4 = \"10.50.{subnet}.1/24\", ipv6 = \"fd50:0:0:{subnet}::1/64\" }}\n"
    )
}

fn start(hosts: &Hosts) -> Vec<Daemon> {
    for number in 1..=hosts.hosts.len() {
        hosts.configure(number, &pods(number, number), "192.0.2.");
    }
    hosts.start_all()
}

/// A container on the bridge, with the host's subnet.
fn attach(hosts: &Hosts, number: usize) -> Container {
    let host = hosts.host(number);
    let conf = json!({"cniVersion": "1.0.0", "name": "pods", "type": "weft-bridge", "bridge": "br-pods",
        "isDefaultGateway": true, "ipam": {"type": "weft-ipam", "ranges": [
            [{"subnet": format!("10.50.{number}.0/24"), "gateway": format!("10.50.{number}.1")}],
            [{"subnet": format!("fd50:0:0:{number}::/64"), "gateway": format!("fd50:0:0:{number}::1")}]]}});
    let container = host.container();
    Call::new(&hosts.suite, "ADD", &conf)
        .container(&container)
        .on(host)
        .ok();
    container
}

#[test]
fn containers_reach_each_other_without_a_flood() {
    let hosts = Hosts::new(3);
    let before: Vec<HostState> = hosts.hosts.iter().map(HostState::of).collect();
    let daemons = start(&hosts);
    let (one, three) = (hosts.host(1), hosts.host(3));
    soon(|| {
        one.succeeds("ping -n -c 1 -W 1 10.50.3.1")
            && one.succeeds("ping -n -c 1 -W 1 fd50:0:0:2::1")
    });
    let (a, c) = (attach(&hosts, 1), attach(&hosts, 3));
    assert!(a.reaches("10.50.3.2") && a.reaches("fd50:0:0:3::2") && c.reaches("10.50.1.2"));
    assert!(one.succeeds("ping -n -c 1 -W 1 10.50.3.2"), "the host, too");
    assert!(
        !three
            .sh("bridge fdb show dev vx-pods")
            .contains("00:00:00:00:00:00")
    );
    assert!(
        one.sh("ip nexthop").contains("proto 142"),
        "routes lead by objects"
    );
    assert_eq!(
        ok(&hosts.weft(1, &["overlay", "apply", "--dry-run"])).trim(),
        "nothing to be changed"
    );
    drop((a, c));
    for (number, host) in (1..=3).zip(&hosts.hosts) {
        ok(&hosts.weft(number, &["overlay", "down"]));
        assert!(
            !host.succeeds("ip link show vx-pods || ip rule | grep 142 || ip nexthop | grep 142")
        );
    }
    drop(daemons);
    // The second has had no container; forwarding stays on.
    let left = before[1].differences(&HostState::of(hosts.host(2)));
    let is_meant = |line: &&String| {
        ["store", "files", "forward", "anycast"]
            .iter()
            .all(|word| !line.contains(word))
    };
    let left: Vec<&String> = left.iter().filter(is_meant).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Milliseconds until something is so.
fn until(what: &str, is_so: impl Fn() -> bool) -> Duration {
    let started = Instant::now();
    while !is_so() {
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "{what}: it does not come back"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    started.elapsed()
}

#[test]
fn what_is_taken_away_comes_back_at_once() {
    let hosts = Hosts::new(2);
    let mut daemons = start(&hosts);
    let host = hosts.host(1);
    let state = || {
        host.sh("ip route show table 20050 2>/dev/null; ip -6 route show table 20050 2>/dev/null; ip nexthop | sort; \
            ip neigh show dev vx-pods 2>/dev/null | sort; bridge fdb show dev vx-pods 2>/dev/null | grep -v self$ | sort; \
            (ip rule; ip -6 rule) | grep 142; ip -o addr show dev vx-pods 2>/dev/null | grep -v fe80 | tr -s ' ' | cut -d' ' -f 2-4; true")
    };
    soon(|| {
        host.succeeds("ping -n -c 1 -W 1 10.50.2.1")
            && host.succeeds("ping -n -c 1 -W 1 fd50:0:0:2::1")
    });
    let right = state();
    assert!(right.contains("10.50.2.0/24 nhid"), "{right}");
    for what in [
        "ip route del 10.50.2.0/24 table 20050",
        "ip -6 route del fd50:0:0:2::/64 table 20050",
        "ip nexthop flush proto 142",
        "ip neigh flush dev vx-pods nud permanent",
        "bridge fdb del $(bridge fdb show dev vx-pods | grep 'dst 192.0.2.2' | cut -d' ' -f1) dev vx-pods",
        "ip rule flush; ip rule add from all lookup main pref 32766; ip -6 rule flush; ip -6 rule add from all lookup main pref 32766",
        "ip addr flush dev vx-pods",
        "ip link del vx-pods",
        "ip link set vx-pods down",
    ] {
        host.sh(&format!("{what} 2>/dev/null || true"));
        let time = until(what, || state() == right);
        println!("{what}: {time:?}");
        // Long before whatever has failed is tried again, or the audit: an event has told of it.
        assert!(time < Duration::from_secs(3), "{what}: {time:?}");
        assert!(host.succeeds("ping -n -c 1 -W 1 10.50.2.1"), "{what}");
    }
    // Killed and started anew, with packets on their way.
    let pings = std::thread::scope(|scope| {
        let pings = scope.spawn(|| host.sh("ping -n -q -i 0.02 -c 150 10.50.2.1"));
        std::thread::sleep(Duration::from_millis(200));
        for number in 1..=2 {
            let killed = daemons.remove(0);
            signal(killed.root().unwrap(), "KILL");
            drop(killed);
            std::thread::sleep(Duration::from_millis(100));
            daemons.push(Daemon::start(&hosts.suite, hosts.host(number)));
        }
        // All at once.
        for killed in daemons.drain(..) {
            signal(killed.root().unwrap(), "KILL");
        }
        daemons.extend(hosts.start_all());
        pings.join().unwrap()
    });
    assert!(pings.contains("150 received"), "{pings}");
    soon(|| hosts.weft(1, &["overlay", "peers"]).status.success());
    drop(daemons);
}

/// A daemon that is killed while it makes or removes things leaves nothing that the next one does not know.
#[test]
fn killed_at_any_moment_it_is_all_found_again() {
    let hosts = Hosts::new(2);
    hosts.configure(1, &pods(1, 1), "192.0.2.");
    hosts.configure(2, &pods(2, 2), "192.0.2.");
    let _second = Daemon::start(&hosts.suite, hosts.host(2));
    let host = hosts.host(1);
    // Forwarding, once switched on, stays.
    host.sh("sysctl -q net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    let before = HostState::of(host);
    for milliseconds in [0, 2, 5, 9, 14, 20, 30, 60, 150, 400] {
        let killed = Daemon::start(&hosts.suite, host);
        std::thread::sleep(Duration::from_millis(milliseconds));
        signal(killed.root().unwrap(), "KILL");
        drop(killed);
        let next = Daemon::start(&hosts.suite, host);
        soon(|| host.succeeds("ping -n -c 1 -W 1 10.50.2.1"));
        // What the killed one has made may answer before the next one listens.
        soon(|| {
            let planned = hosts.weft(1, &["overlay", "apply", "--dry-run"]);
            planned.status.success() && planned.stdout.starts_with(b"nothing to be changed")
        });
        ok(&hosts.weft(1, &["overlay", "down"]));
        drop(next);
        let left = before.differences(&HostState::of(host));
        let is_kernel = |line: &&String| ["store", "files"].iter().all(|word| !line.contains(word));
        let left: Vec<&String> = left.iter().filter(is_kernel).collect();
        assert!(left.is_empty(), "after {milliseconds} ms: {left:?}");
    }
}

/// A tenth of all packets is lost, and each takes its time: hosts stay up, and routes where they are.
#[test]
fn a_slow_network_that_loses_packets_is_lived_with() {
    if !require(Feature::Netem, "overlays by a slow network") {
        return;
    }
    let hosts = Hosts::new(2);
    let _daemons = start(&hosts);
    let host = hosts.host(1);
    soon(|| {
        host.sh("ip route show table 20050 2>/dev/null; true")
            .contains("10.50.2.0/24")
    });
    for host in &hosts.hosts {
        host.sh("tc qdisc add dev up0 root netem delay 40ms 10ms loss 10%");
    }
    host.sh("ip monitor route > changes 2>&1 < /dev/null & echo $! > monitor.pid; sleep 0.2");
    std::thread::sleep(Duration::from_secs(12));
    let changes = host.sh("kill $(cat monitor.pid); cat changes; rm changes monitor.pid");
    assert!(!changes.contains("10.50.2.0/24"), "{changes}");
    assert!(hosts.weft(1, &["overlay", "peers"]).status.success());
    let pings = host.sh("ping -n -q -i 0.2 -c 50 10.50.2.1 || true");
    assert!(!pings.contains(" 0 received"), "{pings}");
}

/// Two hosts with one subnet, with one id; a VNI in two modes.
#[test]
fn clashes_are_named() {
    let hosts = Hosts::new(3);
    for (number, subnet) in [(1, 1), (2, 2), (3, 2)] {
        hosts.configure(number, &pods(number, subnet), "192.0.2.");
    }
    let daemons = hosts.start_all();
    let troubles = |number: usize| {
        let out = hosts.weft(number, &["overlay", "ls"]);
        (!out.status.success()).then(|| String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let says = |number, text: &str| troubles(number).is_some_and(|all| all.contains(text));
    soon(|| {
        says(
            1,
            "host-3 announces 10.50.2.0/24 of VNI 50, and host-2 10.50.2.0/24: give each host a subnet of its own",
        )
    });
    soon(|| says(2, "overlaps with a prefix of this host"));
    // One of both is used, and stays so.
    let before = hosts.host(1).sh("ip route show table 20050");
    assert_eq!(before.lines().count(), 1, "{before}");
    // The same id twice.
    hosts.configure(3, &pods(3, 3).replace("host-3", "host-1"), "192.0.2.");
    ok(&hosts.weft(3, &["overlay", "apply"]));
    soon(|| says(3, "another host says that it is \"host-1\""));
    // Another mode.
    let l2 = pods(3, 3).replace(
        "mode = \"routed\"\nnetworks = [\"10.50.0.0/16\", \"fd50::/48\"]\n",
        "",
    );
    hosts.configure(3, &l2, "192.0.2.");
    ok(&hosts.weft(3, &["overlay", "apply"]));
    soon(|| says(1, "the overlay has another mode there"));
    drop(daemons);
}

/// What cannot be in a file, all at once.
#[test]
fn wrong_files_are_told_whole() {
    let hosts = Hosts::new(1);
    let wrong = pods(1, 1)
        .replace("[security.control_plane]\ninsecure = true\n", "")
        .replace("ipv4 = \"10.50.1.1/24\"", "ipv4 = \"10.60.1.0/24\"");
    hosts.configure(1, &wrong, "192.0.2.");
    let refused = check(hosts.host(1), &hosts);
    for says in [
        "overlay[0].mode: routed needs [security.control_plane]",
        "10.60.1.0/24, this host's subnet, is in none",
        "overlay[0].bridge.ipv4: 10.60.1.0 is the subnet's first",
    ] {
        assert!(refused.contains(says), "{says}: {refused}");
    }
}

fn check(host: &Host, hosts: &Hosts) -> String {
    let weftd = hosts.suite.bin_dir.join("weftd");
    host.sh(&format!(
        "WEFT_CONFIG={} {} config check 2>&1 || true",
        host.dir().join("weft.toml").display(),
        weftd.display()
    ))
}
