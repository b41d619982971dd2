//! Containers in overlays: weft-overlay, by networks that `weft network create --driver overlay` makes.

use weft_testkit::{Container, HostState};

use crate::commands::{ok, weft};
use crate::daemon::{Daemon, soon};
use crate::overlay_hosts::Hosts;

const CONTROL: &str = "[security.control_plane]\ninsecure = true\n";

fn routed(number: usize) -> String {
    format!(
        "[node]\nid = \"host-{number}\"\n{CONTROL}[[overlay]]\nvni = 50\nname = \"pods\"\nmode = \"routed\"\n\
         networks = [\"10.50.0.0/16\", \"fd50::/48\"]\nunderlay = {{ prefer_interfaces = [\"up0\"] }}\n\
         bridge = {{ name = \"br-pods\", ipv4 = \"10.50.{number}.1/24\", ipv6 = \"fd50:0:0:{number}::1/64\" }}\n"
    )
}

/// Each host has a sixteenth of a shared subnet.
fn shared(number: usize) -> String {
    format!(
        "[node]\nid = \"host-{number}\"\n{CONTROL}[[overlay]]\nvni = 40\nname = \"blue\"\n\
         underlay = {{ prefer_interfaces = [\"up0\"] }}\ncontainers = [\"10.40.0.{}/28\", \"fd40::{number}:0/112\"]\n\
         bridge = {{ name = \"br-blue\", ipv4 = \"10.40.0.{number}/24\", ipv6 = \"fd40::{number}/64\" }}\n",
        number * 16
    )
}

fn created(hosts: &Hosts, number: usize, words: &[&str]) -> String {
    std::fs::create_dir_all(hosts.host(number).dir().join("conf")).unwrap();
    let all = [&["network", "create"], words].concat();
    ok(&hosts.weft(number, &all))
}

fn connect(hosts: &Hosts, number: usize, network: &str) -> Container {
    let host = hosts.host(number);
    let container = host.container();
    let path = container.path().display().to_string();
    ok(&weft(
        &hosts.suite,
        host,
        &["network", "connect", network, &path],
    ));
    container
}

fn disconnect(hosts: &Hosts, number: usize, network: &str, container: &Container) {
    let path = container.path().display().to_string();
    ok(&hosts.weft(number, &["network", "disconnect", network, &path]));
}

/// A machine at the switch that is no host of the overlay, and knows the way to its containers.
fn stranger(hosts: &Hosts) -> Container {
    let stranger = hosts.switch.container();
    hosts.switch.sh(&format!(
        "ip link add out type veth peer name eth0 netns {} && ip link set out master sw0 up",
        stranger.path().display()
    ));
    stranger.sh("ip addr add 192.0.2.200/24 dev eth0 && ip link set eth0 up && ip route add 10.50.0.0/16 via 192.0.2.1");
    stranger
}

fn made_before_the_overlay(hosts: &Hosts) {
    // The network can be made before the overlay is; no container comes into it.
    std::fs::create_dir_all(hosts.host(1).dir().join("conf")).unwrap();
    let create = [
        "network",
        "create",
        "pods",
        "--driver",
        "overlay",
        "--isolation",
        "peer",
    ];
    let early = hosts.weft(1, &create);
    let text = String::from_utf8_lossy(&early.stderr).into_owned();
    assert!(
        early.status.success() && text.contains("overlay pods is not there"),
        "{text}"
    );
    let container = hosts.host(1).container();
    let path = container.path().display().to_string();
    let refused = hosts.weft(1, &["network", "connect", "pods", &path]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && text.contains("systemctl start weftd"),
        "{text}"
    );
    drop(container);
}

