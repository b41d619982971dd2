//! Networks over several hosts: each host a network namespace with a weftd, joined by a switch.

use std::time::Duration;

use serde_json::{Value, json};
use weft_testkit::{Call, Container, Host, HostState, Suite};

use crate::commands::ok;
use crate::daemon::{Daemon, signal, soon};
use crate::overlay_hosts::Hosts;

/// `blue`, as a host has it.
fn blue(number: usize, underlay: &str) -> String {
    format!(
        "[[overlay]]\nvni = 40\nname = \"vx-blue\"\nunderlay = {{ address = \"{underlay}{number}\" }}\n\
         bridge = {{ name = \"br-blue\", ipv4 = \"10.40.0.{number}/24\", ipv6 = \"fd40::{number}/64\" }}\n"
    )
}

/// A container on an overlay's bridge, from the host's own part of its subnet.
fn attach(suite: &Suite, host: &Host, number: usize) -> (Container, Value) {
    let (first, last) = (number * 16, number * 16 + 15);
    let conf = json!({"cniVersion": "1.0.0", "name": "blue", "type": "weft-bridge", "bridge": "br-blue",
        "mtu": 1430, "ipam": {"type": "weft-ipam", "ranges": [[{"subnet": "10.40.0.0/24",
        "rangeStart": format!("10.40.0.{first}"), "rangeEnd": format!("10.40.0.{last}")}],
        [{"subnet": "fd40::/64", "rangeStart": format!("fd40::{first:x}"), "rangeEnd": format!("fd40::{last:x}")}]]}});
    let container = host.container();
    Call::new(suite, "ADD", &conf)
        .container(&container)
        .on(host)
        .ok();
    (container, conf)
}

