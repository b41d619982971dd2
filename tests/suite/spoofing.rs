//! Containers that pretend to be others, with all that NET_ADMIN and NET_RAW allow: nothing passes,
//! and it is counted.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Stdio};

use serde_json::{Value, json};
use weft_testkit::Container;

use crate::bridge::Net;
use crate::isolation::network;

/// How many frames of the container's port were dropped.
fn dropped(net: &Net, port: &str) -> u64 {
    let listing: Value =
        serde_json::from_str(&net.host.sh("nft -j list set bridge weft ports")).unwrap();
    let elements = listing["nftables"][1]["set"]["elem"]
        .as_array()
        .unwrap()
        .clone();
    elements
        .iter()
        .find(|one| one["elem"]["val"] == port)
        .and_then(|one| one["elem"]["counter"]["packets"].as_u64())
        .unwrap()
}

/// An attacker and a victim on one bridge, peers of each other, with and without protection.
struct Scene {
    net: Net,
    attacker: Container,
    victim: Container,
    port: String,
}

impl Scene {
    fn new(keys: &Value) -> Self {
        let net = Net::new();
        let conf = network(&net, 1, keys);
        let ((attacker, result), (victim, _)) = (net.add(&conf), net.add(&conf));
        let port = result["interfaces"][1]["name"].as_str().unwrap().to_owned();
        Self {
            net,
            attacker,
            victim,
            port,
        }
    }

    /// How many frames that match a filter arrive at the bridge (or, of peers, at the victim) while
    /// the attacker does something.
    fn seen(&self, filter: &str, script: &str) -> usize {
        let at_victim = Capture::begin(
            |command| self.victim.run(|| command.spawn()),
            "eth0",
            filter,
        );
        let at_host = Capture::begin(
            |command| self.net.host.run(|| command.spawn()),
            "wtest1",
            filter,
        );
        self.attacker.sh(script);
        at_victim.count() + at_host.count()
    }
}

/// tcpdump, which counts.
struct Capture {
    child: Child,
    errors: BufReader<ChildStderr>,
}

impl Capture {
    /// Returns once it listens.
    fn begin(
        spawn: impl FnOnce(&mut Command) -> std::io::Result<Child>,
        place: &str,
        filter: &str,
    ) -> Self {
        let mut command = Command::new("tcpdump");
        command
            .args(["-n", "-p", "-l", "-i", place, filter])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = spawn(&mut command).unwrap();
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert_ne!(errors.read_line(&mut line).unwrap(), 0, "tcpdump: {filter}");
        }
        Self { child, errors }
    }

    /// Waits a moment for what is still on its way.
    fn count(mut self) -> usize {
        std::thread::sleep(std::time::Duration::from_millis(700));
        let id = i32::try_from(self.child.id()).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::SIGINT).unwrap();
        let mut text = String::new();
        let mut stdout = self.child.stdout.take().unwrap();
        stdout.read_to_string(&mut text).unwrap();
        let _ = self.errors.read_to_string(&mut String::new());
        self.child.wait().unwrap();
        text.lines().filter(|line| !line.is_empty()).count()
    }
}

/// What a container sends with the help of a raw socket: one frame of each kind, five times.
const FORGE: &str = r#"
import socket, struct, sys
def mac(text): return bytes.fromhex(text.replace(':', ''))
def sum16(data):
    data += b'\0' * (len(data) % 2)
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(('eth0', 0))
own = s.getsockname()[4]
other = mac('02:00:00:00:00:66')
def v4(source):
    head = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 28, 1, 0, 64, 17, 0, socket.inet_aton(source), socket.inet_aton('10.1.0.255'))
    head = head[:10] + struct.pack('!H', sum16(head)) + head[12:]
    return head + struct.pack('!HHHH', 7777, 7777, 8, 0)
def v6(source, protocol, data, to='ff02::1'):
    return struct.pack('!IHBB', 0x60000000, len(data), protocol, 255) + socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, to) + data
