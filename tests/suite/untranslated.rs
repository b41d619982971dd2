//! Packets that connection tracking does not know leave with nobody's private address, and flows that began without
//! translation do not go on without it.

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use weft_testkit::{Container, Outside};

use crate::bridge::Net;
use crate::commands::{ok, weft};
use crate::isolation::network;
use crate::portmap::portmap;
use crate::services::{Server, ask_udp_by, bound};

/// TCP segments of no connection: RST, FIN PSH URG, FIN, SYN ACK.
const STRAY: &str = r#"
import socket, struct, sys
def checksum(b):
    s = sum(struct.unpack("!%dH" % (len(b) // 2), b)); s = (s >> 16) + (s & 0xffff); s += s >> 16
    return ~s & 0xffff
for to in sys.argv[1:]:
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    u = socket.socket(family, socket.SOCK_DGRAM); u.connect((to, 9)); own = u.getsockname()[0]
    raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP)
    number = lambda x: socket.inet_pton(family, x)
    for port, flags in ((4001, 0x04), (4002, 0x29), (4003, 0x01), (4004, 0x12)):
        tcp = struct.pack("!HHIIBBHHH", port, 80, 1, 1, 5 << 4, flags, 1000, 0, 0)
        pseudo = number(own) + number(to) + struct.pack("!II", len(tcp), 6)
        tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
        raw.sendto(tcp, (to, 0))
"#;

/// A machine's tcpdump of what comes for port 80.
struct Capture(Child);

impl Capture {
    /// Returns once it listens.
    fn begin(machine: &Container) -> Self {
        let mut command = Command::new("tcpdump");
        command
            .args(["-n", "-l", "-i", "uplink0", "tcp port 80"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = machine.run(|| command.spawn().unwrap());
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(said.any(|line| line.unwrap().contains("listening on")));
        Self(child)
    }

    /// What was caught. The kernel hands over what has arrived within a second.
    fn end(self) -> String {
        std::thread::sleep(Duration::from_millis(1500));
        let process = Pid::from_raw(self.0.id().try_into().unwrap());
        kill(process, Signal::SIGINT).unwrap();
        let output = self.0.wait_with_output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn what_is_invalid_does_not_leave() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), STRAY).unwrap();
    for keys in [
        json!({"ipMasq": true}),
        json!({"ipMasq": {"to": ["192.0.2.2", "2001:db8::2"]}}),
        json!({"ipMasq": true, "isolation": "full",
            "policy": {"ingress": [{"from": "any"}], "egress": [{"to": "any"}]}}),
    ] {
        let net = Net::new();
        let outside = Outside::join(&net.host);
        let conf = network(&net, 1, &keys);
        let (container, _) = net.add(&conf);
        // The control shows that the capture is at work: an answer to the host's own stray segments.
        let capture = Capture::begin(outside.machine());
        let send = format!("python3 {} 192.0.2.1 2001:db8::1", file.path().display());
        // The control first: what is caught of it says that the capture had begun.
        net.host.sh(&send);
        container.sh(&send);
        let caught = capture.end();
        assert!(caught.contains("192.0.2.2.4001"), "the control: {caught}");
        assert!(!caught.contains("IP 10.1.0."), "{keys}: {caught}");
        assert!(!caught.contains("IP6 fd01::"), "{keys}: {caught}");
    }
}

/// Somebody flushes the ruleset; flows that begin until it is there again are tracked without translation.
#[test]
fn flows_of_the_gap_are_translated_again() {
    for by in ["reload", "ADD"] {
        let net = Net::new();
        let outside = Outside::join(&net.host);
        let conf = network(&net, 1, &json!({"ipMasq": true}));
        let (container, result) = net.add(&conf);
        let ports = json!([{"hostPort": 5353, "containerPort": 53, "protocol": "udp"}]);
        net.call("ADD", &portmap(&ports, &result), &container).ok();
        let _server = Server::udp(&container, 53, "c");
        let _beyond = Server::udp(outside.machine(), 7777, "outside");
        let client = outside
            .machine()
            .run(|| bound(|| UdpSocket::bind("192.0.2.1:40000")));
        let inner = container.run(|| bound(|| UdpSocket::bind("10.1.0.2:40001")));
        // The administrator's own rules make the kernel track flows on.
        net.host
            .sh("nft flush ruleset && nft add table inet mine && \
             nft 'add chain inet mine f { type filter hook forward priority 0; }' && \
             nft 'add chain inet mine i { type filter hook input priority 0; }' && \
             nft add rule inet mine f ct state established,related accept && \
             nft add rule inet mine i ct state established,related accept");
        for _ in 0..2 {
            let _ = client.send_to(b"x", "192.0.2.2:5353");
            let _ = inner.send_to(b"x", "192.0.2.1:7777");
            std::thread::sleep(Duration::from_millis(50));
        }
        if by == "ADD" {
            net.add(&conf);
        } else {
            ok(&weft(&net.suite, &net.host, &["firewall", "reload"]));
        }
        let answer = ask_udp_by(&client, "192.0.2.2:5353");
        assert_eq!(
            answer.as_deref(),
            Some("c 192.0.2.1"),
            "{by}: a client's flow"
        );
        let seen = ask_udp_by(&inner, "192.0.2.1:7777");
        assert_eq!(
            seen.as_deref(),
            Some("outside 192.0.2.2"),
            "{by}: the container's flow"
        );
    }
}