fn reach_each_other(underlay: &str) {
    let hosts = Hosts::new(3);
    let before: Vec<HostState> = hosts.hosts.iter().map(HostState::of).collect();
    for number in 1..=3 {
        hosts.configure(number, &blue(number, underlay), underlay);
    }
    let daemons: Vec<Daemon> = hosts
        .hosts
        .iter()
        .map(|host| Daemon::start(&hosts.suite, host))
        .collect();
    let [one, two, three] = &hosts.hosts[..] else {
        panic!()
    };
    for (host, address) in [(one, "10.40.0.2"), (two, "fd40::3"), (three, "10.40.0.1")] {
        soon(|| host.succeeds(&format!("ping -n -c 1 -W 1 {address}")));
    }
    // Containers of two hosts, by the same subnet.
    let (a, conf) = attach(&hosts.suite, one, 1);
    let (c, _) = attach(&hosts.suite, three, 3);
    assert!(a.reaches("10.40.0.48") && a.reaches("fd40::30") && c.reaches("10.40.0.16"));
    // What passes between hosts are tunnel packets.
    assert!(!hosts.switch.succeeds("ip neigh | grep 10.40"));
    let listed = ok(&hosts.weft(1, &["overlay", "ls"]));
    assert!(
        listed.contains("vx-blue") && listed.contains("br-blue") && listed.contains("fd40::1/64"),
        "{listed}"
    );
    assert_eq!(
        ok(&hosts.weft(1, &["overlay", "apply", "--dry-run"])).trim(),
        "nothing to be changed"
    );
    Call::new(&hosts.suite, "DEL", &conf)
        .container(&a)
        .on(one)
        .ok();
    for (number, host) in (1..=3).zip(&hosts.hosts) {
        let said = ok(&hosts.weft(number, &["overlay", "down"]));
        assert!(said.contains("remove bridge br-blue"), "{said}");
        assert!(!host.succeeds("ip link show vx-blue || ip link show br-blue"));
    }
    drop(daemons);
    drop(c);
    for (host, before) in hosts.hosts.iter().zip(&before).take(2) {
        let left = before.differences(&HostState::of(host));
        let is_of_store = |line: &&String| !line.contains("store") && !line.contains("files");
        let left: Vec<&String> = left.iter().filter(is_of_store).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn containers_of_three_hosts_reach_each_other() {
    reach_each_other("192.0.2.");
}

#[test]
fn the_hosts_may_be_joined_by_ipv6() {
    reach_each_other("2001:db8::");
}

/// Whatever is taken away comes back, and nothing is lost while the daemon is replaced.
#[test]
fn what_is_taken_away_comes_back() {
    let hosts = Hosts::new(2);
    for number in 1..=2 {
        hosts.configure(number, &blue(number, "192.0.2."), "192.0.2.");
    }
    let _second = Daemon::start(&hosts.suite, &hosts.hosts[1]);
    let first = Daemon::start(&hosts.suite, &hosts.hosts[0]);
    let host = &hosts.hosts[0];
    let reaches = || host.succeeds("ping -n -c 1 -W 1 10.40.0.2");
    soon(reaches);
    let is_right = || {
        let fdb = host.sh("bridge fdb show dev vx-blue 2>/dev/null; ip -o addr show dev br-blue 2>/dev/null || true");
        fdb.contains("00:00:00:00:00:00 dst 192.0.2.2") && fdb.contains("10.40.0.1/24")
    };
    for what in [
        "bridge fdb del 00:00:00:00:00:00 dev vx-blue dst 192.0.2.2",
        "ip link del vx-blue",
        "ip link del br-blue",
        "ip addr flush dev br-blue",
        "ip link set vx-blue nomaster",
        "ip link set br-blue down",
        "ip link set vx-blue mtu 1300",
    ] {
        host.sh(what);
        // Without events it would be a minute.
        soon(|| is_right() && reaches());
    }
    // An underlay that goes and comes.
    host.sh("ip link set up0 down");
    host.sh("ip link set up0 up");
    soon(reaches);
    // Killed and started anew, with packets on their way.
    let pings = std::thread::scope(|scope| {
        let pings = scope.spawn(|| host.sh("ping -n -q -i 0.02 -c 100 10.40.0.2"));
        signal(first.root().unwrap(), "KILL");
        let _third = {
            std::thread::sleep(Duration::from_millis(300));
            Daemon::start(&hosts.suite, host)
        };
        pings.join().unwrap()
    });
    assert!(pings.contains("100 received"), "{pings}");
}

/// A daemon that is killed while it makes things leaves nothing that the next one does not know.
#[test]
fn killed_at_any_moment_it_is_all_found_again() {
    let hosts = Hosts::new(1);
    let host = &hosts.hosts[0];
    hosts.configure(1, &blue(1, "192.0.2."), "192.0.2.");
    let before = HostState::of(host);
    for milliseconds in [0, 1, 2, 4, 6, 8, 12, 16, 24, 32] {
        let killed = Daemon::start(&hosts.suite, host);
        std::thread::sleep(Duration::from_millis(milliseconds));
        signal(killed.root().unwrap(), "KILL");
        drop(killed);
        let _next = Daemon::start(&hosts.suite, host);
        soon(|| host.sh("ip -o addr").contains("fd40::1/64"));
        soon(|| hosts.weft(1, &["overlay", "ls"]).status.success());
        ok(&hosts.weft(1, &["overlay", "down"]));
        let left = before.differences(&HostState::of(host));
        let is_kernel = |line: &&String| !line.contains("store") && !line.contains("files");
        let left: Vec<&String> = left.iter().filter(is_kernel).collect();
        assert!(left.is_empty(), "after {milliseconds} ms: {left:?}");
    }
}

/// The file is read again; what is not wanted any more goes, and what is somebody else's stays.
#[test]
fn what_is_not_wanted_goes() {
    let hosts = Hosts::new(1);
    let host = &hosts.hosts[0];
    host.sh("ip link add br-old type bridge && ip link add vx-theirs type vxlan id 9 dstport 4800 dev up0");
    let mine = "[[overlay]]\nvni = 41\nbridge = { name = \"br-old\", ipv4 = \"10.41.0.1/24\" }\n\
         underlay = { prefer_interfaces = [\"up0\"] }\n";
    hosts.configure(1, &format!("{}{mine}", blue(1, "192.0.2.")), "192.0.2.");
    let daemon = Daemon::start(&hosts.suite, host);
    soon(|| host.succeeds("ip link show vxlan41 && ip link show vx-blue"));
    soon(|| {
        host.sh("ip -o addr show dev br-old")
            .contains("10.41.0.1/24")
    });
    // A wrong file changes nothing, and is named.
    let wrong = format!("{}{}", blue(1, "192.0.2."), blue(1, "192.0.2."));
    hosts.configure(1, &wrong, "192.0.2.");
    let refused = hosts.weft(1, &["overlay", "apply"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && text.contains("overlay[1].vni: 40 is there twice"),
        "{text}"
    );
    assert!(host.succeeds("ip link show vxlan41"));
    // Another device's name, an MTU that does not fit, an address that nobody has.
    let clashes = "[[overlay]]\nvni = 9\nname = \"vx-theirs\"\nbridge = { name = \"br-new\" }\n\
         underlay = { prefer_interfaces = [\"up0\"] }\n\
         [[overlay]]\nvni = 10\nmtu = 1500\nbridge = { name = \"br10\" }\nunderlay = { prefer_interfaces = [\"up0\"] }\n\
         [[overlay]]\nvni = 11\nbridge = { name = \"br11\" }\nunderlay = { address = \"192.0.2.99\" }\n";
    hosts.configure(1, clashes, "192.0.2.");
    ok(&hosts.weft(1, &["overlay", "apply"]));
    let listed = hosts.weft(1, &["overlay", "ls"]);
    let text = String::from_utf8_lossy(&listed.stderr).into_owned();
    for says in [
        "vx-theirs is there, and Weft has not made it",
        "1450 at most",
        "no interface of this host has 192.0.2.99",
    ] {
        assert!(
            !listed.status.success() && text.contains(says),
            "{says}: {text}"
        );
    }
    assert!(host.sh("ip -d link show vx-theirs").contains("id 9"));
    assert!(!host.succeeds("ip link show vx-blue || ip link show vxlan41"));
    assert!(
        host.sh("ip -o addr show dev br-old").is_empty(),
        "the address goes"
    );
    assert!(
        host.succeeds("ip link show br-old"),
        "the bridge was there before"
    );
    drop(daemon);
}

/// A VNI is a network of its own, whatever its addresses.
#[test]
fn two_overlays_with_the_same_addresses_do_not_meet() {
    let hosts = Hosts::new(2);
    let other = |number: usize| {
        blue(number, "192.0.2.")
            .replace("vni = 40", "vni = 44")
            .replace("-blue", "-red")
    };
    hosts.configure(1, &blue(1, "192.0.2."), "192.0.2.");
    hosts.configure(2, &other(2), "192.0.2.");
    let _daemons: Vec<Daemon> = hosts
        .hosts
        .iter()
        .map(|host| Daemon::start(&hosts.suite, host))
        .collect();
    for (number, name) in [(1, "vx-blue"), (2, "vx-red")] {
        soon(|| hosts.hosts[number - 1].succeeds(&format!("ip link show {name}")));
    }
    assert!(!hosts.hosts[0].succeeds("ping -n -c 1 -W 1 10.40.0.2"));
}
