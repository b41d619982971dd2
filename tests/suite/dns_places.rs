//! Where containers ask, and what they may know there: by the host's address on a parent, inside of their namespace, in
//! several networks at once; and calls that depend on the daemon, or do not.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weft_dns::kind::{A, SRV, TXT};
use weft_testkit::{Call, Container, HostState};

use crate::commands::{ok, weft};
use crate::daemon::{Daemon, ask, signal, soon, wire};
use crate::dns::{SERVER, Zone};
use crate::lan::{HOST4, Lan};
use crate::networks::Vnet;

fn code(container: &Container, server: &str, name: &str) -> Option<u8> {
    ask(container, server, name, A).map(|one| one.code)
}

/// A macvlan with names.
pub(crate) struct Macvlan {
    pub(crate) lan: Lan,
    conf: Value,
}

impl Macvlan {
    pub(crate) fn new(keys: &Value) -> Self {
        let mut conf = json!({"cniVersion": "1.0.0", "name": "net", "type": "weft-macvlan",
            "master": "eth1", "ipam": {"type": "weft-ipam",
            "ranges": [[{"subnet": "192.168.60.0/24", "rangeStart": "192.168.60.100"}]]}});
        for (key, value) in keys.as_object().unwrap() {
            conf[key] = value.clone();
        }
        let lan = Lan::new();
        lan.host.sh("ip link set lo up");
        Self { lan, conf }
    }

    pub(crate) fn add(&self, name: &str) -> (Container, Value) {
        let container = self.lan.host.container();
        container.sh("ip link set lo up");
        let args = format!("IgnoreUnknown=1;K8S_POD_NAME={name}");
        let call = Call::new(&self.lan.suite, "ADD", &self.conf).container(&container);
        let result = call.var("CNI_ARGS", &args).on(&self.lan.host).ok();
        let conf =
            json!({"cniVersion": "1.0.0", "name": "net", "type": "weft-dns", "prevResult": result});
        let call = Call::new(&self.lan.suite, "ADD", &conf).container(&container);
        (
            container,
            call.var("CNI_ARGS", &args).on(&self.lan.host).ok(),
        )
    }
}

#[test]
fn containers_on_a_parent_ask_the_hosts_address() {
    let net = Macvlan::new(&json!({"hostAccess": true}));
    let _daemon = Daemon::start(&net.lan.suite, &net.lan.host);
    let ((web, result), (db, _)) = (net.add("web"), net.add("db"));
    assert_eq!(result["dns"]["nameservers"], json!([HOST4]));
    assert_eq!(code(&web, HOST4, "db"), Some(0));
    assert_eq!(code(&db, HOST4, "web.net.weft.internal"), Some(0));
    // Their subnet is the LAN's: other machines there are nobody's clients.
    assert_eq!(code(&net.lan.machine, HOST4, "web"), Some(5));
    assert_eq!(code(&net.lan.machine, HOST4, "www.example.org"), Some(5));
}

#[test]
fn containers_that_reach_no_address_of_the_host_ask_inside() {
    let net = Macvlan::new(&json!({}));
    let daemon = Daemon::start(&net.lan.suite, &net.lan.host);
    let ((web, result), (db, _)) = (net.add("web"), net.add("db"));
    const INSIDE: &str = "127.0.0.11";
    assert_eq!(result["dns"]["nameservers"], json!([INSIDE]));
    assert_eq!(code(&web, INSIDE, "db"), Some(0));
    assert_eq!(code(&db, INSIDE, "web"), Some(0));
    assert_eq!(code(&db, INSIDE, "nobody.net.weft.internal"), Some(3));
    // The sockets are there again with another process that answers.
    signal(daemon.answering()[0], "KILL");
    soon(|| code(&web, INSIDE, "db") == Some(0));
}

