//! `ipam: dhcp` of the reference plugins, with a real DHCP server on the LAN: it asks by the container's interface, which
//! must be there before.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use weft_testkit::{Call, HostState};

use crate::lan::{Lan, MACHINE4, addresses};

const PLUGINS: &str = "/usr/lib/cni";

/// The server on the LAN's machine and the client's daemon; both end with it.
struct Dhcp {
    processes: Vec<Child>,
    socket: PathBuf,
}

impl Dhcp {
    fn start(lan: &Lan) -> Self {
        let directory = lan.host.dir();
        let socket = directory.join("dhcp.sock");
        let quiet = |command: &mut Command| {
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        };
        let server = lan.machine.run(|| {
            quiet(Command::new("dnsmasq").args([
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--port=0",
                "--interface=eth0",
                "--dhcp-range=192.168.60.150,192.168.60.160,1h",
                &format!("--dhcp-leasefile={}", directory.join("leases").display()),
                &format!("--pid-file={}", directory.join("pid").display()),
            ]))
        });
        let client = quiet(
            Command::new(Path::new(PLUGINS).join("dhcp"))
                .arg("daemon")
                .arg("-socketpath")
                .arg(&socket),
        );
        let dhcp = Self {
            processes: vec![server, client],
            socket,
        };
        for _ in 0..100 {
            if dhcp.socket.exists() {
                return dhcp;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the DHCP client's daemon does not listen");
    }

    fn conf(&self, keys: &Value) -> Value {
        let mut conf = json!({"cniVersion": "1.0.0", "name": "leased", "type": "weft-macvlan", "master": "eth1",
            "ipam": {"type": "dhcp", "daemonSocketPath": self.socket.to_str().unwrap()}});
        for (key, value) in keys.as_object().unwrap() {
            conf[key] = value.clone();
        }
        conf
    }
}

impl Drop for Dhcp {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn call(
    lan: &Lan,
    verb: &str,
    conf: &Value,
    container: &weft_testkit::Container,
) -> weft_testkit::Outcome {
    let path = format!("{}:{PLUGINS}", lan.suite.bin_dir.display());
    Call::new(&lan.suite, verb, conf)
        .container(container)
        .var("CNI_PATH", &path)
        .on(&lan.host)
}

#[test]
fn a_container_on_a_master_gets_a_lease() {
    for keys in [
        json!({}),
        json!({"mode": "private"}),
        json!({"mac": "02:00:00:00:77:01"}),
    ] {
        let lan = Lan::new();
        let dhcp = Dhcp::start(&lan);
        let before = HostState::of(&lan.host);
        let conf = dhcp.conf(&keys);
        let container = lan.host.container();
        let result = call(&lan, "ADD", &conf, &container).ok();
        let address = addresses(&result).remove(0);
        assert!(
            address.starts_with("192.168.60.15") || address.starts_with("192.168.60.16"),
            "{result}"
        );
        assert!(container.reaches(MACHINE4));
        if let Some(mac) = keys.get("mac") {
            let leases = std::fs::read_to_string(lan.host.dir().join("leases")).unwrap();
            assert!(
                leases.contains(mac.as_str().unwrap()),
                "the server knows it by its MAC: {leases}"
            );
        }
        let mut check = conf.clone();
        check["prevResult"] = result;
        call(&lan, "CHECK", &check, &container).ok();
        call(&lan, "DEL", &check, &container).ok();
        assert!(!container.succeeds("ip link show eth0"));
        before.assert_same(&lan.host, &format!("{keys}"));
    }
}

/// The same on a bridge that leads to the LAN.
#[test]
fn a_container_on_a_bridge_gets_a_lease() {
    let lan = Lan::new();
    let dhcp = Dhcp::start(&lan);
    lan.host.sh(
        "ip addr flush dev eth1 && ip link add theirs0 type bridge && ip link set eth1 master theirs0 && \
         ip link set theirs0 up",
    );
    let conf = dhcp.conf(&json!({"type": "weft-bridge", "bridge": "theirs0"}));
    let container = lan.host.container();
    let result = call(&lan, "ADD", &conf, &container).ok();
    assert!(
        addresses(&result)[0].starts_with("192.168.60.1"),
        "{result}"
    );
    assert!(container.reaches(MACHINE4));
    call(&lan, "DEL", &conf, &container).ok();
    assert!(!container.has_interface("eth0"));
}

/// The client's daemon does not run: nothing is left of the interface that was made for it.
#[test]
fn without_a_client_nothing_is_left() {
    let lan = Lan::new();
    let before = HostState::of(&lan.host);
    let container = lan.host.container();
    let conf = json!({"cniVersion": "1.0.0", "name": "leased", "type": "weft-macvlan", "master": "eth1",
        "ipam": {"type": "dhcp", "daemonSocketPath": "/nowhere/dhcp.sock"}});
    let error = call(&lan, "ADD", &conf, &container).error();
    assert!(error["msg"].as_str().unwrap().contains("dhcp"), "{error}");
    assert!(!container.has_interface("eth0"));
    before.assert_same(&lan.host, "a failed ADD");
}
