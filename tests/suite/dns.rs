//! Containers find each other by name: weft-dns and weftd.

use serde_json::{Value, json};
use weft_dns::kind::{A, AAAA, PTR};
use weft_testkit::{Call, Container, Outside};

use crate::bridge::Net;
use crate::commands::{ok, weft};
use crate::daemon::{Daemon, ask, ask_by_stream, query, soon, wire};

/// A network with a server, and containers with names.
pub(crate) struct Zone {
    pub(crate) net: Net,
    pub(crate) conf: Value,
    pub(crate) dns: Value,
}

impl Zone {
    pub(crate) fn new(keys: &Value) -> Self {
        let net = Net::new();
        let mut conf = net.conf(&json!({}));
        conf["ipam"]["ranges"] = json!([[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd01::/64"}]]);
        let mut dns = json!({"cniVersion": "1.0.0", "name": "net", "type": "weft-dns"});
        for (key, value) in keys.as_object().unwrap() {
            dns[key] = value.clone();
        }
        Self { net, conf, dns }
    }

    pub(crate) fn chained(
        &self,
        verb: &str,
        container: &Container,
        result: &Value,
        aliases: &Value,
    ) -> Value {
        let mut conf = self.dns.clone();
        conf["prevResult"] = result.clone();
        conf["runtimeConfig"] = json!({"aliases": aliases});
        let call = Call::new(&self.net.suite, verb, &conf).container(container);
        call.on(&self.net.host).ok()
    }

    /// A container with a name, and its result.
    pub(crate) fn add(&self, name: &str, aliases: &Value) -> (Container, Value) {
        let container = self.net.host.container();
        let args = format!("IgnoreUnknown=1;K8S_POD_NAME={name}");
        let call = Call::new(&self.net.suite, "ADD", &self.conf).container(&container);
        let result = call.var("CNI_ARGS", &args).on(&self.net.host).ok();
        let result = self.chained("ADD", &container, &result, aliases);
        (container, result)
    }

    pub(crate) fn del(&self, container: &Container, result: &Value) {
        self.chained("DEL", container, result, &Value::Null);
        self.net.del(&self.conf, container);
    }
}

pub(crate) const SERVER: &str = "10.1.0.1";

#[test]
fn containers_find_each_other_by_name_and_alias() {
    let zone = Zone::new(&json!({}));
    let _daemon = Daemon::start(&zone.net.suite, &zone.net.host);
    let (web, result) = zone.add(
        "web",
        &json!({"net": ["www", "Shop", "www"], "other": ["no"]}),
    );
    assert_eq!(result["dns"]["nameservers"], json!(["10.1.0.1", "fd01::1"]));
    assert_eq!(
        result["dns"]["search"],
        json!(["net.weft.internal", "weft.internal"])
    );
    let (db, db_result) = zone.add("db", &json!(["data"]));
    let asked = |name: &str, kind| ask(&db, SERVER, name, kind);
    soon(|| asked("web", A).is_some_and(|one| one.code == 0));
    for name in [
        "web",
        "web.net",
        "WEB.net.weft.internal",
        "www",
        "shop.net.weft.internal",
    ] {
        let found = asked(name, A).unwrap();
        assert_eq!(
            (found.code, found.data.as_slice()),
            (0, &[10, 1, 0, 2][..]),
            "{name}"
        );
        assert!(found.is_authoritative);
        assert_eq!(asked(name, AAAA).unwrap().data[..2], [0xfd, 1], "{name}");
    }
    assert_eq!(ask(&web, "fd01::1", "data", A).unwrap().data, [10, 1, 0, 3]);
    assert_eq!(ask_by_stream(&web, SERVER, "db", A).data, [10, 1, 0, 3]);
    let reverse = asked("2.0.1.10.in-addr.arpa", PTR).unwrap();
    assert_eq!(reverse.data, wire("web.net.weft.internal"));
    for name in ["host.docker.internal", "gateway.net.weft.internal"] {
        assert_eq!(asked(name, A).unwrap().data, [10, 1, 0, 1], "{name}");
    }
    // There is no record of this type; there is no such name.
    let no_data = asked("web", 15).unwrap();
    assert_eq!((no_data.code, no_data.counts), (0, (0, 1)));
    assert_eq!(asked("no.net.weft.internal", A).unwrap().code, 3);

    zone.del(&web, &result);
    soon(|| asked("web.net.weft.internal", A).is_some_and(|one| one.code == 3));
    assert_eq!(asked("data", A).unwrap().data, [10, 1, 0, 3]);
    zone.chained("CHECK", &db, &db_result, &json!(["data"]));
    let dump = ok(&weft(&zone.net.suite, &zone.net.host, &["store", "dump"]));
    assert!(dump.contains("data") && !dump.contains("www"), "{dump}");
}

#[test]
fn names_come_back_with_bridge_and_daemon() {
    let zone = Zone::new(&json!({"domainName": "prox.example"}));
    let daemon = Daemon::start(&zone.net.suite, &zone.net.host);
    let (web, result) = zone.add("web", &Value::Null);
    let is_found = |container: &Container| {
        let found = ask(container, SERVER, "web.prox.example", A);
        found.is_some_and(|one| one.code == 0)
    };
    soon(|| is_found(&web));
    // The part that answers is killed: the other one starts it again.
    let answering = daemon.answering();
    assert_eq!(answering.len(), 1);
    zone.net.host.sh(&format!("kill -9 {}", answering[0]));
    soon(|| is_found(&web));
    assert_ne!(daemon.answering(), answering);
    // The bridge goes with the last container, and comes with the next one.
    zone.del(&web, &result);
    zone.net.host.sh("ip link del wtest0");
    let (web, _result) = zone.add("web", &Value::Null);
    soon(|| is_found(&web));
    // Another daemon reads what there is.
    drop(daemon);
    assert_eq!(ask(&web, SERVER, "web.prox.example", A), None);
    let _daemon = Daemon::start(&zone.net.suite, &zone.net.host);
    soon(|| is_found(&web));
}

#[test]
fn no_call_waits_for_a_daemon() {
    let zone = Zone::new(&json!({}));
    let (web, result) = zone.add("web", &Value::Null);
    zone.del(&web, &result);
    let daemon = Daemon::start(&zone.net.suite, &zone.net.host);
    soon(|| !daemon.answering().is_empty());
    let all = daemon.answering();
    let stop = format!("kill -STOP {}", all[0]);
    zone.net.host.sh(&stop);
    let (web, result) = zone.add("web", &Value::Null);
    zone.del(&web, &result);
    zone.net.host.sh(&format!("kill -CONT {}", all[0]));
}

/// Names of others are asked for elsewhere, and there is an answer in any case.
#[test]
fn other_names_are_asked_for_elsewhere() {
    let zone = Zone::new(&json!({"upstreams": ["192.0.2.99", "192.0.2.1"]}));
    let outside = Outside::join(&zone.net.host);
    let server = std::net::UdpSocket::bind("192.0.2.1:53");
    assert!(server.is_err(), "not on this machine");
    let machine = outside.machine();
    let mut dnsmasq = machine.run(|| {
        let arguments = [
            "-k",
            "-u",
            "root",
            "-C",
            "/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--pid-file=",
        ];
        std::process::Command::new("dnsmasq")
            .args(arguments)
            .args([
                "--listen-address=192.0.2.1",
                "--bind-interfaces",
                "--address=/example.org/198.51.100.7",
            ])
            .spawn()
            .unwrap()
    });
    let _daemon = Daemon::start(&zone.net.suite, &zone.net.host);
    let (web, _result) = zone.add("web", &Value::Null);
    soon(|| ask(&web, SERVER, "web", A).is_some());
    // The first server does not answer: the second one is asked meanwhile.
    let start = std::time::Instant::now();
    let found = ask(&web, SERVER, "www.example.org", A).unwrap();
    assert_eq!(found.data, [198, 51, 100, 7]);
    assert!(
        start.elapsed() < std::time::Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(
        ask_by_stream(&web, SERVER, "www.example.org", A).data,
        [198, 51, 100, 7]
    );
    dnsmasq.kill().unwrap();
    dnsmasq.wait().unwrap();
    let start = std::time::Instant::now();
    let failed = ask(&web, SERVER, "www.example.org", A).unwrap();
    assert_eq!((failed.code, failed.is_authoritative), (2, false));
    assert!(
        start.elapsed() < std::time::Duration::from_millis(4900),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn an_internal_network_asks_nobody_else() {
    let zone = Zone::new(&json!({"forward": false}));
    let _daemon = Daemon::start(&zone.net.suite, &zone.net.host);
    let (web, _result) = zone.add("web", &Value::Null);
    soon(|| ask(&web, SERVER, "web", A).is_some());
    assert_eq!(ask(&web, SERVER, "example.org", A).unwrap().code, 5);
    // What is no query gets no answer, or says what is wrong with it, and the server goes on.
    for message in [&b"x"[..], &[0; 12], &query("web", A)[..20]] {
        web.run(|| {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.send_to(message, (SERVER, 53)).unwrap();
        });
    }
    assert_eq!(ask(&web, SERVER, "web", A).unwrap().code, 0);
}