/// A socket keeps its namespace alive: neither a DEL nor a namespace that goes without one leaves any.
#[test]
fn no_namespace_is_kept_alive() {
    let mut zone = Zone::new(&json!({}));
    zone.conf["isDefaultGateway"] = json!(false);
    let host = &zone.net.host;
    let _daemon = Daemon::start(&zone.net.suite, host);
    let port = |result: &Value| result["interfaces"][1]["name"].as_str().unwrap().to_owned();
    let is_there = |port: &str| host.succeeds(&format!("ip link show {port}"));

    let (mut web, result) = zone.add("web", &Value::Null);
    web.sh("ip link set lo up");
    assert_eq!(code(&web, "127.0.0.11", "web"), Some(0));
    // Without a DEL: the pair ends with the namespace.
    web.kill();
    soon(|| !is_there(&port(&result)));

    let (mut db, result) = zone.add("db", &Value::Null);
    db.sh("ip link set lo up");
    assert_eq!(code(&db, "127.0.0.11", "db"), Some(0));
    let pin = "ip link add pin0 type veth peer name pin1 netns";
    host.sh(&format!("{pin} {}", db.path().display()));
    zone.del(&db, &result);
    assert_eq!(
        code(&db, "127.0.0.11", "db"),
        None,
        "closed when DEL has returned"
    );
    db.kill();
    soon(|| !is_there("pin0"));
}

#[test]
fn a_container_knows_the_networks_that_it_is_in_and_those_that_they_reach() {
    let vnet = Vnet::new();
    let _daemon = Daemon::start(&vnet.net.suite, &vnet.net.host);
    for (name, subnet) in [
        ("front", "10.71.0.0/24"),
        ("back", "10.72.0.0/24"),
        ("far", "10.73.0.0/24"),
    ] {
        vnet.ok(&[
            "network",
            "create",
            "--isolation",
            "mesh",
            "--dns",
            "--subnet",
            subnet,
            name,
        ]);
    }
    let (web, _db, _other) = (
        vnet.connect("front", "web"),
        vnet.connect("back", "db"),
        vnet.connect("far", "other"),
    );
    const FRONT: &str = "10.71.0.1";
    assert_eq!(code(&web, FRONT, "web.front"), Some(0));
    for hidden in ["db.back.weft.internal", "other.far.weft.internal"] {
        assert_eq!(code(&web, FRONT, hidden), Some(3), "{hidden}");
    }
    let path = web.path().display().to_string();
    vnet.ok(&[
        "network", "connect", "--name", "web", "--alias", "shop", "back", &path,
    ]);
    assert_eq!(
        code(&web, FRONT, "db.back.weft.internal"),
        Some(0),
        "it is in back too"
    );
    assert_eq!(code(&web, FRONT, "db"), Some(0));
    assert_eq!(
        ask(&web, FRONT, "shop.back", A).unwrap().data[..2],
        [10, 72]
    );
    assert_eq!(code(&web, FRONT, "other.far.weft.internal"), Some(3));
    vnet.ok(&["network", "connect", "--network", "front", "far"]);
    soon(|| code(&web, FRONT, "other.far.weft.internal") == Some(0));
    vnet.ok(&["network", "disconnect", "--network", "front", "far"]);
    soon(|| code(&web, FRONT, "other.far.weft.internal") == Some(3));
    vnet.ok(&["network", "disconnect", "back", &path]);
    assert_eq!(code(&web, FRONT, "db.back.weft.internal"), Some(3));
}