#[test]
fn containers_of_routed_hosts_are_peers_and_nobody_else_is() {
    let hosts = Hosts::new(2);
    for number in 1..=2 {
        hosts.configure(number, &routed(number), "192.0.2.");
    }
    made_before_the_overlay(&hosts);
    let _daemons = hosts.start_all();
    soon(|| hosts.host(1).succeeds("ping -n -c 1 -W 1 10.50.2.1"));
    created(
        &hosts,
        2,
        &["pods", "--driver", "overlay", "--isolation", "peer"],
    );
    let before = HostState::of(hosts.host(1));
    let (a, b) = (connect(&hosts, 1, "pods"), connect(&hosts, 2, "pods"));
    let address = a.sh("ip -o -4 addr show dev eth0");
    assert!(address.contains("10.50.1.2/24"), "{address}");
    assert!(a.reaches("10.50.2.2") && b.reaches("10.50.1.2") && a.reaches("fd50:0:0:2::2"));
    // Its own address is seen there.
    let seen = std::thread::scope(|scope| {
        let seen = scope.spawn(|| {
            b.sh("timeout 5 tcpdump -c 1 -n -i eth0 icmp and src 10.50.1.2 2>&1 || true")
        });
        std::thread::sleep(std::time::Duration::from_millis(700));
        assert!(a.reaches("10.50.2.2"));
        seen.join().unwrap()
    });
    assert!(seen.contains("10.50.1.2 > 10.50.2.2"), "{seen}");
    // Outside sees the host's, and cannot come in.
    let stranger = stranger(&hosts);
    assert!(stranger.reaches("10.50.1.1"), "it knows the way");
    assert!(stranger.cannot_reach("10.50.1.2"));
    let checked = hosts.weft(1, &["doctor"]);
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(
        text.contains("in clear") && text.contains("1 finding"),
        "{text}"
    );
    disconnect(&hosts, 1, "pods", &a);
    let left = before.differences(&HostState::of(hosts.host(1)));
    let is_kernel = |line: &&String| {
        ["store", "files", "accept_ra"]
            .iter()
            .all(|word| !line.contains(word))
    };
    let left: Vec<&String> = left.iter().filter(is_kernel).collect();
    assert!(left.is_empty(), "{left:?}");
    what_cannot_be_kept_is_refused(&hosts);
}

fn what_cannot_be_kept_is_refused(hosts: &Hosts) {
    // What it cannot keep is refused.
    let labelled = "policy={\"ingress\":[{\"from\":{\"label\":{\"app\":\"web\"}}}]}";
    let refused = hosts.weft(
        1,
        &[
            "network",
            "create",
            "other",
            "--driver",
            "overlay",
            "--uplink",
            "50",
            "--isolation",
            "peer",
            "--option",
            labelled,
        ],
    );
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && text.contains("containers of this host alone"),
        "{text}"
    );
}

#[test]
fn hosts_share_a_subnet_by_parts() {
    let hosts = Hosts::new(2);
    for number in 1..=2 {
        hosts.configure(number, &shared(number), "192.0.2.");
    }
    let daemons = hosts.start_all();
    soon(|| hosts.host(1).succeeds("ping -n -c 1 -W 1 10.40.0.2"));
    std::fs::create_dir_all(hosts.host(1).dir().join("conf")).unwrap();
    let full = hosts.weft(
        1,
        &[
            "network",
            "create",
            "blue",
            "--driver",
            "overlay",
            "--isolation",
            "full",
        ],
    );
    let text = String::from_utf8_lossy(&full.stderr).into_owned();
    assert!(
        !full.status.success() && text.contains("mode routed"),
        "{text}"
    );
    for number in 1..=2 {
        created(
            &hosts,
            number,
            &["blue", "--driver", "overlay", "--isolation", "peer"],
        );
    }
    let (a, b) = (connect(&hosts, 1, "blue"), connect(&hosts, 2, "blue"));
    assert!(
        a.sh("ip -o -4 addr show dev eth0")
            .contains("10.40.0.16/24")
    );
    assert!(
        b.sh("ip -o -4 addr show dev eth0")
            .contains("10.40.0.32/24")
    );
    assert!(a.reaches("10.40.0.32") && b.reaches("fd40::1:0"));
    nobody_asks_other_hosts(&hosts, &a);
    // A plugin works while the daemon does not.
    drop(daemons);
    let c = connect(&hosts, 1, "blue");
    assert!(c.reaches("10.40.0.32") && c.reaches("10.40.0.16"));
    // Two hosts with the same part.
    let _first = Daemon::start(&hosts.suite, hosts.host(1));
    hosts.configure(
        2,
        &shared(2).replace("10.40.0.32/28", "10.40.0.16/29"),
        "192.0.2.",
    );
    let _second = Daemon::start(&hosts.suite, hosts.host(2));
    soon(|| {
        let said = hosts.weft(1, &["overlay", "ls"]);
        String::from_utf8_lossy(&said.stderr).contains("addresses of the same range as here")
    });
}

