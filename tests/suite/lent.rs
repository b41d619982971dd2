//! An interface of the host comes back from a hostile container: nothing of what the container did to it comes along,
//! and nothing comes in its place.

use serde_json::{Value, json};
use weft_testkit::{Call, Container, Host, HostState, Suite};

/// A host with a pair of which `phys0` is lent and `wire0` stays.
struct Lender {
    suite: Suite,
    host: Host,
}

impl Lender {
    fn new() -> Self {
        let host = Host::new();
        host.sh(
            "ip link add phys0 type veth peer name wire0 && ip link set wire0 up && \
             ip link set phys0 alias uplink group 7 up && \
             ip link property add dev phys0 altname enp0s7 && ip addr add 192.0.2.2/24 dev phys0",
        );
        Self {
            suite: Suite::weft(),
            host,
        }
    }

    fn call(&self, verb: &str, conf: &Value, container: &Container) -> weft_testkit::Outcome {
        Call::new(&self.suite, verb, conf)
            .container(container)
            .on(&self.host)
    }

    /// Lends the interface, lets the container do its worst, and requires that it comes back as it was.
    fn lends(&self, container: &Container, worst: &str) {
        let before = HostState::of(&self.host);
        let index = self.host.sh("ip -o link show phys0 | cut -d: -f1");
        self.call("ADD", &lent(), container).ok();
        container.sh(worst);
        self.call("DEL", &lent(), container).ok();
        before.assert_same(&self.host, worst);
        assert_eq!(self.host.sh("ip -o link show phys0 | cut -d: -f1"), index);
        let link = self.host.sh("ip -d -o link show phys0");
        for word in ["group 7", "alias uplink", "altname enp0s7"] {
            assert!(link.contains(word), "{word} after {worst}: {link}");
        }
        assert_eq!(link.matches("altname").count(), 1, "{link}");
    }
}

fn lent() -> Value {
    json!({"cniVersion": "1.0.0", "name": "lent", "type": "weft-host", "device": "phys0"})
}

fn bridged() -> Value {
    json!({"cniVersion": "1.0.0", "name": "net1", "type": "weft-bridge", "bridge": "wbr1",
        "ipam": {"type": "weft-ipam", "subnet": "10.1.0.0/24"}})
}

#[test]
fn what_a_container_wrote_on_it_stays_behind() {
    let lender = Lender::new();
    for worst in [
        "ip link set eth0 group 2003134068",
        "ip link set eth0 alias weft:net1/nobody/eth0",
        "ip link property add dev eth0 altname wbr1 altname veth00000000000",
        // Its own mark is another interface's, or nowhere.
        "a=$(ip -d link show eth0 | sed -n 's/.*altname \\(wef[^ ]*\\)/\\1/p'); \
         ip link property del dev eth0 altname $a; ip link add fake type veth peer name tap; \
         ip link property add dev fake altname $a; ip link set tap up",
        "a=$(ip -d link show eth0 | sed -n 's/.*altname \\(wef[^ ]*\\)/\\1/p'); \
         ip link property del dev eth0 altname $a; ip link set eth0 down; ip link set eth0 name x; \
         ip link set x address 02:00:00:00:00:99; ip link add eth0 type dummy || ip link add eth0 type bridge",
    ] {
        lender.lends(&lender.host.container(), worst);
    }
}

/// A container that deletes it and makes one with its name, mark and index gives the host nothing.
#[test]
fn another_interface_does_not_come_in_its_place() {
    let lender = Lender::new();
    let container = lender.host.container();
    lender.call("ADD", &lent(), &container).ok();
    container.sh(
        "i=$(ip -o link show eth0 | cut -d: -f1); p=$(ip -o link show eth0 | sed 's/.*@if\\([0-9]*\\):.*/\\1/'); \
         a=$(ip -d link show eth0 | sed -n 's/.*altname \\(wef[^ ]*\\)/\\1/p'); \
         m=$(ip -o link show eth0 | sed 's/.*ether \\([^ ]*\\).*/\\1/'); ip link del eth0; \
         ip link add eth0 index $i address $m type veth peer name tap index $p; \
         ip link property add dev eth0 altname $a",
    );
    let outcome = lender.call("DEL", &lent(), &container);
    outcome.ok();
    assert!(outcome.stderr.contains("phys0"), "{}", outcome.stderr);
    assert!(container.succeeds("ip link show eth0"), "it is its own");
    let links = lender.host.sh("ip -o link");
    assert_eq!(links.lines().count(), 1, "lo alone: {links}");
}