def icmp6(source, kind, body):
    data = struct.pack('!BBH', kind, 0, 0) + body
    pseudo = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, 'ff02::1') + struct.pack('!II', len(data), 58)
    return v6(source, 58, data[:2] + struct.pack('!H', sum16(pseudo + data)) + data[4:])
def advertisement(source, target):
    return icmp6(source, 136, struct.pack('!I', 0x20000000) + socket.inet_pton(socket.AF_INET6, target) + b'\x02\x01' + own)
def arp(hardware, source):
    return struct.pack('!HHBBH6s4s6s4s', 1, 0x0800, 6, 4, 2, hardware, socket.inet_aton(source), b'\xff' * 6, socket.inet_aton('10.1.0.3'))
IP4, ARP, IP6 = b'\x08\x00', b'\x08\x06', b'\x86\xdd'
frames = {
    'own': own + IP4 + v4('10.1.0.2'),
    'mac': other + IP4 + v4('10.1.0.2'),
    'ipv4': own + IP4 + v4('10.1.0.77'),
    'arp': own + ARP + arp(own, '10.1.0.1'),
    'arp-mac': own + ARP + arp(other, '10.1.0.2'),
    'ipv6': own + IP6 + v6('fd01::77', 17, struct.pack('!HHHH', 7777, 7777, 8, 0)),
    'nd': own + IP6 + advertisement('fd01::2', 'fd01::1'),
    'own-nd': own + IP6 + advertisement('fd01::2', 'fd01::2'),
    'dad': own + IP6 + icmp6('::', 135, b'\0' * 4 + socket.inet_pton(socket.AF_INET6, 'fd01::1')),
    'ra': own + IP6 + icmp6('fd01::2', 134, struct.pack('!BBHII', 64, 0, 1800, 0, 0)),
    'redirect': own + IP6 + icmp6('fd01::2', 137, b'\0' * 36),
    'tagged': own + b'\x81\x00\x00\x05\x08\x00' + v4('10.1.0.77'),
    'twice': own + b'\x81\x00\x00\x05\x81\x00\x00\x06\x08\x00' + v4('10.1.0.77'),
    'other': own + b'\x88\xb5' + b'x' * 46,
}
for _ in range(5): s.send(b'\xff' * 6 + frames[sys.argv[1]])
"#;

fn forge(scene: &Scene, kind: &str, filter: &str) -> usize {
    let file = scene.net.host.dir().join("forge.py");
    std::fs::write(&file, FORGE).unwrap();
    scene.seen(filter, &format!("python3 {} {kind}", file.display()))
}

/// Kinds of frames, and how to tell them from everything else.
const FORGED: [(&str, &str); 12] = [
    ("mac", "ether src 02:00:00:00:00:66"),
    ("ipv4", "src host 10.1.0.77"),
    (
        "arp",
        "arp src host 10.1.0.1 and arp[7] = 2 and arp[18:4] = 0xffffffff",
    ),
    ("arp-mac", "arp[8:4] = 0x02000000"),
    ("ipv6", "src host fd01::77"),
    ("nd", "icmp6 and ip6[40] = 136 and ip6[62:2] = 1"),
    (
        "dad",
        "src host :: and icmp6 and ip6[40] = 135 and ip6[62:2] = 1",
    ),
    ("ra", "icmp6 and ip6[40] = 134"),
    ("redirect", "icmp6 and ip6[40] = 137"),
    ("tagged", "vlan 5 or src host 10.1.0.77"),
    ("twice", "vlan 5 or vlan 6"),
    ("other", "ether proto 0x88b5"),
];

