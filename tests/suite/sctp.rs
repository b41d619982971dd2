//! SCTP, packet by packet: a port that is published, an address that is masqueraded, a rule that opens.
//! The kernels under test need no SCTP of their own: the first two packets of an association (RFC 9260,
//! section 5.1) are made and read by raw sockets, and the host's connection tracking sees real ones.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::json;
use weft_testkit::{Container, Outside};

use crate::bridge::Net;
use crate::isolation::network;
use crate::portmap::Published;

/// `serve PORT NAME` answers each INIT with an INIT ACK that carries its name and whom it sees; `ask
/// ADDRESS PORT` prints what one such answer carries. A checksum that is wrong is no packet.
const ASSOCIATE: &str = r#"
import select, socket, struct, sys, time
SCTP, INIT, INIT_ACK, COOKIE = 132, 1, 2, 7
def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8): crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return struct.pack('<I', crc ^ 0xffffffff)
def packet(source, destination, tag, kind, own_tag, cookie=b''):
    cookie = cookie and struct.pack('!HH', COOKIE, 4 + len(cookie)) + cookie + b'\0' * (-len(cookie) % 4)
    chunk = struct.pack('!BBHIIHHI', kind, 0, 20 + len(cookie), own_tag, 65536, 1, 1, 1) + cookie
    head = struct.pack('!HHI', source, destination, tag)
    return head + crc32c(head + b'\0' * 4 + chunk) + chunk
def read(data, family):
    if family == socket.AF_INET: data = data[(data[0] & 15) * 4:]
    source, destination, tag = struct.unpack('!HHI', data[:8])
    if len(data) < 32 or data[8:12] != crc32c(data[:8] + b'\0' * 4 + data[12:]): return None
    return source, destination, tag, data[12], struct.unpack('!I', data[16:20])[0], data[36:]
def raw(family): return socket.socket(family, socket.SOCK_RAW, SCTP)
if sys.argv[1] == 'serve':
    port, name = int(sys.argv[2]), sys.argv[3]
    sockets = [raw(socket.AF_INET), raw(socket.AF_INET6)]
    print('serving', flush=True)
    while True:
        for s in select.select(sockets, [], [])[0]:
            data, peer = s.recvfrom(2048)
            got = read(data, s.family)
            if got and got[1] == port and got[3] == INIT:
                s.sendto(packet(port, got[0], got[4], INIT_ACK, 7777, f'{name} {peer[0]}'.encode()), (peer[0], 0))
address, port = sys.argv[2], int(sys.argv[3])
s = raw(socket.AF_INET6 if ':' in address else socket.AF_INET)
end = time.monotonic() + float(sys.argv[4])
while (left := end - time.monotonic()) > 0:
    s.sendto(packet(5000, port, 0, INIT, 4242), (address, 0))
    again = time.monotonic() + min(left, 0.5)
    while select.select([s], [], [], max(0, again - time.monotonic()))[0]:
        data, peer = s.recvfrom(2048)
        got = read(data, s.family)
        if got and peer[0] == address and got[:4] == (port, 5000, 4242, INIT_ACK):
            print(got[5].rstrip(b'\0').decode())
            sys.exit()
print('nobody')
"#;

/// Where the program above is called.
struct Peers {
    file: String,
}

impl Peers {
    fn new(net: &Net) -> Self {
        let file = net.host.dir().join("associate.py");
        std::fs::write(&file, ASSOCIATE).unwrap();
        Self {
            file: file.display().to_string(),
        }
    }

    /// A server on a port, of both families; it serves when this returns.
    fn serve(&self, container: &Container, port: u16, name: &str) -> Serving {
        let mut command = Command::new("python3");
        command
            .args([&self.file, "serve", &port.to_string(), name])
            .stdout(Stdio::piped());
        let mut child = container.run(|| command.spawn().unwrap());
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "serving\n");
        Serving { child }
    }

    /// The name of who answers, and whom it sees.
    fn ask(&self, from: &Container, address: &str, port: u16) -> String {
        self.ask_for(from, address, port, 8.0)
    }

    fn silent(&self, from: &Container, address: &str, port: u16) -> bool {
        self.ask_for(from, address, port, 1.0) == "nobody"
    }

    fn ask_for(&self, from: &Container, address: &str, port: u16, seconds: f32) -> String {
        let file = &self.file;
        from.sh(&format!("python3 {file} ask {address} {port} {seconds}"))
            .trim()
            .to_owned()
    }
}

struct Serving {
    child: Child,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_published_port_is_reached_and_ends() {
    for isolation in ["none", "full"] {
        let net = Net::new();
        let outside = Outside::join(&net.host);
        let conf = network(&net, 1, &json!({"isolation": isolation}));
        let ports = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "sctp"}]);
        let a = Published::new(&net, &conf, &ports);
        let peers = Peers::new(&net);
        let _serving = peers.serve(&a.container, 80, "a");
        let hosts = [("192.0.2.2", "192.0.2.1"), ("2001:db8::2", "2001:db8::1")];
        for (host, _) in hosts {
            assert!(peers.silent(outside.machine(), host, 8081), "{isolation}");
        }
        for (host, source) in hosts {
            let answer = peers.ask(outside.machine(), host, 8080);
            assert_eq!(answer, format!("a {source}"), "{isolation}");
        }
        // The same ports of both ends: what connection tracking knew of them is gone as well.
        net.call("DEL", &a.ports, &a.container).ok();
        for (host, _) in hosts {
            assert!(peers.silent(outside.machine(), host, 8080), "{isolation}");
        }
    }
}

#[test]
fn a_masqueraded_container_has_the_hosts_address() {
    let net = Net::new();
    let outside = Outside::join(&net.host);
    let (a, _) = net.add(&network(&net, 1, &json!({"ipMasq": true})));
    let peers = Peers::new(&net);
    let _serving = peers.serve(outside.machine(), 7, "outside");
    assert_eq!(peers.ask(&a, "192.0.2.1", 7), "outside 192.0.2.2");
    assert_eq!(peers.ask(&a, "2001:db8::1", 7), "outside 2001:db8::2");
}

#[test]
fn a_rule_opens_its_ports_and_nothing_else() {
    let net = Net::new();
    let policy = json!({"ingress": [{"from": {"network": "net1"}, "ports": ["sctp/80"]}]});
    let keys = json!({"isolation": "full", "policy": policy});
    let conf = network(&net, 1, &keys);
    let ((a, _), (b, _)) = (net.add(&conf), net.add(&conf));
    let peers = Peers::new(&net);
    let _serving = [peers.serve(&a, 80, "open"), peers.serve(&a, 81, "closed")];
    assert_eq!(peers.ask(&b, "10.1.0.2", 80), "open 10.1.0.3");
    assert_eq!(peers.ask(&b, "fd01::2", 80), "open fd01::3");
    for address in ["10.1.0.2", "fd01::2"] {
        assert!(peers.silent(&b, address, 81), "{address}");
    }
}