/// A host answers for containers of others, so that questions for their MACs do not leave it.
fn nobody_asks_other_hosts(hosts: &Hosts, a: &Container) {
    let host = hosts.host(1);
    let is_known = || {
        host.sh("ip neigh show dev br-blue")
            .contains("10.40.0.32 lladdr")
    };
    soon(is_known);

    let questions = std::thread::scope(|scope| {
        let seen = scope.spawn(|| {
            host.sh("timeout 6 tcpdump -n -i blue 'arp or icmp6[0] == 135' 2>/dev/null || true")
        });
        std::thread::sleep(std::time::Duration::from_millis(700));
        a.sh("ip neigh flush all");
        assert!(a.reaches("10.40.0.32") && a.reaches("fd40::2:0"));
        // Nobody has these.
        a.sh("ping -n -c 1 -W 1 10.40.0.99; ping -n -c 1 -W 1 fd40::99; true");
        seen.join().unwrap()
    });
    for address in ["who-has 10.40.0.99", "who has fd40::99"] {
        assert!(
            questions.contains(address),
            "it is seen what leaves: {questions}"
        );
    }
    for address in ["who-has 10.40.0.32", "who has fd40::2:0"] {
        assert!(!questions.contains(address), "{questions}");
    }
    // It goes with the container.
    let last = connect(hosts, 2, "blue");
    let has = |address: &str| host.sh("ip neigh show dev br-blue").contains(address);
    soon(|| has("10.40.0.33 lladdr"));
    disconnect(hosts, 2, "blue", &last);
    soon(|| !has("10.40.0.33 lladdr"));
}

/// Another firewall drops by default what is forwarded, as dockerd's does: the rules of the documents let other hosts in.
#[test]
fn a_firewall_that_drops_by_default_can_be_opened() {
    let hosts = Hosts::new(2);
    for number in 1..=2 {
        hosts.configure(number, &routed(number), "192.0.2.");
    }
    let _daemons = hosts.start_all();
    soon(|| hosts.host(1).succeeds("ping -n -c 1 -W 1 10.50.2.1"));
    for number in 1..=2 {
        created(&hosts, number, &["pods", "--driver", "overlay"]);
    }
    let (a, b) = (connect(&hosts, 1, "pods"), connect(&hosts, 2, "pods"));
    assert!(a.reaches("10.50.2.2") && b.reaches("fd50:0:0:1::2"));
    for number in 1..=2 {
        let host = hosts.host(number);
        host.sh("iptables -P FORWARD DROP && ip6tables -P FORWARD DROP");
    }
    assert!(!a.reaches("10.50.2.2") && !b.reaches("fd50:0:0:1::2"));
    for number in 1..=2 {
        for program in ["iptables", "ip6tables"] {
            for ways in [
                "-i pods -o br-pods",
                "-i br-pods",
                "-o br-pods -m conntrack --ctstate RELATED,ESTABLISHED,DNAT",
            ] {
                let rule = format!("{program} -I FORWARD {ways} -j ACCEPT");
                hosts.host(number).sh(&rule);
            }
        }
    }
    assert!(a.reaches("10.50.2.2") && b.reaches("fd50:0:0:1::2"));
}
