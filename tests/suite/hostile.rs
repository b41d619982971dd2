//! What a hostile container tries against its neighbours, beyond the frames of `frames`: errors about others'
//! connections, sources of machines outside, bridge protocol frames, interfaces on the host's bridge.

use serde_json::json;
use weft_testkit::{Call, Container, Outside};

use crate::bridge::Net;
use crate::isolation::network;
use crate::lan::mac_of;
use crate::services::{Server, any_socket, ask_udp_by, try_udp};

/// The functions of `frames.py`, for a script that goes on from there.
fn with_frames(script: &str) -> String {
    let frames = include_str!("frames.py").split("\nif __name__").next();
    let text = format!("{}\n{script}", frames.unwrap());
    format!("python3 - <<'END'\n{text}\nEND")
}

fn raw_send(destination: &str, rest: &str) -> String {
    format!(
        "s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind((\"eth0\", 0)); \
         s.send(mac(\"{destination}\") + s.getsockname()[4] + {rest})"
    )
}

/// A closed neighbour quotes somebody else's connection in errors: neither the path MTU nor the connection suffers. The
/// other end, and a router outside, are heard.
#[test]
fn errors_about_others_connections_are_not_believed() {
    let net = Net::new();
    let outside = Outside::join(&net.host);
    let machine = outside.machine();
    machine.sh("ip route add 10.0.0.0/8 via 192.0.2.2");
    let keys = json!({"isolation": "full",
        "policy": {"egress": [{"from": {"network": "net1"}, "to": "any", "ports": ["udp/5000"]}]}});
    let conf = network(&net, 1, &keys);
    let ((victim, _), (neighbour, _)) = (net.add(&conf), net.add(&conf));
    let (open, _) = net.add(&network(&net, 2, &json!({})));
    let server = Server::udp(machine, 5000, "outside");
    // The same socket: one connection.
    let socket = victim.run(any_socket);
    let asks = || {
        ask_udp_by(&socket, "192.0.2.1:5000").is_some_and(|answer| answer.starts_with("outside"))
    };
    let source_port = || socket.local_addr().unwrap().port();
    let mtu_is_600 = || victim.sh("ip route get 192.0.2.1").contains("mtu 600");
    let flush = || victim.sh("ip route flush cache");
    let tell = |from: &str, gateway: &str| {
        let port = source_port();
        with_frames(&format!(
            "q = ip4('10.1.0.2', '192.0.2.1', 17, struct.pack('!HHHH', {port}, 5000, 12, 0) + b'ping')\n\
             e = struct.pack('!BBHHH', 3, 4, 0, 0, 600) + q\n\
             e = e[:2] + struct.pack('!H', sum16(e)) + e[4:]\n{}",
            raw_send(
                gateway,
                &format!("with_type(0x800, ip4('{from}', '10.1.0.2', 1, e))")
            )
        ))
    };
    let host_mac = |link: &str| mac_of(&net.host.sh(&format!("ip -o link show {link}")));
    assert!(asks(), "control");
    neighbour.sh("ping -c 1 -W 1 10.1.0.1 >/dev/null; true");
    neighbour.sh(&tell("10.1.0.3", &host_mac("wtest1")));
    assert!(!mtu_is_600(), "by a neighbour");
    for source in ["10.2.0.2", "198.51.100.9"] {
        open.sh(&tell(source, &host_mac("wtest2")));
        assert!(!mtu_is_600(), "by an open container as {source}");
    }
    assert!(asks(), "the connection goes on");
    let uplink = mac_of(&net.host.sh("ip -o link show uplink"));
    machine.sh(&tell("198.51.100.9", &uplink).replace("\"eth0\"", "\"uplink0\""));
    assert!(mtu_is_600(), "a router outside is heard");
    flush();
    drop(server);
}