/// A machine on the bridge that is no container of Weft's sees the network; others do not, whatever address they write.
#[test]
fn guests_on_a_bridge_are_answered_and_strangers_are_not() {
    let zone = Zone::new(&json!({}));
    let host = &zone.net.host;
    let _daemon = Daemon::start(&zone.net.suite, host);
    let (_web, _) = zone.add("web", &Value::Null);
    let guest = host.container();
    host.sh(&format!(
        "ip link add guest0 type veth peer name eth0 netns {} && ip link set guest0 master wtest0 up",
        guest.path().display()
    ));
    guest.sh("ip link set eth0 up && ip addr add 10.1.0.200/24 dev eth0");
    assert_eq!(code(&guest, SERVER, "web"), Some(0));
    guest.sh("ip addr flush dev eth0 && ip addr add 10.66.0.2/24 dev eth0 && ip route add 10.1.0.1 dev eth0");
    host.sh("ip route add 10.66.0.2 dev wtest0");
    assert_eq!(code(&guest, SERVER, "web"), Some(5));
    // The host itself may know everything.
    let own = host.run(|| {
        let socket = std::net::UdpSocket::bind("10.1.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        socket
            .send_to(
                &crate::daemon::query("web.net.weft.internal", A),
                (SERVER, 53),
            )
            .unwrap();
        let mut answer = [0; 512];
        socket.recv(&mut answer).unwrap();
        answer[3] & 0xf
    });
    assert_eq!(own, 0);
}

#[test]
fn a_call_that_needs_the_daemon_fails_without_it() {
    let zone = Zone::new(&json!({"dns": {"required": true}}));
    let (suite, host) = (&zone.net.suite, &zone.net.host);
    let container = host.container();
    let result = Call::new(suite, "ADD", &zone.conf)
        .container(&container)
        .on(host)
        .ok();
    let before = HostState::of(host);
    let mut conf = zone.dns.clone();
    conf["prevResult"] = result.clone();
    let add = || {
        Call::new(suite, "ADD", &conf)
            .container(&container)
            .on(host)
    };
    let error = add().error();
    assert_eq!(error["code"], 11, "{error}");
    assert!(
        error["msg"]
            .as_str()
            .unwrap()
            .contains("weftd does not run"),
        "{error}"
    );
    before.assert_same(host, "an ADD that was refused");
    conf["cniVersion"] = json!("1.1.0");
    let status = Call::new(suite, "STATUS", &conf).on(host).error();
    assert_eq!(status["code"], 51, "{status}");
    conf["cniVersion"] = json!("1.0.0");
    let daemon = Daemon::start(suite, host);
    soon(|| !daemon.answering().is_empty());
    soon(|| {
        Call::new(suite, "ADD", &conf)
            .container(&container)
            .on(host)
            .is_success()
    });
    // CHECK finds another configuration.
    let check = |conf: &Value| {
        Call::new(suite, "CHECK", conf)
            .container(&container)
            .on(host)
    };
    check(&conf).ok();
    let mut other = conf.clone();
    other["runtimeConfig"] = json!({"aliases": ["other"]});
    assert_eq!(check(&other).error()["code"], 108);
}

/// A daemon that is stopped is waited for by one call a second, for 20 ms.
#[test]
fn calls_do_not_wait_for_a_daemon_that_is_stopped() {
    const CALLS: u32 = 30;
    let zone = Zone::new(&json!({}));
    let time = |zone: &Zone| {
        let (web, result) = zone.add("web", &Value::Null);
        let start = Instant::now();
        for _ in 0..CALLS / 2 {
            zone.chained("ADD", &web, &result, &Value::Null);
            zone.chained("DEL", &web, &result, &Value::Null);
        }
        let time = start.elapsed();
        zone.net.del(&zone.conf, &web);
        time
    };
    let without = time(&zone);
    let daemon = Daemon::start(&zone.net.suite, &zone.net.host);
    soon(|| !daemon.answering().is_empty());
    let with = time(&zone);
    let all = [daemon.root().unwrap(), daemon.answering()[0]];
    all.iter().for_each(|process| signal(*process, "STOP"));
    let stopped = time(&zone);
    all.iter().for_each(|process| signal(*process, "CONT"));
    println!(
        "{CALLS} calls: without the daemon {without:?}, with it {with:?}, with it stopped {stopped:?}"
    );
    let waited = stopped.saturating_sub(without.min(with));
    assert!(
        waited < Duration::from_millis(20) * CALLS,
        "{stopped:?} and {without:?}"
    );
}

#[test]
fn labels_make_services_and_texts() {
    let zone = Zone::new(&json!({}));
    let (suite, host) = (&zone.net.suite, &zone.net.host);
    let _daemon = Daemon::start(suite, host);
    let container = host.container();
    let mut conf = zone.conf.clone();
    conf["args"] = json!({"cni": {"labels": {"dns/services": "http/tcp:80", "dns/text": "v=1"}, "hostname": "bee"}});
    let args = "IgnoreUnknown=1;K8S_POD_NAME=web";
    let call = Call::new(suite, "ADD", &conf).container(&container);
    let result = call.var("CNI_ARGS", args).on(host).ok();
    let mut chained = zone.dns.clone();
    chained["prevResult"] = result;
    chained["args"] = conf["args"].clone();
    Call::new(suite, "ADD", &chained)
        .container(&container)
        .var("CNI_ARGS", args)
        .on(host)
        .ok();
    let asked = |name: &str, kind| ask(&container, SERVER, name, kind).unwrap();
    assert_eq!(asked("bee", A).code, 0);
    assert_eq!(asked("web", TXT).data, b"\x03v=1");
    let place = [&[0, 0, 0, 0, 0, 80][..], &wire("web.net.weft.internal")].concat();
    assert_eq!(asked("_http._tcp.web.net.weft.internal", SRV).data, place);
    let text = ok(&weft(suite, host, &["dns", "ls"]));
    assert!(
        text.contains("_http._tcp.bee") && text.contains("v=1"),
        "{text}"
    );
}
