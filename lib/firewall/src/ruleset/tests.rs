//! What the rules do with packets, by tables.

use std::net::IpAddr;

use weft_cni::Mac;
use weft_store::{Isolation, NftRecord};

use weft_node::names::LINK_GROUP;

use super::trial::{ESTABLISHED, INVALID, NEW, Packet, RELATED, TRANSLATED, Trial};
use super::{
    Guarded, Limits, Masquerade, alone_elements, apart_element, connection, endpoint_elements,
    guard, home_elements, isolation, limit_elements, limits, network_elements, opened_element,
    routed_elements,
};

const OWN: Mac = Mac([2, 0, 0, 0, 0, 2]);
const OTHER: Mac = Mac([2, 0, 0, 0, 0, 9]);
const GATEWAY: Mac = Mac([2, 0, 0, 0, 0, 1]);
const BROADCAST: Mac = Mac([0xff; 6]);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The table of frames with a guarded port `p1`.
fn guarded(with_addresses: bool) -> Trial {
    let mut trial = Trial::new(guard::chains());
    let addresses = ["10.1.0.2/24", "fd00::2/64"].map(|text| text.parse().unwrap());
    let port = Guarded {
        port: "p1",
        mac: OWN,
        with_addresses,
    };
    trial.add(&endpoint_elements(&addresses, None, Some(port)));
    trial
}

fn arp(mac: Mac, address: &str) -> Packet {
    let mut network = vec![0, 1, 8, 0, 6, 4, 0, 1];
    network.extend(mac.0);
    network.extend(super::key::ip_bytes(ip(address)));
    network.resize(28, 0);
    Packet {
        ether_type: [8, 6],
        network,
        ..Packet::tcp("10.1.0.2", "10.1.0.1", 80).by("p1", "")
    }
}