#[track_caller]
fn nothing_passes(keys: &Value) {
    let scene = Scene::new(keys);
    let mut before = dropped(&scene.net, &scene.port);
    for (kind, filter) in FORGED {
        assert_eq!(forge(&scene, kind, filter), 0, "{kind} passed");
        let after = dropped(&scene.net, &scene.port);
        assert!(
            after >= before + 5,
            "{kind}: {before} dropped, then {after}"
        );
        before = after;
    }
    // What is its own passes.
    assert!(forge(&scene, "own", "src host 10.1.0.2 and udp port 7777") >= 5);
    assert!(
        forge(
            &scene,
            "own-nd",
            "icmp6 and ip6[40] = 136 and ip6[62:2] = 2"
        ) >= 5
    );
    let after = dropped(&scene.net, &scene.port);
    assert_eq!(after, before, "frames of its own were dropped");
}

#[test]
fn forged_frames_pass_without_protection() {
    let scene = Scene::new(&json!({}));
    for (kind, filter) in FORGED {
        assert!(forge(&scene, kind, filter) >= 5, "the control: {kind}");
    }
}

#[test]
fn nothing_forged_passes_with_anti_spoof() {
    nothing_passes(&json!({"antiSpoof": true}));
}

#[test]
fn nothing_forged_passes_in_full_mode() {
    nothing_passes(&json!({"isolation": "full"}));
}

/// A MAC of its own choice, or a neighbour's address, and the container is heard no more.
#[test]
fn a_changed_address_is_not_heard() {
    let scene = Scene::new(&json!({"antiSpoof": true}));
    assert!(scene.attacker.reaches("10.1.0.1") && scene.attacker.reaches("fd01::1"));
    scene.attacker.sh("ip addr add 10.1.0.9/24 dev eth0");
    assert!(scene.attacker.cannot_reach("-I 10.1.0.9 10.1.0.1"));
    assert!(scene.attacker.reaches("10.1.0.1"), "the control");
    scene
        .attacker
        .sh("ip link set eth0 address 02:00:00:00:00:67");
    assert!(scene.attacker.cannot_reach("10.1.0.1"));
}

/// Frames to the addresses that are reserved for bridges pass by every hook of the bridge.
const RESERVED: [&str; 4] = ["00", "03", "0d", "0e"];

/// Sends frames in the victim's name to each of them. By which port the bridge knows the victim then: any
/// other one, if ever it does, for the victim's own frames put it right again.
fn learnt(scene: &Scene) -> String {
    let own = scene.victim.sh("ip -br link show eth0 | awk '{print $3}'");
    let own = own.trim();
    let known = || {
        let table = scene.net.host.sh("bridge fdb show br wtest1");
        let is_learnt = |line: &&str| line.starts_with(own) && !line.contains("permanent");
        let line = table.lines().find(is_learnt).unwrap_or_default();
        line.split_whitespace()
            .nth(2)
            .unwrap_or_default()
            .to_owned()
    };
    // It need not be answered to be heard.
    let _ = scene.victim.succeeds("ping -n -c 1 -W 1 10.1.0.1");
    for last in RESERVED {
        let frame = format!("01:80:c2:00:00:{last}:{own}:88:cc:00:00").replace(':', "");
        let frame = format!("{frame:0<120}");
        scene.attacker.sh(&format!(
            "python3 -c \"import socket; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); \
             s.bind(('eth0', 0)); [s.send(bytes.fromhex('{frame}')) for _ in range(5)]\""
        ));
        let port = known();
        if port == scene.port {
            return port;
        }
    }
    known()
}