/// Of several interfaces on one parent the one that was lent comes back, though the container makes one more, changes
/// MACs and swaps the marks; the others stay where they are.
#[test]
fn siblings_are_told_apart() {
    let lender = Lender::new();
    lender.host.sh(
        "ip link add link phys0 name mv0 type macvlan mode bridge && ip addr add 192.0.0.2/24 dev mv0 && \
         ip link add link phys0 name mv1 type macvlan mode bridge && ip addr add 192.0.1.2/24 dev mv1",
    );
    let of = |device: &str| {
        let mut conf = lent();
        conf["device"] = device.into();
        conf["name"] = device.into();
        conf
    };
    let container = lender.host.container();
    let state = || lender.host.sh("ip -d -o link; ip -br -4 addr");
    let before = state();
    lender.call("ADD", &of("mv0"), &container).ok();
    // The other one can be lent as well, and comes back by itself.
    let other = lender.host.container();
    lender.call("ADD", &of("mv1"), &other).ok();
    lender.call("DEL", &of("mv1"), &other).ok();
    container.sh(
        "a=$(ip -d link show eth0 | sed -n 's/.*altname \\(wef[^ ]*\\)/\\1/p'); \
         ip link add link eth0 name clone type macvlan; ip link property del dev eth0 altname $a; \
         ip link property add dev clone altname $a; ip link set eth0 down; ip link set eth0 address 02:00:00:00:00:98",
    );
    lender.call("DEL", &of("mv0"), &container).ok();
    assert_eq!(state(), before);
    assert!(
        container.has_interface("clone"),
        "it is the container's own"
    );
}

/// What sits on it, and what keeps it from working, does not stay.
#[test]
fn it_works_when_it_is_back() {
    let lender = Lender::new();
    lender.host.sh("ip addr add 192.0.2.1/32 dev lo");
    let flags = || lender.host.sh("ip -d -o link show phys0");
    let before = flags();
    let container = lender.host.container();
    lender.call("ADD", &lent(), &container).ok();
    container.sh(
        "ip link add link eth0 name thief type macvlan mode passthru; ip link set thief up; \
         ip link set eth0 arp off; ip link set eth0 multicast off; ip link set eth0 mode dormant; \
         ip link set eth0 dynamic on; ip link set eth0 promisc on",
    );
    lender.call("DEL", &lent(), &container).ok();
    assert!(!container.has_interface("thief"));
    assert_eq!(flags(), before);
}