/// A rule for machines outside lets them in, and no container that writes their address.
#[test]
fn a_rule_for_outside_is_not_for_containers() {
    let net = Net::new();
    let outside = Outside::join(&net.host);
    outside
        .machine()
        .sh("ip route add 10.0.0.0/8 via 192.0.2.2");
    std::fs::create_dir_all(net.host.policy_dir()).unwrap();
    std::fs::write(
        net.host.policy_dir().join("admins.toml"),
        "[[allow]]\nfrom = { cidr = [\"192.0.2.1/32\", \"10.0.0.0/8\"] }\nto = { network = \"net1\" }\nports = [\"udp/9\"]\n",
    )
    .unwrap();
    net.host
        .sh("ip link add theirs0 type bridge && ip link set theirs0 up");
    let full = network(&net, 1, &json!({"isolation": "full"}));
    let (target, _) = net.add(&full);
    let server = Server::udp(&target, 9, "target");
    let answer = |from: &Container| from.run(|| try_udp(&any_socket(), "10.1.0.2:9"));
    assert!(answer(outside.machine()).is_some_and(|answer| answer.starts_with("target")));
    let open = network(&net, 2, &json!({}));
    let theirs = network(&net, 3, &json!({"bridge": "theirs0"}));
    net.host
        .sh("ip link add grouped0 type bridge && ip link set grouped0 group 77 up");
    let grouped = network(&net, 5, &json!({"bridge": "grouped0"}));
    let peer = network(&net, 4, &json!({"isolation": "peer"}));
    for (conf, link) in [
        (&open, "wtest2"),
        (&theirs, "theirs0"),
        (&grouped, "grouped0"),
        (&peer, "wtest4"),
    ] {
        let (container, _) = net.add(conf);
        assert_eq!(answer(&container), None, "{link} with its own address");
        let before = packets_to(&target);
        let gateway = mac_of(&net.host.sh(&format!("ip -o link show {link}")));
        container.sh(&with_frames(&raw_send(
            &gateway,
            "with_type(0x800, ip4('192.0.2.1', '10.1.0.2', 17, udp('192.0.2.1', '10.1.0.2', 9, MARK)))",
        )));
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert_eq!(packets_to(&target), before, "{link} with another's address");
        net.del(conf, &container);
    }
    assert!(
        net.host
            .sh("ip -d link show theirs0")
            .contains("group default"),
        "the administrator's bridge is as it was"
    );
    assert!(net.host.sh("ip -d link show grouped0").contains("group 77"));
    drop(server);
}

/// How many datagrams the namespace has taken in.
fn packets_to(container: &Container) -> String {
    container.sh("grep '^Udp: [0-9]' /proc/net/snmp | cut -d' ' -f2")
}

/// Sends a datagram from a port to a machine outside.
fn say(from: &Container, source_port: u16, to: &str) {
    from.sh(&format!(
        "python3 -c \"import socket; s = socket.socket(socket.AF_INET6 if ':' in '{to}' else socket.AF_INET, \
         socket.SOCK_DGRAM); s.bind(('', {source_port})); s.sendto(b'x', ('{to}', 5000))\""
    ));
    std::thread::sleep(std::time::Duration::from_millis(100));
}

/// How many datagrams the machine outside has taken in, wanted or not.
fn to_machine(outside: &Outside) -> String {
    outside.machine().sh(
        "grep '^Udp: [0-9]' /proc/net/snmp | cut -d' ' -f2,3; awk '/^Udp6(InDatagrams|NoPorts)/ {print $2}' /proc/net/snmp6",
    )
}

/// A packet that a closed container sends to itself in another's name is no connection that it may answer.
#[test]
fn no_container_answers_what_it_has_made_up() {
    for isolation in ["none", "peer", "mesh"] {
        let net = Net::new();
        let outside = Outside::join(&net.host);
        let machine = outside.machine();
        machine
            .sh("ip route add 10.0.0.0/8 via 192.0.2.2 && ip route add fd00::/8 via 2001:db8::2");
        net.host
            .sh("sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0");
        let conf = network(&net, 1, &json!({"isolation": isolation}));
        let (container, _) = net.add(&conf);
        let gateway = mac_of(&net.host.sh("ip -o link show wtest1"));
        // Until its own address is its own the host asks for no neighbour.
        let is_sure = |link: &str| {
            format!(
                "for i in $(seq 50); do ip -6 addr show dev {link} tentative | grep -q inet6 || break; sleep 0.1; done"
            )
        };
        container.sh(&is_sure("eth0"));
        net.host.sh(&is_sure("uplink"));
        for (own, to) in [("10.1.0.2", "192.0.2.1"), ("fd01::2", "2001:db8::1")] {
            let packet = match own.contains(':') {
                true => format!(
                    "with_type(0x86DD, ip6('{to}', '{own}', 17, sum_of('{to}', '{own}', 17, struct.pack('!HHHH', 5000, 4321, 8, 0), 6)))"
                ),
                false => format!(
                    "with_type(0x800, ip4('{to}', '{own}', 17, sum_of('{to}', '{own}', 17, struct.pack('!HHHH', 5000, 4321, 8, 0), 6)))"
                ),
            };
            container.sh(&with_frames(&raw_send(&gateway, &packet)));
            let before = to_machine(&outside);
            say(&container, 4321, to);
            let is_heard = to_machine(&outside) != before;
            assert_eq!(is_heard, isolation == "none", "{isolation} {to}");
        }
    }
}