/// Neighbour discovery about an address (RFC 4861).
fn discovery(source: &str, kind: u8, target: &str) -> Packet {
    let mut transport = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    transport.extend(super::key::ip_bytes(ip(target)));
    Packet {
        protocol: 58,
        transport,
        ..Packet::tcp(source, "ff02::1", 0).by("p1", "")
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_port_sends_from_its_own_addresses() {
    let by = |packet: Packet| packet.by("p1", "");
    let own = by(Packet::tcp("10.1.0.2", "9.9.9.9", 80));
    let cases = [
        ("its own", own.clone(), true, true),
        (
            "another MAC",
            Packet {
                source_mac: OTHER,
                ..own.clone()
            },
            false,
            false,
        ),
        (
            "another address",
            by(Packet::tcp("10.1.0.3", "9.9.9.9", 80)),
            true,
            false,
        ),
        (
            "another port",
            Packet::tcp("10.1.0.3", "9.9.9.9", 80).by("p2", ""),
            true,
            true,
        ),
        (
            "a second tag",
            Packet {
                ether_type: [0x81, 0],
                ..own
            },
            true,
            false,
        ),
        ("ARP for itself", arp(OWN, "10.1.0.2"), true, true),
        ("ARP for another", arp(OWN, "10.1.0.3"), true, false),
        (
            "ARP by another MAC within",
            arp(OTHER, "10.1.0.2"),
            true,
            false,
        ),
        (
            "IPv6",
            by(Packet::tcp("fd00::2", "2620:fe::fe", 80)),
            true,
            true,
        ),
        (
            "its link-local address",
            by(Packet::tcp("fe80::ff:fe00:2", "fe80::1", 80)),
            true,
            true,
        ),
        (
            "another's IPv6",
            by(Packet::tcp("fd00::3", "2620:fe::fe", 80)),
            true,
            false,
        ),
        (
            "advertising itself",
            discovery("fd00::2", 136, "fd00::2"),
            true,
            true,
        ),
        (
            "advertising another",
            discovery("fd00::2", 136, "fd00::3"),
            true,
            false,
        ),
        (
            "asking whether its own is taken",
            discovery("::", 135, "fd00::2"),
            true,
            true,
        ),
        (
            "asking so about another",
            discovery("::", 135, "fd00::3"),
            true,
            false,
        ),
        (
            "router advertisement",
            discovery("fd00::2", 134, "::"),
            true,
            false,
        ),
        ("redirect", discovery("fd00::2", 137, "::"), true, false),
    ];
    for (what, packet, mac_alone, all) in cases {
        assert_eq!(
            guarded(false).passes("guard", &packet),
            mac_alone,
            "{what}, MAC alone"
        );
        assert_eq!(guarded(true).passes("guard", &packet), all, "{what}");
    }
}

#[test]
fn a_routed_port_sends_to_its_gateway() {
    let mut trial = Trial::new(guard::chains());
    trial.add(&routed_elements("p1", GATEWAY));
    let to = |destination_mac, input| Packet {
        destination_mac,
        ..Packet::tcp("10.1.0.2", "10.1.0.3", 80).by(input, "")
    };
    for (what, packet, passes) in [
        ("its gateway", to(GATEWAY, "p1"), true),
        ("a neighbour", to(OTHER, "p1"), false),
        ("everybody", to(BROADCAST, "p1"), true),
        ("another port", to(OTHER, "p2"), true),
    ] {
        assert_eq!(trial.passes("guard", &packet), passes, "{what}");
    }
}

#[test]
fn ports_that_are_alone_reach_no_other() {
    let mut trial = Trial::new(guard::chains());
    for port in ["p1", "p2"] {
        trial.add(&alone_elements(port));
    }
    let frame = |input, output| Packet::tcp("10.1.0.2", "10.1.0.3", 80).by(input, output);
    let to_all = |packet: Packet| Packet {
        destination_mac: BROADCAST,
        ..packet
    };
    for (what, packet, passes) in [
        ("each other", frame("p1", "p2"), false),
        ("each other, to all", to_all(frame("p1", "p2")), false),
        ("itself, by its published port", frame("p1", "p1"), true),
        ("itself, to all", to_all(frame("p1", "p1")), false),
        ("an open port", frame("p1", "p3"), true),
        ("from an open port", frame("p3", "p1"), true),
    ] {
        assert_eq!(trial.passes("between", &packet), passes, "{what}");
    }
}

/// Networks behind `a0` of a mode, `b0` of the same, and `o0`, which is open.
fn networks(mode: Isolation) -> Trial {
    let mut trial = Trial::new(isolation::chains());
    for link in ["a0", "b0"] {
        trial.add(&isolation::network_elements(link, mode));
        // Whichever of them a packet comes by, it is a container's own.
        let homes = home_elements(link, ip("10.1.0.2"));
        trial.add(homes.iter().filter(|one| &*one.set == "home4"));
    }
    trial
}

/// Tracked or not, from a closed network only a container's own address passes, and nobody else's is routed into one.
#[test]
fn strangers_have_no_connections() {
    for mode in Isolation::CLOSED {
        let mut trial = networks(mode);
        trial.add(&[isolation::routed_element("a0", GATEWAY)]);
        let packet = |from: &str, state, destination_mac| Packet {
            state,
            destination_mac,
            ..Packet::tcp(from, "10.1.0.2", 80)
        };
        for (what, packet, passes) in [
            (
                "its own",
                packet("10.1.0.2", ESTABLISHED, GATEWAY).by("a0", "eth0"),
                true,
            ),
            (
                "an answer from outside",
                packet("9.9.9.9", ESTABLISHED, GATEWAY).by("eth0", "a0"),
                true,
            ),
            (
                "a forged answer",
                packet("9.9.9.9", ESTABLISHED, GATEWAY).by("a0", "b0"),
                false,
            ),
            (
                "a forged answer to itself",
                packet("9.9.9.9", ESTABLISHED, GATEWAY).by("a0", "a0"),
                false,
            ),
            (
                "a forged beginning",
                packet("9.9.9.9", NEW, GATEWAY).by("a0", "a0"),
                false,
            ),
            (
                "by no connection",
                packet("9.9.9.9", INVALID, GATEWAY).by("a0", "a0"),
                false,
            ),
        ] {
            assert_eq!(trial.passes("forward", &packet), passes, "{what}, {mode}");
        }
        let to_host = packet("9.9.9.9", ESTABLISHED, GATEWAY).by("a0", "");
        assert_eq!(
            trial.passes("input", &to_host),
            mode == Isolation::Apart,
            "{mode}"
        );
        // Bridged, with br_netfilter: a neighbour without a record.
        let bridged = packet("10.1.0.77", NEW, OTHER).by("a0", "a0");
        assert_eq!(
            trial.passes("forward", &bridged),
            mode != Isolation::Full,
            "{mode}"
        );
    }
}

fn forwarded(input: &'static str, output: &'static str) -> Packet {
    Packet::tcp("10.1.0.2", "10.1.0.3", 80).by(input, output)
}

#[test]
fn each_mode_lets_in_whom_it_says() {
    use Isolation::{Apart, Full, Mesh, None, Peer};
    // None, peer, mesh, full, apart.
    let cases = [
        ("within", "a0", "a0", [true, true, true, false, true]),
        (
            "between two of them",
            "a0",
            "b0",
            [true, false, false, false, false],
        ),
        (
            "from an open one",
            "o0",
            "a0",
            [true, false, false, false, true],
        ),
        (
            "to an open one",
            "a0",
            "o0",
            [true, false, false, false, true],
        ),
        (
            "from outside",
            "eth0",
            "a0",
            [true, false, false, false, true],
        ),
        (
            "to outside",
            "a0",
            "eth0",
            [true, false, false, false, true],
        ),
        ("past them", "o0", "eth0", [true, true, true, true, true]),
    ];
    for (what, input, output, passes) in cases {
        for (mode, passes) in [None, Peer, Mesh, Full, Apart].into_iter().zip(passes) {
            let trial = networks(mode);
            let packet = forwarded(input, output);
            assert_eq!(trial.passes("forward", &packet), passes, "{what}, {mode}");
            let answer = Packet {
                state: ESTABLISHED,
                ..packet
            };
            assert!(
                trial.passes("forward", &answer),
                "the answer, {what}, {mode}"
            );
        }
    }
}

#[test]
fn networks_that_are_connected_reach_one_way() {
    let mut trial = networks(Isolation::Mesh);
    trial.add([&connection("a0", "b0")]);
    assert!(trial.passes("forward", &forwarded("a0", "b0")));
    assert!(!trial.passes("forward", &forwarded("b0", "a0")));
}

#[test]
fn published_ports_are_open() {
    let port = weft_store::PortRecord {
        protocol: 6,
        host_port: 8080,
        host_ip: None,
        address: ip("10.1.0.3"),
        container_port: 80,
    };
    for mode in Isolation::CLOSED {
        let mut trial = networks(mode);
        trial.add([&opened_element(&port)]);
        let asked = |status, port| Packet {
            status,
            ..Packet::tcp("192.0.2.1", "10.1.0.3", port).by("b0", "a0")
        };
        for (what, packet, passes) in [
            ("by the host's port", asked(TRANSLATED, 80), true),
            ("past it", asked(0, 80), false),
            ("another port", asked(TRANSLATED, 81), false),
        ] {
            assert_eq!(trial.passes("forward", &packet), passes, "{what}, {mode}");
        }
    }
}

#[test]
fn an_address_counts_on_its_own_link_only() {
    let mut trial = networks(Isolation::Full);
    trial.add(&home_elements("a0", ip("10.1.0.2")));
    trial.fill("policies", vec![vec![super::matching::ACCEPT]]);
    assert!(trial.passes("forward", &forwarded("a0", "b0")));
    assert!(
        !trial.passes("forward", &forwarded("o0", "b0")),
        "a stranger with its address"
    );
}

#[test]
fn peers_that_are_apart_begin_nothing_with_each_other() {
    for mode in [Isolation::Apart, Isolation::Peer] {
        let mut trial = networks(mode);
        trial.add(&[apart_element("a0", GATEWAY), apart_element("a0", OWN)]);
        let packet = || forwarded("a0", "a0");
        let with = |state, status, destination_mac| Packet {
            state,
            status,
            destination_mac,
            ..packet()
        };
        let own_addresses = Packet::tcp("fe80::1", "fe80::2", 80).by("a0", "a0");
        for (what, packet, passes) in [
            ("a connection", packet(), false),
            ("by addresses of its own", own_addresses, false),
            ("of no connection", with(INVALID, 0, GATEWAY), false),
            ("an error", with(RELATED, 0, GATEWAY), false),
            ("by its own pair's MAC", with(NEW, 0, OWN), false),
            ("a published port", with(NEW, TRANSLATED, GATEWAY), true),
            ("bridged, with br_netfilter", with(NEW, 0, OTHER), true),
            ("outside", forwarded("a0", "eth0"), mode == Isolation::Apart),
        ] {
            assert_eq!(trial.passes("forward", &packet), passes, "{what}, {mode}");
        }
    }
}

#[test]
fn errors_come_from_an_end_of_the_connection_or_from_outside() {
    let mut trial = networks(Isolation::Full);
    trial.add(&home_elements("a0", ip("10.1.0.2")));
    trial.add(&home_elements("a0", ip("10.1.0.3")));
    let error = |from: &str, ends: [&str; 2]| Packet {
        state: RELATED,
        ends: ends.map(ip),
        ..Packet::tcp(from, "10.1.0.2", 0)
    };
    let of_weft = |packet| Packet {
        group: LINK_GROUP,
        ..packet
    };
    let out = ["10.1.0.2", "9.9.9.9"];
    let asked = ["9.9.9.9", "10.1.0.2"];
    for (what, packet, passes) in [
        (
            "a router",
            error("198.51.100.1", out).by("eth0", "a0"),
            true,
        ),
        ("a neighbour", error("10.1.0.3", out).by("a0", "a0"), false),
        ("a forger", error("9.9.9.9", out).by("a0", "a0"), false),
        (
            "an open one",
            of_weft(error("10.9.0.2", out)).by("o0", "a0"),
            false,
        ),
        (
            "among open ones",
            of_weft(error("10.9.0.2", out)).by("o0", "o1"),
            true,
        ),
        ("the end", error("10.1.0.2", out).by("a0", "eth0"), true),
        (
            "the other end",
            error("10.1.0.2", asked).by("a0", "eth0"),
            true,
        ),
        ("another", error("10.1.0.3", out).by("a0", "eth0"), false),
        ("elsewhere", error("10.1.0.2", out).by("b0", "eth0"), false),
    ] {
        assert_eq!(trial.passes("forward", &packet), passes, "{what}");
    }
    let to_host = |ends| error("10.1.0.2", ends).by("a0", "");
    assert!(trial.passes("input", &to_host(["10.1.0.1", "10.1.0.2"])));
    assert!(!trial.passes("input", &to_host(["192.0.2.2", "9.9.9.9"])));
}

/// What closes a network holds when the map of the modes is not there any more.
#[test]
fn a_closed_network_without_a_mode_is_closed() {
    let mut trial = Trial::new(isolation::chains());
    let elements = isolation::network_elements("a0", Isolation::Peer);
    trial.add(elements.iter().filter(|one| &*one.set != "networks"));
    for (input, output) in [("a0", "eth0"), ("eth0", "a0"), ("a0", "a0")] {
        assert!(!trial.passes("forward", &forwarded(input, output)));
    }
    assert!(!trial.passes("input", &forwarded("a0", "")));
    assert!(trial.passes("forward", &forwarded("o0", "eth0")));
    // Nor under another name.
    let renamed = |group, output_group| Packet {
        group,
        output_group,
        ..forwarded("x", "y")
    };
    let closed = weft_node::names::CLOSED_LINK_GROUP;
    assert!(!trial.passes("forward", &renamed(closed, 0)));
    assert!(!trial.passes("forward", &renamed(0, closed)));
    assert!(!trial.passes("input", &renamed(closed, 0)));
    assert!(trial.passes("forward", &renamed(LINK_GROUP, LINK_GROUP)));
}

#[test]
fn of_the_host_containers_reach_its_name_server() {
    let trial = networks(Isolation::Peer);
    let to_host = |protocol, port| Packet {
        protocol,
        ..Packet::tcp("10.1.0.2", "10.1.0.1", port).by("a0", "")
    };
    for (what, packet, passes) in [
        ("names by UDP", to_host(17, 53), true),
        ("names by TCP", to_host(6, 53), true),
        ("ssh", to_host(6, 22), false),
        (
            "from an open network",
            Packet::tcp("10.9.0.2", "10.9.0.1", 22).by("o0", ""),
            true,
        ),
    ] {
        assert_eq!(trial.passes("input", &packet), passes, "{what}");
    }
}

#[test]
fn what_is_of_no_connection_does_not_leave_untranslated() {
    let mut trial = Trial::new(isolation::chains());
    let subnet = ["10.1.0.2/24".parse().unwrap()];
    let masquerade = Masquerade::default();
    trial.add(&endpoint_elements(&subnet, Some(&masquerade), None));
    trial.add(&network_elements(&subnet, &[], Some(&masquerade)));
    let to = |address, state| Packet {
        state,
        ..Packet::tcp("10.1.0.2", address, 80).by("a0", "eth0")
    };
    assert!(trial.passes("forward", &to("9.9.9.9", NEW)));
    assert!(!trial.passes("forward", &to("9.9.9.9", INVALID)));
    assert!(
        trial.passes("forward", &to("10.1.0.7", INVALID)),
        "within the network"
    );
}

#[test]
fn limits_drop_what_is_beyond() {
    let limits = Limits {
        packets: Some(10),
        new_connections: Some(5),
        connections: None,
    };
    let elements = limit_elements(limits, Some("p1"), &[ip("10.1.0.2")]);
    let packet = |is_beyond, state| Packet {
        is_beyond,
        state,
        ..Packet::tcp("10.1.0.2", "9.9.9.9", 80).by("p1", "eth0")
    };
    for (chains, chain) in [(guard::chains(), "guard"), (limits::chains(), "limits")] {
        let mut trial = Trial::new(chains);
        trial.add(&elements);
        assert!(trial.passes(chain, &packet(false, NEW)), "{chain}");
        assert!(!trial.passes(chain, &packet(true, NEW)), "{chain}");
    }
    let mut trial = Trial::new(limits::chains());
    trial.add(&elements);
    assert!(
        trial.passes("limits", &packet(true, ESTABLISHED)),
        "it begins nothing"
    );
}

#[test]
fn limits_are_elements_of_what_they_limit() {
    let sets = |limits| -> Vec<String> {
        let addresses = [ip("10.1.0.2"), ip("fd00::2")];
        let elements: Vec<NftRecord> = limit_elements(limits, Some("p1"), &addresses);
        elements.iter().map(|one| one.set.to_string()).collect()
    };
    let none = Limits::default();
    assert!(sets(none).is_empty());
    let packets = Limits {
        packets: Some(1),
        ..none
    };
    assert_eq!(sets(packets), ["packet_rates"]);
    let connections = Limits {
        connections: Some(1),
        ..none
    };
    assert_eq!(sets(connections), ["held4", "held6"]);
    let begun = Limits {
        new_connections: Some(1),
        ..none
    };
    assert_eq!(sets(begun), ["begun4", "begun6"]);
}