/// In a namespace that only a socket keeps it cannot be found: the record stays, and DEL brings it back later.
#[test]
fn one_that_is_hidden_is_not_forgotten() {
    let lender = Lender::new();
    let container = lender.host.container();
    lender.call("ADD", &lent(), &container).ok();
    // A process makes a namespace, moves the interface there, and keeps a socket of it, not the namespace.
    let script = "import ctypes, os, socket, subprocess, sys\n\
        libc = ctypes.CDLL(None)\n\
        home = os.open('/proc/self/ns/net', os.O_RDONLY)\n\
        assert libc.unshare(0x40000000) == 0\n\
        kept = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
        inner = os.open('/proc/self/ns/net', os.O_RDONLY)\n\
        assert libc.setns(home, 0x40000000) == 0\n\
        subprocess.check_call(['ip', 'link', 'set', 'eth0', 'netns', '/proc/%d/fd/%d' % (os.getpid(), inner)])\n\
        os.close(inner)\n\
        print('ready', flush=True)\n\
        sys.stdin.read()\n";
    let mut command = std::process::Command::new("python3");
    command
        .args(["-c", script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut keeper = container.run(|| command.spawn()).unwrap();
    let mut ready = [0; 6];
    std::io::Read::read_exact(keeper.stdout.as_mut().unwrap(), &mut ready).unwrap();
    let error = lender.call("DEL", &lent(), &container).error();
    let text = error["msg"].as_str().unwrap();
    assert!(
        text.contains("phys0") && text.contains("no namespace that can be seen"),
        "{error}"
    );
    drop(keeper.stdin.take());
    keeper.wait().unwrap();
    // The pair ends with the namespace, and then there is nothing to bring back.
    for _ in 0..50 {
        if !lender.host.succeeds("ip link show wire0") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    lender.call("DEL", &lent(), &container).ok();
}

/// Its index is another interface's in the container.
#[test]
fn an_index_that_is_taken_inside() {
    let lender = Lender::new();
    lender
        .host
        .sh("ip link del phys0; ip tuntap add phys0 mode tap");
    let index = lender.host.sh("ip -o link show phys0 | cut -d: -f1");
    let container = lender.host.container();
    container.sh(&format!(
        "ip link add other index {} type bridge; ip tuntap add tap0 mode tap",
        index.trim()
    ));
    lender.call("ADD", &lent(), &container).ok();
    let inside = container.sh("ip -o link show eth0 | cut -d: -f1");
    assert_ne!(index, inside, "the control");
    lender.call("DEL", &lent(), &container).ok();
    assert!(lender.host.succeeds("ip link show phys0"));
    assert!(container.succeeds("ip link show other") && !container.succeeds("ip link show eth0"));
}

/// Loads a program that lets all pass, and attaches it to eth0.
const XDP: &str = r#"
import ctypes, os, socket, struct
insns = ctypes.create_string_buffer(struct.pack("=BBhiBBhi", 0xb7, 0, 0, 2, 0x95, 0, 0, 0))
lic = ctypes.create_string_buffer(b"GPL")
attr = ctypes.create_string_buffer(struct.pack("=IIQQ", 6, 2, ctypes.addressof(insns), ctypes.addressof(lic)) + bytes(96))
fd = ctypes.CDLL(None, use_errno=True).syscall(321, 5, attr, len(attr))
assert fd >= 0, os.strerror(ctypes.get_errno())
nested = struct.pack("=HHiHHI", 8, 1, fd, 8, 3, 2)
body = struct.pack("=BxHiII", 0, 0, socket.if_nametoindex("eth0"), 0, 0) + struct.pack("=HH", 4 + len(nested), 43 | 0x8000) + nested
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
s.send(struct.pack("=IHHII", 16 + len(body), 19, 5, 1, 0) + body)
answer = s.recv(4096)
assert struct.unpack_from("=i", answer, 16)[0] == 0, answer
"#;

#[test]
fn a_program_that_decides_over_packets_stays_behind() {
    let lender = Lender::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), XDP).unwrap();
    let attach = format!("python3 {}", file.path().display());
    let container = lender.host.container();
    lender.call("ADD", &lent(), &container).ok();
    container.sh(&attach);
    assert!(container.sh("ip link show eth0").contains("xdp"), "control");
    lender.call("DEL", &lent(), &container).ok();
    let link = lender.host.sh("ip link show phys0");
    assert!(!link.contains("xdp"), "{link}");
}

/// Whatever else is in a group of links, or looks like a link of Weft's: DEL and GC delete Weft's own.
#[test]
fn dels_and_gc_leave_other_interfaces_alone() {
    let lender = Lender::new();
    let names: Vec<String> = (0..3)
        .map(|_| {
            let container = lender.host.container();
            lender.call("ADD", &bridged(), &container).ok();
            let links = lender.host.sh("ip -o link show master wbr1");
            let last = links.lines().last().unwrap();
            last.split(": ")
                .nth(1)
                .unwrap()
                .split('@')
                .next()
                .unwrap()
                .to_owned()
        })
        .collect();
    // The number that Weft marked links with once.
    lender.host.sh(
        "ip link set lo group 2003134068; ip link set wire0 group 2003134068; \
         ip link add other0 type bridge && ip link set other0 alias weft:net1/nobody/eth0",
    );
    // A record whose link is gone, and something else that has its name.
    lender.host.sh(&format!(
        "ip link del {0}; ip link add {0} type bridge",
        names[0]
    ));
    let mut gc = bridged();
    gc["cniVersion"] = "1.1.0".into();
    gc["cni.dev/valid-attachments"] = json!([]);
    let outcome = Call::new(&lender.suite, "GC", &gc).on(&lender.host);
    outcome.ok();
    assert!(outcome.stderr.contains(&names[0]), "{}", outcome.stderr);
    for name in ["wire0", "phys0", "other0", &names[0]] {
        assert!(
            lender.host.succeeds(&format!("ip link show {name}")),
            "{name}"
        );
    }
    for name in &names[1..] {
        assert!(!lender.host.succeeds(&format!("ip link show {name}")));
    }
}

/// A store that cannot be read keeps no interface of the host in a container; what only looks like one stays there.
#[test]
fn a_damaged_store_gives_the_device_back() {
    let lender = Lender::new();
    let damage = || std::fs::write(lender.host.store().path(), "not a database").unwrap();
    let container = lender.host.container();
    lender.call("ADD", &lent(), &container).ok();
    damage();
    lender.call("DEL", &lent(), &container).ok();
    assert!(!container.succeeds("ip link show eth0"));
    let links = lender.host.sh("ip -o link");
    assert!(links.contains("wefd"), "{links}");
    Call::weft(&lender.suite, &["store", "rebuild"]).on(&lender.host);
    lender.host.sh(
        "l=$(ip -o link | sed -n 's/.* \\(wefd[^@]*\\)@.*/\\1/p'); ip link set $l down; ip link set $l name phys0",
    );
    let container = lender.host.container();
    lender.call("ADD", &lent(), &container).ok();
    container.sh(
        "a=$(ip -d link show eth0 | sed -n 's/.*altname \\(wef[^ ]*\\)/\\1/p'); ip link del eth0; \
         ip link add fake type veth peer name tap; ip link property add dev fake altname $a",
    );
    damage();
    let outcome = lender.call("DEL", &lent(), &container);
    outcome.ok();
    assert!(outcome.stderr.contains("stays there"), "{}", outcome.stderr);
    assert!(container.succeeds("ip link show fake"));
}