/// What outside has sent to an address before there was a container with it is no connection that the container may
/// answer, if its network is closed.
#[test]
fn no_container_answers_what_came_before_it() {
    for isolation in ["none", "full"] {
        let net = Net::new();
        let outside = Outside::join(&net.host);
        outside
            .machine()
            .sh("ip route add 10.0.0.0/8 via 192.0.2.2");
        // Connections are tracked from now on.
        net.add(&network(&net, 2, &json!({"ipMasq": true})));
        let conf = network(&net, 1, &json!({"isolation": isolation}));
        let (first, _) = net.add(&conf);
        net.del(&conf, &first);
        outside.machine().sh(
            "python3 -c \"import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 5000)); \
             [s.sendto(b'x', ('10.1.0.%d' % i, 4321)) for i in range(2, 10)]\"",
        );
        let (next, _) = net.add(&conf);
        let before = to_machine(&outside);
        say(&next, 4321, "192.0.2.1");
        let is_heard = to_machine(&outside) != before;
        assert_eq!(is_heard, isolation == "none", "{isolation}");
    }
}

/// A peer that is kept apart does not speak through its neighbour's connection with outside.
#[test]
fn no_peer_speaks_through_anothers_connection() {
    let net = Net::new();
    let outside = Outside::join(&net.host);
    let machine = outside.machine();
    machine.sh("ip route add 10.0.0.0/8 via 192.0.2.2");
    net.host
        .sh("sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0");
    let conf = network(&net, 1, &json!({"ingressPolicy": "isolated"}));
    let ((sender, _), (neighbour, _)) = (net.add(&conf), net.add(&conf));
    let server = Server::udp(machine, 5000, "outside");
    let socket = neighbour.run(any_socket);
    assert!(
        ask_udp_by(&socket, "192.0.2.1:5000").is_some(),
        "the control"
    );
    let port = socket.local_addr().unwrap().port();
    let gateway = mac_of(&net.host.sh("ip -o link show wtest1"));
    let before = packets_to(&neighbour);
    sender.sh(&with_frames(&raw_send(
        &gateway,
        &format!("with_type(0x800, ip4('192.0.2.1', '10.1.0.3', 17, sum_of('192.0.2.1', '10.1.0.3', 17, struct.pack('!HHHH', 5000, {port}, 8, 0), 6)))"),
    )));
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(packets_to(&neighbour), before);
    assert!(
        ask_udp_by(&socket, "192.0.2.1:5000").is_some(),
        "it goes on"
    );
    drop(server);
}

/// A published port of one container opens nothing between two others: frames for it reach its own port alone.
#[test]
fn a_published_port_opens_no_neighbour() {
    for keys in [
        json!({"isolation": "full"}),
        json!({"ingressPolicy": "isolated"}),
    ] {
        let net = Net::new();
        // Without br_netfilter, where there is one: nothing rewrites frames.
        net.host
            .sh("sysctl -qw net.bridge.bridge-nf-call-iptables=0 2>/dev/null || true");
        let conf = network(&net, 1, &keys);
        let ((sender, _), (published, result), (third, _)) =
            (net.add(&conf), net.add(&conf), net.add(&conf));
        let script = crate::frames::script();
        let send = |to: &Container| {
            let hearing = crate::frames::Hearing::begin(to, &script);
            let mac = mac_of(&to.sh("ip -o link show eth0"));
            sender.sh(&with_frames(&raw_send(
                &mac,
                "with_type(0x800, ip4('10.1.0.2', '10.1.0.3', 6, tcp('10.1.0.2', '10.1.0.3', 2, MARK, 80)))",
            )));
            hearing.end().len()
        };
        assert_eq!(send(&third), 0, "{keys}");
        crate::isolation::publish(&net, "net1", &published, &result);
        assert_eq!(send(&third), 0, "{keys}, published");
        if keys["ingressPolicy"] == "isolated" {
            assert!(send(&published) > 0, "the control: it is let in there");
        }
    }
}

/// A closed network whose bridge gets another name stays closed, and doctor says so.
#[test]
fn a_renamed_bridge_is_closed() {
    for isolation in ["none", "peer", "full"] {
        let net = Net::new();
        let (container, _) = net.add(&network(&net, 1, &json!({"isolation": isolation})));
        let (open, _) = net.add(&network(&net, 2, &json!({})));
        net.host
            .sh("ip link set wtest1 down; ip link set wtest1 name other0; ip link set other0 up");
        net.host.sh("ip route replace 10.1.0.0/24 dev other0 2>/dev/null; ip route replace 10.1.0.2 dev other0");
        assert_eq!(open.reaches("10.1.0.2"), isolation == "none", "{isolation}");
        let doctor = Call::weft(&net.suite, &["doctor"]).on(&net.host);
        assert!(doctor.stdout.contains("wtest1 is missing"), "{doctor:?}");
        drop(container);
    }
}

