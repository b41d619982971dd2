//! What hosts of an overlay tell each other, and hosts of n-netman's.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weft_testkit::Host;

use crate::commands::ok;
use crate::daemon::{Daemon, signal, soon};
use crate::operations::promtool;
use crate::overlay_hosts::Hosts;

const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/suite/nnetman_peer.py");

/// A host of n-netman's.
struct Peer {
    process: Child,
    input: ChildStdin,
    lines: Receiver<Value>,
}

impl Peer {
    fn start(host: &Host, words: [&str; 3], tls: Option<&str>) -> Self {
        let mut command = Command::new("/usr/bin/python3");
        command
            .arg(PEER)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some(directory) = tls {
            command.env("WEFT_PEER_TLS", directory);
        }
        let mut process = host.run(|| command.spawn().unwrap());
        let (input, output) = (
            process.stdin.take().unwrap(),
            process.stdout.take().unwrap(),
        );
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        Self {
            process,
            input,
            lines,
        }
    }

    fn say(&mut self, words: &str) {
        writeln!(self.input, "{words}").unwrap();
    }

    /// The next thing of a kind that it hears.
    fn hears(&self, what: &str) -> Value {
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("it hears no {what}"));
            if line["what"] == what {
                return line;
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Two hosts' overlay; what they announce, and take.
fn blue(number: usize, control: &str, routing: &str) -> String {
    format!(
        "[node]\nid = \"host-{number}\"\n[security.control_plane]\n{control}\n\
         [[overlay]]\nvni = 40\nname = \"vx-blue\"\nunderlay = {{ prefer_interfaces = [\"up0\"] }}\n\
         bridge = {{ name = \"br-blue\", ipv4 = \"10.40.0.{number}/24\", ipv6 = \"fd40::{number}/64\" }}\n{routing}\n"
    )
}

const ROUTING: &str = "routing.export = { networks = [\"172.16.1.0/24\", \"fd16:1::/48\"], metric = 50 }\n\
    routing.import = { allow = [\"172.16.0.0/12\", \"fd16::/16\"], deny = [\"172.16.99.0/24\"], install = { table = 77 } }";

/// Each host announces something else.
fn own(number: usize) -> String {
    ROUTING
        .replace("172.16.1.", &format!("172.16.{number}."))
        .replace("fd16:1:", &format!("fd16:{number}:"))
}

fn table(host: &Host, number: u32) -> String {
    host.sh(&format!(
        "ip route show table {number} 2>/dev/null; ip -6 route show table {number} 2>/dev/null || true"
    ))
}

/// Field by field as n-netman's hosts say it, both ways.
#[test]
fn a_host_of_n_netmans_is_a_peer() {
    let hosts = Hosts::new(2);
    hosts.configure(1, &blue(1, "insecure = true", ROUTING), "192.0.2.");
    let host = hosts.host(1);
    let _daemon = Daemon::start(&hosts.suite, host);
    // Its data path, made by hand.
    hosts.host(2).sh(
        "ip link add br-n type bridge && ip link set br-n up && ip addr add 10.40.0.2/24 dev br-n && \
         ip link add vx type vxlan id 40 dstport 4789 local 192.0.2.2 dev up0 && ip link set vx master br-n up && \
         bridge fdb append 00:00:00:00:00:00 dev vx dst 192.0.2.1 && ip addr add 172.16.2.1/24 dev lo && \
         ip route add 172.16.1.0/24 via 10.40.0.1",
    );
    let mut peer = Peer::start(
        hosts.host(2),
        ["host-2", "192.0.2.2:9898", "192.0.2.1:9898"],
        None,
    );
    let state = peer.hears("state");
    assert_eq!(
        state,
        json!({"what": "state", "node": "host-1", "accepted": true, "routes": [
            ["172.16.1.0/24", "10.40.0.1", 50, 30, 40], ["fd16:1::/48", "fd40::1", 50, 30, 40]]})
    );
    assert_eq!(peer.hears("answer")["healthy"], true);
    peer.say("announce 172.16.2.0/24 10.40.0.2 40");
    assert_eq!(
        peer.hears("ack"),
        json!({"what": "ack", "accepted": true, "processed": 1, "error": ""})
    );
    soon(|| {
        table(host, 77).contains("172.16.2.0/24 via 10.40.0.2 dev br-blue proto 142 metric 10")
    });
    soon(|| host.succeeds("ping -n -c 1 -W 1 172.16.2.1"));
    // What the policy refuses, and what cannot be read.
    for refused in [
        "172.16.99.0/25 10.40.0.2 40",
        "10.99.0.0/16 10.40.0.2 40",
        "172.16.3.0/24 192.0.2.2 40",
        "172.16.3.0/24 10.40.0.2 41",
        "nonsense x 40",
    ] {
        peer.say(&format!("announce {refused}"));
        assert_eq!(peer.hears("ack")["processed"], 0, "{refused}");
    }
    // In another's name.
    peer.say("raw host-9 172.16.5.0/24 10.40.0.2 40");
    assert_eq!(peer.hears("error")["code"], "PERMISSION_DENIED");
    let listed = ok(&hosts.weft(1, &["overlay", "peers"]));
    assert!(
        listed.contains("n-netman") && listed.contains("refused"),
        "{listed}"
    );
    let listed = ok(&hosts.weft(1, &["overlay", "routes"]));
    assert!(
        listed.contains("172.16.2.0/24")
            && listed.contains("installed")
            && listed.contains("exported"),
        "{listed}"
    );
    peer.say("withdraw 172.16.2.0/24");
    assert_eq!(peer.hears("ack")["processed"], 1);
    soon(|| !table(host, 77).contains("172.16.2.0/24"));
    // Weft calls it, too, and tells it of changes.
    let figures = || host.sh("busybox wget -qO- http://127.0.0.1:9109/metrics || true");
    soon(|| figures().contains("nnetman_peers_connected 1\n"));
    let fewer = ROUTING.replace(", \"fd16:1::/48\"", ", \"172.17.0.0/16\"");
    hosts.configure(1, &blue(1, "insecure = true", &fewer), "192.0.2.");
    ok(&hosts.weft(1, &["overlay", "apply"]));
    assert_eq!(peer.hears("withdraw")["prefixes"], json!(["fd16:1::/48"]));
    assert_eq!(
        peer.hears("exchange")["routes"],
        json!([
            ["172.16.1.0/24", "10.40.0.1", 50, 30, 40],
            ["172.17.0.0/16", "10.40.0.1", 50, 30, 40]
        ])
    );
}

/// Both its names of figures and its paths of health answer.
#[test]
fn figures_and_health_are_at_its_ports() {
    let hosts = Hosts::new(2);
    for number in 1..=2 {
        hosts.configure(
            number,
            &blue(number, "insecure = true", &own(number)),
            "192.0.2.",
        );
    }
    let daemons = hosts.start_all();
    let host = hosts.host(1);
    let get = |place: &str| {
        host.sh(&format!(
            "busybox wget -qO- http://127.0.0.1:{place} || true"
        ))
    };
    soon(|| get("9109/metrics").contains("nnetman_peers_connected 1\n"));
    let figures = get("9109/metrics");
    for name in [
        "nnetman_reconciliations_total",
        "nnetman_reconciliation_errors_total",
        "nnetman_reconciliation_duration_seconds_sum",
        "nnetman_last_reconcile_timestamp_seconds",
        "nnetman_vxlans_active 1",
        "nnetman_bridges_active 1",
        "nnetman_fdb_entries_total 1",
        "nnetman_peers_configured 1",
        "nnetman_peers_connected 1",
        "nnetman_routes_exported 2",
        "nnetman_routes_imported",
        "nnetman_grpc_requests_total",
        "nnetman_grpc_request_duration_seconds_bucket",
        "weft_overlay_peer_up{peer=\"host-2\"} 1",
    ] {
        assert!(figures.contains(&format!("\n{name}")), "{name}: {figures}");
    }
    promtool(&figures);
    assert!(get("9110/livez").contains("\"uptime_seconds\""));
    let ready = host.sh("busybox nc 127.0.0.1 9110 <<< $'GET /readyz HTTP/1.0\r\n\r\n' || true");
    assert!(ready.contains("200 OK"), "{ready}");
    assert!(get("9110/healthz").contains("ok"));
    let status: Value = serde_json::from_str(&get("9110/status")).unwrap();
    assert_eq!(
        (
            &status["peers"]["healthy"],
            &status["peers"]["disconnected"]
        ),
        (&json!(1), &json!(0))
    );
    assert_eq!(status["routes"]["exported"], 2);
    drop(daemons);
}

/// Certificates of one authority; whose name is not the id, or whose address is another one, is not believed.
#[test]
fn hosts_believe_certificates() {
    let hosts = Hosts::new(3);
    let pki = hosts.switch.dir().join("pki");
    let other = hosts.switch.dir().join("other");
    let run = |words: &[&str]| ok(&hosts.weft(1, words));
    for dir in [&pki, &other] {
        run(&["pki", "init", "--dir", dir.to_str().unwrap()]);
    }
    let again = hosts.weft(1, &["pki", "init", "--dir", pki.to_str().unwrap()]);
    assert!(!again.status.success());
    for (number, id) in [(1, "host-1"), (2, "host-2"), (3, "host-9")] {
        let address = format!("192.0.2.{number}");
        let line = run(&["pki", "issue", id, &address, "--dir", pki.to_str().unwrap()]);
        assert!(line.starts_with("tls = { cert_file"), "{line}");
    }
    run(&[
        "pki",
        "issue",
        "host-2",
        "192.0.2.2",
        "--dir",
        other.to_str().unwrap(),
    ]);
    let shown = run(&["pki", "show", "--dir", pki.to_str().unwrap()]);
    assert!(
        shown.contains("host-1 192.0.2.1 until") && shown.contains("824 days left"),
        "{shown}"
    );
    let tls = |dir: &std::path::Path, id: &str| {
        let dir = dir.display();
        format!(
            "tls = {{ cert_file = \"{dir}/{id}.pem\", key_file = \"{dir}/{id}-key.pem\", ca_file = \"{dir}/ca.pem\" }}"
        )
    };
    hosts.configure(1, &blue(1, &tls(&pki, "host-1"), ROUTING), "192.0.2.");
    hosts.configure(2, &blue(2, &tls(&pki, "host-2"), ROUTING), "192.0.2.");
    // Its certificate is of host-9.
    hosts.configure(3, &blue(3, &tls(&pki, "host-9"), ROUTING), "192.0.2.");
    let daemons = hosts.start_all();
    let peers = |number| {
        let out = hosts.weft(number, &["overlay", "peers", "--format", "json"]);
        serde_json::from_slice::<Value>(&out.stdout).unwrap_or_default()
    };
    soon(|| peers(1)[0]["state"] == "up");
    soon(|| {
        peers(1)[1]["trouble"]
            .as_str()
            .is_some_and(|text| text.contains("\"host-9\""))
    });
    assert_eq!(peers(1)[1]["state"], "down");
    // A host of n-netman's with a certificate in its name, and one that speaks in another's.
    drop(daemons);
    let _first = Daemon::start(&hosts.suite, hosts.host(1));
    let words = ["host-2", "192.0.2.2:9898", "192.0.2.1:9898"];
    let mut peer = Peer::start(hosts.host(2), words, pki.to_str());
    assert_eq!(peer.hears("state")["accepted"], true);
    peer.say("raw host-3 172.16.5.0/24 10.40.0.2 40");
    let error = peer.hears("error");
    assert_eq!(error["code"], "PERMISSION_DENIED", "{error}");
    // Another authority, and nothing at all.
    drop(peer);
    for tls in [other.to_str(), None] {
        let peer = Peer::start(hosts.host(2), words, tls);
        assert_eq!(peer.hears("error")["method"], "ExchangeState");
    }
}

/// Routes go when their lease ends, and come back; what is known outlives the daemon.
#[test]
fn routes_go_with_their_lease_and_come_back() {
    let hosts = Hosts::new(2);
    let short = ROUTING
        .replace("table = 77", "table = 77, route_lease_seconds = 2")
        .replace("172.16.1.0/24", "172.16.NUMBER.0/24");
    for number in 1..=2 {
        let routing = short
            .replace("NUMBER", &number.to_string())
            .replace(", \"fd16:1::/48\"", "");
        let text = blue(number, "insecure = true", &routing);
        hosts.configure(number, &text, "192.0.2.");
        let path = hosts.host(number).dir().join("weft.toml");
        let health = "health = { keepalive_interval_ms = 200, dead_after_ms = 800 }\n";
        let text = std::fs::read_to_string(&path)
            .unwrap()
            .replace("address = \"192", &format!("{health}address = \"192"));
        std::fs::write(path, text).unwrap();
    }
    let first = Daemon::start(&hosts.suite, hosts.host(1));
    let second = Daemon::start(&hosts.suite, hosts.host(2));
    let host = hosts.host(1);
    let is_there = || table(host, 77).contains("172.16.2.0/24 via 10.40.0.2");
    soon(is_there);
    host.sh("ip route flush table 77");
    soon(is_there);
    // The whole daemon dies: what it has made stays, and is not touched when it comes again.
    signal(first.root().unwrap(), "KILL");
    drop(first);
    hosts
        .host(1)
        .sh("ip monitor route > changes 2>&1 < /dev/null & echo $! > monitor.pid; sleep 0.2");
    let _again = Daemon::start(&hosts.suite, hosts.host(1));
    soon(|| hosts.weft(1, &["overlay", "peers"]).status.success());
    std::thread::sleep(Duration::from_millis(300));
    let changes = host.sh("kill $(cat monitor.pid); cat changes; rm changes monitor.pid");
    assert!(
        is_there() && !changes.contains("172.16.2.0/24"),
        "{changes}"
    );
    // The other daemon alone is gone: packets pass, so its routes stay though the lease is over.
    signal(second.root().unwrap(), "KILL");
    drop(second);
    std::thread::sleep(Duration::from_millis(3500));
    assert!(is_there());
    let listed = hosts.weft(1, &["overlay", "peers"]);
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(!listed.status.success() && text.contains("stale"), "{text}");
    // The host is gone.
    hosts.host(2).sh("ip link set up0 down");
    soon(|| !is_there());
    hosts.host(2).sh("ip link set up0 up");
    let _third = Daemon::start(&hosts.suite, hosts.host(2));
    soon(is_there);
}

/// The file of a host of n-netman's, as it is.
const THEIRS: &str = r#"version: 2
node: {id: host-1}
netplan: {underlay: {prefer_interfaces: [up0]}}
overlays:
  - vni: 40
    name: vx-blue
    bridge: {name: br-blue, ipv4: 10.40.0.1/24}
    routing:
      export: {networks: [172.16.1.0/24], metric: 50}
      import: {accept_all: true, install: {table: 77}}
peers:
  - id: host-2
    endpoint: {address: 192.0.2.2, via_interface: up0}
topology: {mode: full-mesh}
"#;

#[test]
fn a_file_of_n_netmans_is_enough() {
    let hosts = Hosts::new(2);
    let (host, weftd) = (hosts.host(1), hosts.suite.bin_dir.join("weftd"));
    let file = host.dir().join("n-netman.yaml");
    let check = |text: &str| {
        std::fs::write(&file, text).unwrap();
        host.sh(&format!(
            "WEFT_CONFIG=/nonexistent {} config check --config {} 2>&1; true",
            weftd.display(),
            file.display()
        ))
    };
    let wrong = check(
        &THEIRS
            .replace("vni: 40", "vni: 0")
            .replace("version: 2", "version: 4"),
    );
    for says in [
        "line 1: version: must be 1 or 2",
        "line 5: overlay[0].vni: 0 must be",
    ] {
        assert!(wrong.contains(says), "{says}: {wrong}");
    }
    let said = check(THEIRS);
    for says in [
        "line 13: peers[0].endpoint.via_interface: means nothing here",
        "line 14: topology: means nothing here",
    ] {
        assert!(said.contains(says), "{says}: {said}");
    }
    let mut command = Command::new(&weftd);
    command.arg("run").arg("--config").arg(&file);
    let _daemon = Daemon::of_command(command, host);
    hosts.configure(2, &blue(2, "insecure = true", &own(2)), "192.0.2.");
    let _second = Daemon::start(&hosts.suite, hosts.host(2));
    soon(|| table(host, 77).contains("172.16.2.0/24 via 10.40.0.2 dev br-blue"));
    soon(|| table(hosts.host(2), 77).contains("172.16.1.0/24 via 10.40.0.1 dev br-blue"));
}

/// The part that speaks is stopped, and asked meanwhile: another one takes its place, and speaks.
#[test]
fn a_part_that_hangs_is_replaced() {
    let hosts = Hosts::new(2);
    for number in 1..=2 {
        hosts.configure(
            number,
            &blue(number, "insecure = true", &own(number)),
            "192.0.2.",
        );
    }
    let daemons = hosts.start_all();
    let peers = || hosts.weft(1, &["overlay", "peers"]);
    soon(|| {
        peers().status.success() && String::from_utf8_lossy(&peers().stdout).contains("host-2")
    });
    let root = daemons[0].root().unwrap();
    let child = hosts.host(1).sh(&format!("pgrep -P {root}"));
    signal(child.trim().parse().unwrap(), "STOP");
    peers();
    soon(|| hosts.host(1).sh(&format!("pgrep -P {root}; true")).trim() != child.trim());
    soon(|| String::from_utf8_lossy(&peers().stdout).contains("host-2  192.0.2.2  up"));
    soon(|| hosts.weft(1, &["overlay", "ls"]).status.success());
    assert!(table(hosts.host(1), 77).contains("172.16.2.0/24"));
}
