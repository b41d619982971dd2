//! What a hostile container can put on its wire, in every closed mode: some 2,400 frames made by hand (`frames.py`), of
//! which none may reach a neighbour or another network, teach the bridge anything, or fill the host's tables.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::NamedTempFile;
use weft_testkit::Container;

use crate::bridge::Net;
use crate::isolation::network;
use crate::lan::mac_of;

const SCRIPT: &str = include_str!("frames.py");

/// The script, as a file.
pub(crate) fn script() -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(SCRIPT.as_bytes()).unwrap();
    file
}

/// Writes down the frames of the matrix that arrive in a container.
pub(crate) struct Hearing {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Hearing {
    pub(crate) fn begin(container: &Container, script: &NamedTempFile) -> Self {
        let mut command = Command::new("python3");
        command
            .arg(script.path())
            .args(["hear", "eth0"])
            .stdout(Stdio::piped());
        let mut child = container.run(|| command.spawn()).unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut ready = String::new();
        lines.read_line(&mut ready).unwrap();
        assert_eq!(ready, "ready\n");
        Self { child, lines }
    }

    pub(crate) fn end(mut self) -> Vec<String> {
        std::thread::sleep(Duration::from_millis(500));
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.lines.lines().map(Result::unwrap).collect()
    }
}

/// Sender and neighbour in one network, a third container in another one.
struct Scene {
    net: Net,
    sender: Container,
    neighbour: Container,
    far: Container,
    port: String,
}

fn link_local(container: &Container) -> String {
    let text = container.sh(
        "for i in $(seq 50); do ip -6 -o addr show dev eth0 scope link -tentative | grep -q fe80 && break; \
         sleep 0.1; done; ip -6 -o addr show dev eth0 scope link | sed 's/.*inet6 \\([^/]*\\).*/\\1/'",
    );
    text.trim().to_owned()
}

impl Scene {
    fn new(keys: &Value, bridge_filter: bool) -> Self {
        let net = Net::new();
        let value = u8::from(bridge_filter);
        // A kernel without br_netfilter has it off.
        net.host.sh(&format!(
            "cd /proc/sys/net/bridge 2>/dev/null || exit 0; \
             echo {value} > bridge-nf-call-iptables; echo {value} > bridge-nf-call-ip6tables; echo {value} > bridge-nf-call-arptables"
        ));
        let (own, other) = (network(&net, 1, keys), network(&net, 2, keys));
        let ((sender, result), (neighbour, _), (far, _)) =
            (net.add(&own), net.add(&own), net.add(&other));
        let port = result["interfaces"][1]["name"].as_str().unwrap().to_owned();
        // Nothing has to be asked for: what is lost would be lost for the rules alone.
        for container in [&sender, &neighbour, &far] {
            let gateway = if std::ptr::eq(container, &far) { 2 } else { 1 };
            container.sh(&format!(
                "ping -c 1 -W 2 10.{gateway}.0.1 >/dev/null; ping -c 1 -W 2 fd0{gateway}::1 >/dev/null; true"
            ));
        }
        Self {
            net,
            sender,
            neighbour,
            far,
            port,
        }
    }

    fn send(&self, script: &NamedTempFile) -> usize {
        let mac = |container: &Container| mac_of(&container.sh("ip -o link show eth0"));
        let host_mac = |link: &str| mac_of(&self.net.host.sh(&format!("ip -o link show {link}")));
        let keys = [
            ("mac", mac(&self.sender)),
            ("ip4", "10.1.0.2".to_owned()),
            ("ip6", "fd01::2".to_owned()),
            ("link_ip6", link_local(&self.sender)),
            ("peer_mac", mac(&self.neighbour)),
            ("peer_ip4", "10.1.0.3".to_owned()),
            ("peer_ip6", "fd01::3".to_owned()),
            ("peer_link_ip6", link_local(&self.neighbour)),
            ("far_ip4", "10.2.0.2".to_owned()),
            ("far_ip6", "fd02::2".to_owned()),
            ("gateway_mac", host_mac("wtest1")),
            ("gateway_ip4", "10.1.0.1".to_owned()),
            ("stranger_ip4", "192.0.2.77".to_owned()),
            ("stranger_ip6", "2001:db8::77".to_owned()),
            ("port_mac", host_mac(&self.port)),
        ];
        let words: Vec<String> = keys
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let sent = self.sender.sh(&format!(
            "python3 {} send eth0 {}",
            script.path().display(),
            words.join(" ")
        ));
        sent.trim().parse().unwrap()
    }

    /// Sends everything; what the neighbour and the far container heard.
    fn run(&self) -> (usize, Vec<String>, Vec<String>) {
        let script = script();
        let near = Hearing::begin(&self.neighbour, &script);
        let far = Hearing::begin(&self.far, &script);
        let sent = self.send(&script);
        (sent, near.end(), far.end())
    }

    /// What the host has learnt by the sender's port.
    fn learnt(&self) -> (String, String) {
        let port = &self.port;
        (
            self.net.host.sh(&format!("ip neigh show dev {port}")),
            self.net.host.sh(&format!(
                "bridge fdb show br wtest1 brport {port} | grep -v permanent || true"
            )),
        )
    }
}

/// The control: where nothing is closed, most of it arrives.
#[test]
fn frames_arrive_in_an_open_network() {
    let scene = Scene::new(&json!({}), false);
    let (sent, near, far) = scene.run();
    assert!(sent > 1_300, "{sent}");
    assert!(near.len() > 300, "{} at the neighbour", near.len());
    assert!(far.len() > 100, "{} in the other network", far.len());
}

fn nothing_arrives(keys: &Value, are_peers_closed: bool) {
    for bridge_filter in [false, true] {
        let scene = Scene::new(keys, bridge_filter);
        let before = scene.learnt();
        let (sent, near, far) = scene.run();
        let when = format!("{keys}, br_netfilter {bridge_filter}");
        assert!(sent > 1_300, "{sent}");
        if are_peers_closed {
            assert!(
                near.is_empty(),
                "{when}: {} arrived: {:?}",
                near.len(),
                near.first()
            );
        }
        assert!(
            far.is_empty(),
            "{when}: {} arrived: {:?}",
            far.len(),
            far.first()
        );
        let after = scene.learnt();
        assert_eq!(after.0, "", "{when}: neighbours by the port itself");
        if keys["isolation"] == "full" {
            let moved = |text: &String| text.lines().filter(|line| !line.is_empty()).count();
            assert!(
                moved(&after.1) <= 1,
                "{when}: {} after {}",
                after.1,
                before.1
            );
        }
        // Without a guard of addresses, peers can claim each other's.
        if are_peers_closed && keys["antiSpoof"] != false {
            scene.net.host.sh("ping -c 1 -W 2 10.1.0.3");
        }
    }
}

#[test]
fn no_frame_passes_a_full_network() {
    nothing_arrives(&json!({"isolation": "full"}), true);
}

#[test]
fn no_frame_leaves_a_peer_network() {
    nothing_arrives(&json!({"isolation": "peer"}), false);
}

#[test]
fn no_frame_passes_between_isolated_peers() {
    nothing_arrives(
        &json!({"ingressPolicy": "isolated", "antiSpoof": false}),
        true,
    );
    nothing_arrives(
        &json!({"ingressPolicy": "isolated", "antiSpoof": true}),
        true,
    );
}