/// ADD and DEL of one attachment at once, again and again: after the last DEL nothing is left.
#[test]
fn calls_for_one_attachment_take_turns() {
    let net = Net::new();
    let conf = network(&net, 1, &json!({"isolation": "full", "ipMasq": true}));
    let _neighbour = net.add(&conf);
    let before = weft_testkit::HostState::of(&net.host);
    let container = net.host.container();
    for _ in 0..12 {
        std::thread::scope(|scope| {
            for number in 0..8 {
                let (net, conf, container) = (&net, &conf, &container);
                scope.spawn(move || net.call(["ADD", "DEL"][number % 2], conf, container));
            }
        });
    }
    net.call("DEL", &conf, &container).ok();
    before.assert_same(&net.host, "ADD and DEL of one attachment at once");
}

/// With the spanning tree on, a guarded container does not become the root.
#[test]
fn a_container_is_no_bridge() {
    let net = Net::new();
    net.host.sh(
        "ip link add wtest1 type bridge stp_state 1 forward_delay 200 && ip link set wtest1 up",
    );
    let conf = network(&net, 1, &json!({"isolation": "full"}));
    let (container, result) = net.add(&conf);
    let mut check = conf.clone();
    check["prevResult"] = result;
    net.call("CHECK", &check, &container).ok();
    let root = || {
        net.host
            .sh("ip -d -o link show wtest1 | grep -o 'designated_root [^ ]*'")
    };
    let before = root();
    container.sh(&with_frames(
        "own = open('/proc/self/net/dev') and socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\n\
         own.bind(('eth0', 0)); m = own.getsockname()[4]\n\
         b = b'\\x42\\x42\\x03' + bytes(5) + b'\\0\\0' + m + bytes(4) + b'\\0\\0' + m + b'\\x80\\x01\\0\\0\\x14\\0\\x02\\0\\x0f\\0'\n\
         own.send(mac('01:80:c2:00:00:00') + m + struct.pack('!H', len(b)) + b + bytes(20))",
    ));
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(root(), before);
}

/// A container that reaches the host's namespace by its number can make an interface on the host's bridge: that one
/// reaches no closed container.
#[test]
fn an_interface_on_the_hosts_bridge_reaches_no_closed_container() {
    let net = Net::new();
    let conf = network(&net, 1, &json!({"isolation": "full"}));
    let ((sender, _), (victim, _)) = (net.add(&conf), net.add(&conf));
    let index = net.host.sh("ip -o link show wtest1 | cut -d: -f1");
    let dropped = || net.host.sh("nft list chain bridge weft from_host");
    assert!(dropped().contains("packets 0 "), "{}", dropped());
    let server = Server::udp(&victim, 9, "victim");
    sender.sh(&format!(
        "ip link add link if{} link-netnsid 0 name mv0 type macvlan mode bridge && ip link set mv0 up && \
         ip addr add 10.1.0.9/24 dev mv0 && (ip route del 10.1.0.0/24 via 10.1.0.1 || true)",
        index.trim()
    ));
    let seen = packets_to(&victim);
    sender.sh("ping -c 2 -W 1 -I mv0 10.1.0.3 || true");
    assert_eq!(packets_to(&victim), seen);
    assert!(
        !dropped().contains("packets 0 "),
        "it is counted: {}",
        dropped()
    );
    net.host.sh("ping -c 1 -W 2 10.1.0.3");
    drop(server);
}

/// What the administrator has put into Weft's tables outlives a reload; a table of somebody else's with Weft's name is
/// not touched.
#[test]
fn the_administrators_objects_stay() {
    let net = Net::new();
    let conf = network(&net, 1, &json!({"isolation": "full"}));
    let (container, _) = net.add(&conf);
    net.host.sh(
        "nft add set inet weft friends '{ type ipv4_addr; elements = { 192.0.2.9 } }' && \
         nft add chain inet weft mine && nft add rule inet weft mine ip saddr 192.0.2.10 accept && \
         nft add rule inet weft user_pre ip saddr @friends accept && nft add rule inet weft user_pre jump mine",
    );
    let reload = || Call::weft(&net.suite, &["firewall", "reload"]).on(&net.host);
    net.host
        .sh("nft delete element inet weft networks '{ wtest1 }'");
    assert!(reload().is_success());
    let rules = net
        .host
        .sh("nft list chain inet weft user_pre; nft list map inet weft networks");
    assert!(
        rules.contains("@friends") && rules.contains("jump mine"),
        "{rules}"
    );
    assert!(rules.contains("wtest1"), "{rules}");
    net.del(&conf, &container);
    net.host.sh("nft flush ruleset");
    net.host.sh("nft add table inet weft && nft add set inet weft blocked '{ type ipv4_addr; elements = { 198.51.100.7 } }'");
    let error = net.call("ADD", &conf, &net.host.container()).error();
    assert!(
        error["msg"].as_str().unwrap().contains("inet weft"),
        "{error}"
    );
    assert!(net.host.sh("nft list ruleset").contains("198.51.100.7"));
    assert!(!net.host.sh("nft list ruleset").contains("bridge weft"));
}