#[test]
fn a_bridge_learns_nothing_that_is_not_checked() {
    let port_of = |result: &Value| result["interfaces"][1]["name"].as_str().unwrap().to_owned();
    let scene = |net: Net, keys: &Value| {
        let conf = network(&net, 1, keys);
        let ((attacker, result), (victim, theirs)) = (net.add(&conf), net.add(&conf));
        let (port, own) = (port_of(&result), port_of(&theirs));
        let scene = Scene {
            net,
            attacker,
            victim,
            port,
        };
        (scene, own, conf, theirs)
    };
    let others_bridge = || {
        let net = Net::new();
        net.host
            .sh("ip link add wtest1 type bridge && ip link set wtest1 up");
        net
    };
    let (control, _, _, _) = scene(others_bridge(), &json!({}));
    assert_eq!(learnt(&control), control.port, "the control");
    for net in [Net::new(), others_bridge()] {
        let (scene, own, mut conf, theirs) = scene(net, &json!({"isolation": "full"}));
        assert_eq!(learnt(&scene), own);
        conf["prevResult"] = theirs;
        scene.net.call("CHECK", &conf, &scene.victim).ok();
        scene
            .net
            .host
            .sh("ip link set wtest1 type bridge no_linklocal_learn 0");
        let error = scene.net.call("CHECK", &conf, &scene.victim).error();
        let text = error.to_string();
        assert!(text.contains("no_linklocal_learn"), "{text}");
        assert_eq!(learnt(&scene), scene.port, "the second control");
    }
}

#[test]
fn packets_in_reserved_frames_do_not_reach_the_host() {
    use crate::services::{Server, silent_udp};
    let asked = |keys: &Value| {
        let scene = Scene::new(keys);
        let _server = Server::udp_on(&scene.net.host, 7000, "host");
        let by = |last: &str| {
            let address = format!("01:80:c2:00:00:{last}");
            scene.attacker.sh(&format!(
                "ip neigh replace 10.1.0.1 lladdr {address} dev eth0 nud permanent"
            ));
            !scene.attacker.run(|| silent_udp("10.1.0.1:7000"))
        };
        RESERVED.map(by)
    };
    let open = asked(&json!({}));
    assert!(open.contains(&true), "the control: {open:?}");
    assert_eq!(asked(&json!({"isolation": "full"})), [false; 4]);
}

/// A datagram for the host's port 7000: the first fragment goes the usual way, the last in a frame to a
/// reserved address.
const FRAGMENTS: &str = r#"
import socket, struct, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(('eth0', 0))
own, gateway = s.getsockname()[4], bytes.fromhex(sys.argv[1].replace(':', ''))
reserved = gateway if sys.argv[2] == 'usual' else bytes.fromhex('0180c200000e')
def sum16(data):
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
def packet(flags, part):
    head = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(part), 7, flags, 64, 17, 0,
                       socket.inet_aton('10.1.0.2'), socket.inet_aton('10.1.0.1'))
    return b'\x08\x00' + head[:10] + struct.pack('!H', sum16(head)) + head[12:] + part
data = struct.pack('!HHHH', 7001, 7000, 40, 0) + b'x' * 32
s.send(gateway + own + packet(0x2000, data[:24]))
s.send(reserved + own + packet(3, data[24:]))
"#;

#[test]
fn fragments_in_reserved_frames_do_not_either() {
    let arrives = |keys: &Value, way: &str| {
        let scene = Scene::new(keys);
        let host = &scene.net.host;
        let switch = "/proc/sys/net/bridge/bridge-nf-call-iptables";
        host.sh(&format!(
            "[ ! -e {switch} ] || sysctl -qw net.bridge.bridge-nf-call-iptables=0"
        ));
        let receiver = host.run(|| std::net::UdpSocket::bind("0.0.0.0:7000").unwrap());
        let patience = std::time::Duration::from_millis(300);
        receiver.set_read_timeout(Some(patience)).unwrap();
        let file = host.dir().join("fragments.py");
        std::fs::write(&file, FRAGMENTS).unwrap();
        let bridge = host.sh("ip -br link show wtest1 | awk '{print $3}'");
        let (file, bridge) = (file.display(), bridge.trim());
        scene.attacker.sh(&format!("python3 {file} {bridge} {way}"));
        receiver.recv(&mut [0; 64]).is_ok()
    };
    assert!(arrives(&json!({}), "usual"), "the control");
    assert!(arrives(&json!({}), "reserved"), "the second control");
    assert!(!arrives(&json!({"isolation": "full"}), "reserved"));
}
