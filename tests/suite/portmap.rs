//! weft-portmap: who reaches a published port, whom the container sees, who may have it.

use std::net::UdpSocket;

use serde_json::{Value, json};
use weft_testkit::{Call, Container, HostState, Outcome, Outside, Suite};

use crate::bridge::Net;
use crate::services::{Server, ask_tcp, ask_udp, ask_udp_by, silent_tcp, silent_udp_by};

fn dual(net: &Net, keys: &Value) -> Value {
    let mut conf = net.conf(keys);
    conf["ipam"]["ranges"] = json!([[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd01::/64"}]]);
    conf
}

pub(crate) fn portmap(ports: &Value, prev: &Value) -> Value {
    json!({"cniVersion": "1.0.0", "name": "net", "type": "weft-portmap",
        "runtimeConfig": {"portMappings": ports}, "prevResult": prev})
}

pub(crate) fn tcp(host_port: u16, container_port: u16) -> Value {
    json!([{"hostPort": host_port, "containerPort": container_port, "protocol": "tcp"}])
}

/// A container with an interface and published ports.
pub(crate) struct Published {
    pub(crate) container: Container,
    conf: Value,
    pub(crate) ports: Value,
}

impl Published {
    #[track_caller]
    pub(crate) fn new(net: &Net, conf: &Value, ports: &Value) -> Self {
        let (container, result) = net.add(conf);
        let ports = portmap(ports, &result);
        net.call("ADD", &ports, &container).ok();
        Self {
            container,
            conf: conf.clone(),
            ports,
        }
    }

    #[track_caller]
    fn check(&self, net: &Net) {
        net.call("CHECK", &self.ports, &self.container).ok();
    }

    #[track_caller]
    pub(crate) fn del(&self, net: &Net) {
        net.call("DEL", &self.ports, &self.container).ok();
        net.call("DEL", &self.conf, &self.container).ok();
    }
}

/// Without br_netfilter everything is routed, and no frame has to go back where it came from.
#[test]
fn a_container_reaches_its_own_port() {
    let net = Net::new();
    let _outside = Outside::join(&net.host);
    net.host
        .sh("! [ -e /proc/sys/net/bridge ] || sysctl -qw net.bridge.bridge-nf-call-iptables=0");
    let a = Published::new(&net, &net.conf(&json!({})), &tcp(8080, 80));
    let _server = Server::tcp(&a.container, 80, "a");
    let asked = a.container.run(|| ask_tcp("192.0.2.2:8080"));
    assert_eq!(asked.as_deref(), Some("a 10.1.0.1"));
}

/// From everywhere, both families; the source is kept where the answer comes back by itself.
#[test]
fn a_published_port_is_reached_from_everywhere() {
    let net = Net::new();
    let outside = Outside::join(&net.host);
    // Where the kernel runs bridged frames through NAT (br_netfilter), a container reaches its own
    // port only by a port of the bridge that sends frames back.
    let conf = dual(&net, &json!({"ipMasq": true, "hairpinMode": true}));
    let other = dual(
        &net,
        &json!({"name": "other", "bridge": "wtest1",
        "ipam": {"type": "weft-ipam"}}),
    );
    let mut other = other;
    other["ipam"]["ranges"] = json!([[{"subnet": "10.2.0.0/24"}], [{"subnet": "fd02::/64"}]]);
    let a = Published::new(&net, &conf, &tcp(8080, 80));
    let ((peer, _), (foreign, _)) = (net.add(&conf), net.add(&other));
    let _server = Server::tcp(&a.container, 80, "a");
    a.check(&net);
    let from_outside = |address: &str| outside.machine().run(|| ask_tcp(address));
    let kept = |text: Option<String>, source: &str| {
        assert_eq!(text.as_deref(), Some(format!("a {source}").as_str()));
    };
    kept(from_outside("192.0.2.2:8080"), "192.0.2.1");
    kept(from_outside("[2001:db8::2]:8080"), "2001:db8::1");
    // From its own network the answer would miss the host: the gateway asks.
    for container in [&peer, &a.container] {
        kept(container.run(|| ask_tcp("192.0.2.2:8080")), "10.1.0.1");
        kept(container.run(|| ask_tcp("[2001:db8::2]:8080")), "fd01::1");
        kept(container.run(|| ask_tcp("10.1.0.1:8080")), "10.1.0.1");
    }
    kept(foreign.run(|| ask_tcp("192.0.2.2:8080")), "10.2.0.2");
    kept(foreign.run(|| ask_tcp("[2001:db8::2]:8080")), "fd02::2");
    let from_host = |address: &str| net.host.run(|| ask_tcp(address));
    kept(from_host("127.0.0.1:8080"), "10.1.0.1");
    assert!(from_host("192.0.2.2:8080").is_some() && from_host("[2001:db8::2]:8080").is_some());
    // Control: a port that is not published, and this one when it is no more.
    let silent_outside = |address: &str| outside.machine().run(|| silent_tcp(address));
    assert!(silent_outside("192.0.2.2:8081"));
    net.call("DEL", &a.ports, &a.container).ok();
    for address in ["192.0.2.2:8080", "[2001:db8::2]:8080"] {
        assert!(silent_outside(address), "{address} after DEL");
    }
    assert!(net.host.run(|| silent_tcp("127.0.0.1:8080")));
}

#[test]
fn an_address_of_the_host_can_be_named() {
    let net = Net::new();
    let outside = Outside::join(&net.host);
    net.host.sh("ip addr add 192.0.2.3/24 dev uplink");
    let conf = net.conf(&json!({}));
    let named = json!([{"hostPort": 8080, "containerPort": 80, "hostIP": "192.0.2.3"},
        {"hostPort": 8081, "containerPort": 80, "hostIP": "127.0.0.1"}]);
    let a = Published::new(&net, &conf, &named);
    let b = Published::new(
        &net,
        &conf,
        &json!([{"hostPort": 8080, "containerPort": 80, "hostIP": "192.0.2.2"}]),
    );
    let _servers = [
        Server::tcp(&a.container, 80, "a"),
        Server::tcp(&b.container, 80, "b"),
    ];
    let from_outside = |address: &str| outside.machine().run(|| ask_tcp(address));
    assert_eq!(
        from_outside("192.0.2.3:8080").as_deref(),
        Some("a 192.0.2.1")
    );
    assert_eq!(
        from_outside("192.0.2.2:8080").as_deref(),
        Some("b 192.0.2.1")
    );
    assert!(
        outside.machine().run(|| silent_tcp("192.0.2.2:8081")),
        "only on localhost"
    );
    let local = net.host.run(|| ask_tcp("127.0.0.1:8081"));
    assert_eq!(local.as_deref(), Some("a 10.1.0.1"));
}

/// What only passes through the host is not touched, whatever its port.
#[test]
fn transit_traffic_is_left_alone() {
    let net = Net::new();
    let outside = Outside::join(&net.host);
    let conf = net.conf(&json!({"ipMasq": true}));
    let a = Published::new(&net, &conf, &tcp(8080, 80));
    let (b, _) = net.add(&conf);
    let _servers = [
        Server::tcp(&a.container, 80, "a"),
        Server::tcp(outside.machine(), 8080, "outside"),
    ];
    assert_eq!(
        b.run(|| ask_tcp("192.0.2.1:8080")).as_deref(),
        Some("outside 192.0.2.2")
    );
    assert_eq!(
        b.run(|| ask_tcp("192.0.2.2:8080")).as_deref(),
        Some("a 10.1.0.1"),
        "control"
    );
}

#[test]
fn a_port_is_one_containers() {
    let net = Net::new();
    let conf = dual(&net, &json!({}));
    let a = Published::new(&net, &conf, &tcp(8080, 80));
    let (b, result) = net.add(&conf);
    let before = HostState::of(&net.host);
    let refused = |ports: &Value| -> Outcome {
        let outcome = net.call("ADD", &portmap(ports, &result), &b);
        let error = outcome.error();
        assert_eq!(error["code"], 112, "{error}");
        assert!(
            error["msg"].as_str().unwrap().contains(a.container.id()),
            "{error}"
        );
        outcome
    };
    refused(&tcp(8080, 90));
    refused(&json!([{"hostPort": 8080, "containerPort": 80, "hostIP": "192.0.2.2"}]));
    refused(&json!([{"hostPort": 9000, "containerPort": 80},
        {"hostPort": 8080, "containerPort": 80}]));
    before.assert_same(&net.host, "a refused port");
    let ports = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "UDP"},
        {"hostPort": 8080, "containerPort": 80, "protocol": "sctp"}]);
    net.call("ADD", &portmap(&ports, &result), &b).ok();
    a.del(&net);
    let c = Published::new(&net, &conf, &tcp(8080, 80));
    c.check(&net);
}

#[test]
fn a_port_that_a_process_has_is_refused() {
    let net = Net::new();
    let conf = net.conf(&json!({}));
    let server = Server::tcp_on(&net.host, 8080, "process");
    let (a, result) = net.add(&conf);
    let before = HostState::of(&net.host);
    let error = net
        .call("ADD", &portmap(&tcp(8080, 80), &result), &a)
        .error();
    assert_eq!(error["code"], 112, "{error}");
    let text = error["msg"].as_str().unwrap();
    assert!(
        text.contains(&format!("process {}", std::process::id())),
        "{text}"
    );
    before.assert_same(&net.host, "a refused port");
    drop(server);
    net.call("ADD", &portmap(&tcp(8080, 80), &result), &a).ok();
}

/// A client that goes on sending is answered by whoever has the port now; others are left alone.
#[test]
fn udp_flows_follow_the_port() {
    flows_follow_the_port(0);
}

/// Few connections are listed in another way than many.
#[test]
fn udp_flows_are_found_among_many() {
    flows_follow_the_port(1_100);
}

fn flows_follow_the_port(others: u16) {
    let net = Net::new();
    let outside = Outside::join(&net.host);
    let conf = net.conf(&json!({}));
    let ports = json!([{"hostPort": 5353, "containerPort": 53, "protocol": "udp"},
        {"hostPort": 6000, "containerPort": 60, "protocol": "udp"}]);
    let client = outside
        .machine()
        .run(|| UdpSocket::bind("192.0.2.1:40000").unwrap());
    let ask = |port: u16| ask_udp_by(&client, &format!("192.0.2.2:{port}"));
    assert!(
        silent_udp_by(&client, "192.0.2.2:5353"),
        "nobody there yet, and the kernel remembers that"
    );
    let a = Published::new(&net, &conf, &ports);
    let server = Server::udp(&a.container, 53, "a");
    assert_eq!(ask(5353).as_deref(), Some("a 192.0.2.1"));
    outside.machine().run(|| {
        let socket = UdpSocket::bind("192.0.2.1:0").unwrap();
        for port in (10_000..).take(others.into()) {
            // The host refuses, and remembers all the same.
            let _ = socket.send_to(b"x", ("192.0.2.2", port));
        }
    });
    a.del(&net);
    drop(server);
    let known = || outside.machine().run(|| ask_udp("192.0.2.2:7000"));
    let other = Published::new(
        &net,
        &conf,
        &json!([{"hostPort": 7000, "containerPort": 70, "protocol": "udp"}]),
    );
    let _other = Server::udp(&other.container, 70, "other");
    assert!(known().is_some());
    let tracked = |port: u16| {
        let text = net
            .host
            .sh("cat /proc/net/nf_conntrack 2>/dev/null || true");
        text.lines()
            .filter(|line| line.contains(&format!("dport={port} ")))
            .count()
    };
    let flows = tracked(7000);
    assert!(flows > 0 && tracked(10_000) == usize::from(others > 0));
    let b = Published::new(&net, &conf, &ports);
    let _server = Server::udp(&b.container, 53, "b");
    assert_eq!(ask(5353).as_deref(), Some("b 192.0.2.1"));
    b.del(&net);
    assert_eq!(tracked(7000), flows, "somebody else's flow has ended");
}

/// Two interfaces of a container each have their own ports.
#[test]
fn each_interface_has_its_own_ports() {
    let net = Net::new();
    let outside = Outside::join(&net.host);
    let conf = net.conf(&json!({"isDefaultGateway": false, "isGateway": true}));
    let a = Published::new(&net, &conf, &tcp(8081, 80));
    a.container.sh("ip route add default via 10.1.0.1");
    let second = |verb: &str, conf: &Value| {
        let call = Call::new(&net.suite, verb, conf).container(&a.container);
        call.ifname("eth1").on(&net.host).ok()
    };
    let result = second("ADD", &conf);
    second("ADD", &portmap(&tcp(8082, 80), &result));
    let _server = Server::tcp(&a.container, 80, "a");
    let from_outside = |address: &str| outside.machine().run(|| ask_tcp(address));
    assert!(from_outside("192.0.2.2:8081").is_some() && from_outside("192.0.2.2:8082").is_some());
    second("DEL", &portmap(&tcp(8082, 80), &result));
    assert!(
        from_outside("192.0.2.2:8081").is_some()
            && outside.machine().run(|| silent_tcp("192.0.2.2:8082"))
    );
}

/// The interface plugin's DEL alone, GC, a flushed ruleset: nothing is left, nothing is lost.
#[test]
fn nothing_is_left_and_nothing_lost() {
    let net = Net::new();
    let outside = Outside::join(&net.host);
    let conf = dual(&net, &json!({"ipMasq": true}));
    let warm = Published::new(&net, &conf, &tcp(8000, 80));
    let before = HostState::of(&net.host);
    let a = Published::new(&net, &conf, &tcp(8080, 80));
    a.del(&net);
    before.assert_same(&net.host, "DEL");
    let b = Published::new(&net, &conf, &tcp(8080, 80));
    net.call("DEL", &b.conf, &b.container).ok();
    before.assert_same(&net.host, "DEL of the interface alone");
    let c = Published::new(&net, &conf, &tcp(8080, 80));
    let mut gc = conf.clone();
    gc["cniVersion"] = "1.1.0".into();
    gc["cni.dev/valid-attachments"] =
        json!([{"containerID": warm.container.id(), "ifname": "eth0"}]);
    Call::new(&net.suite, "GC", &gc).on(&net.host).ok();
    before.assert_same(&net.host, "GC");
    drop(c);
    let _server = Server::tcp(&warm.container, 80, "warm");
    let from_outside = || outside.machine().run(|| ask_tcp("192.0.2.2:8000"));
    assert!(from_outside().is_some());
    net.host.sh("nft flush ruleset");
    assert!(
        outside.machine().run(|| silent_tcp("192.0.2.2:8000")),
        "control"
    );
    let error = net.call("CHECK", &warm.ports, &warm.container).error();
    assert!(error["details"].to_string().contains("8000/tcp"), "{error}");
    let d = Published::new(&net, &conf, &tcp(8080, 80));
    assert!(from_outside().is_some(), "the next ADD puts it back");
    warm.check(&net);
    d.del(&net);
}

/// Behind the reference's bridge plugin.
#[test]
fn another_suites_interface_can_be_published() {
    let net = Net::new();
    let outside = Outside::join(&net.host);
    let suite = Suite::reference();
    let conf = suite.network_conf("net", "10.1.0.0/24", net.host.dir());
    let container = net.host.container();
    let call = |suite: &Suite, verb: &str, conf: &Value| {
        Call::new(suite, verb, conf)
            .container(&container)
            .on(&net.host)
            .ok()
    };
    let result = call(&suite, "ADD", &conf);
    net.host.sh("sysctl -qw net.ipv4.ip_forward=1");
    let before = HostState::of(&net.host);
    let ports = portmap(&tcp(8080, 80), &result);
    call(&net.suite, "ADD", &ports);
    let _server = Server::tcp(&container, 80, "a");
    let asked = outside.machine().run(|| ask_tcp("192.0.2.2:8080"));
    assert_eq!(asked.as_deref(), Some("a 192.0.2.1"));
    assert!(net.host.run(|| ask_tcp("127.0.0.1:8080")).is_some());
    call(&net.suite, "CHECK", &ports);
    call(&net.suite, "DEL", &ports);
    let left = before.differences(&HostState::of(&net.host));
    let left: Vec<_> = left
        .iter()
        .filter(|line| !line.contains(" nft: "))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn many_ports_are_one_change() {
    let net = Net::new();
    let conf = net.conf(&json!({}));
    let ports = json!([{"hostPort": 20000, "containerPort": 30000, "range": 1000}]);
    let a = Published::new(&net, &conf, &ports);
    let listed = net.host.sh("nft list map inet weft published4");
    assert_eq!(listed.matches("tcp . ").count(), 1000);
    assert!(
        listed.contains("20999 comment") && listed.contains("30999"),
        "{listed}"
    );
    a.check(&net);
    // The others go though one of them is gone.
    net.host
        .sh("nft delete element inet weft published4 '{ tcp . 20500 }'");
    a.del(&net);
    let listed = net.host.sh("nft list map inet weft published4");
    assert_eq!(listed.matches("tcp . ").count(), 0);
    let _taken = Server::tcp_on(&net.host, 20_700, "host");
    let error = net.call("ADD", &a.ports, &a.container).error();
    assert!(error["msg"].as_str().unwrap().contains("20700"), "{error}");
}

#[test]
fn sources_can_be_hidden_or_left() {
    let net = Net::new();
    let outside = Outside::join(&net.host);
    let conf = net.conf(&json!({}));
    let (a, result) = net.add(&conf);
    let mut ports = portmap(&tcp(8080, 80), &result);
    ports["masqAll"] = true.into();
    net.call("ADD", &ports, &a).ok();
    let _server = Server::tcp(&a, 80, "a");
    let asked = || outside.machine().run(|| ask_tcp("192.0.2.2:8080"));
    assert_eq!(asked().as_deref(), Some("a 10.1.0.1"));
    net.call("DEL", &ports, &a).ok();
    ports["masqAll"] = false.into();
    ports["snat"] = false.into();
    net.call("ADD", &ports, &a).ok();
    assert_eq!(asked().as_deref(), Some("a 192.0.2.1"));
    assert!(net.host.run(|| silent_tcp("127.0.0.1:8080")));
}

/// What others translate keeps its source, whatever Weft has published.
#[test]
fn other_peoples_translations_are_left_alone() {
    let net = Net::new();
    let _server = Server::tcp_on(&net.host, 8081, "host");
    let a = Published::new(&net, &net.conf(&json!({})), &tcp(8080, 80));
    net.host.sh("nft add table ip theirs && \
         nft add chain ip theirs out '{ type nat hook output priority -100; }' && \
         nft add rule ip theirs out ip daddr 127.0.0.1 tcp dport 81 redirect to :8081");
    let asked = net.host.run(|| ask_tcp("127.0.0.1:81"));
    assert_eq!(asked.as_deref(), Some("host 127.0.0.1"));
    a.del(&net);
}

/// One container goes while another comes: 127.0.0.1 leads to the one that stays.
#[test]
fn localhost_leads_to_whoever_stays() {
    let net = Net::new();
    let conf = net.conf(&json!({}));
    let prepared = |port: u16| {
        let (container, result) = net.add(&conf);
        (container, portmap(&tcp(port, 80), &result))
    };
    let (a, a_ports) = prepared(5000);
    net.call("ADD", &a_ports, &a).ok();
    let (b, b_ports) = prepared(5001);
    let (mut going, mut coming) = ((&a, &a_ports), (&b, &b_ports));
    for round in 0..30 {
        std::thread::scope(|scope| {
            let (net, (old, old_ports)) = (&net, going);
            scope.spawn(move || net.call("DEL", old_ports, old).ok());
            std::thread::sleep(std::time::Duration::from_micros(200 * (round % 20)));
            net.call("ADD", coming.1, coming.0).ok();
        });
        let on = net
            .host
            .sh("cat /proc/sys/net/ipv4/conf/wtest0/route_localnet");
        assert_eq!(on.trim(), "1", "round {round}");
        let mut check = coming.1.clone();
        check["cniVersion"] = "1.0.0".into();
        net.call("CHECK", &check, coming.0).ok();
        std::mem::swap(&mut going, &mut coming);
    }
}

#[test]
fn wrong_mappings_are_refused_at_once() {
    let net = Net::new();
    let (a, result) = net.add(&net.conf(&json!({})));
    let before = HostState::of(&net.host);
    for (ports, word) in [
        (json!([{"hostPort": 0, "containerPort": 80}]), "hostPort"),
        (
            json!([{"hostPort": 65_536, "containerPort": 80}]),
            "hostPort",
        ),
        (json!([{"hostPort": 80}]), "containerPort"),
        (
            json!([{"hostPort": 80, "containerPort": "x"}]),
            "containerPort",
        ),
        (
            json!([{"hostPort": 80, "containerPort": 80, "protocol": "icmp"}]),
            "protocol",
        ),
        (
            json!([{"hostPort": 80, "containerPort": 80, "hostIP": "nowhere"}]),
            "hostIP",
        ),
        (
            json!([{"hostPort": 80, "containerPort": 80, "hostIP": "::1"}]),
            "at ::1 cannot be published",
        ),
        (
            json!([{"hostPort": 65_000, "containerPort": 80, "range": 1000}]),
            "range",
        ),
        (
            json!([{"hostPort": 80, "containerPort": 80, "hostIP": "2001:db8::9"}]),
            "no IPv6 address",
        ),
        (
            json!([{"hostPort": 80, "containerPort": 80}, {"hostPort": 80, "containerPort": 81}]),
            "can only be one",
        ),
        (json!("8080:80"), "portMappings"),
    ] {
        let error = net.call("ADD", &portmap(&ports, &result), &a).error();
        assert_eq!(error["code"], 7, "{error}");
        assert!(
            error["msg"].as_str().unwrap().contains(word),
            "{word}: {error}"
        );
    }
    let mut conditions = portmap(&tcp(80, 80), &result);
    conditions["conditionsV4"] = json!(["!", "-s", "10.0.0.0/8"]);
    assert_eq!(net.call("ADD", &conditions, &a).code(), 7);
    net.call("ADD", &portmap(&tcp(80, 80), &Value::Null), &a)
        .error();
    before.assert_same(&net.host, "wrong mappings");
}

/// As many mappings of one port as there are addresses of the host: they are added and removed while others go on.
#[test]
fn mappings_that_differ_by_address_keep_nobody_waiting() {
    let net = Net::new();
    let conf = net.conf(&json!({}));
    let (container, result) = net.add(&conf);
    let mappings: Vec<Value> = (0..4_000)
        .map(|i| {
            json!({"hostPort": 10_000, "containerPort": 1, "hostIP": format!("10.9.{}.{}", i >> 8, i & 255)})
        })
        .collect();
    let publish = portmap(&json!(mappings), &result);
    let begin = std::time::Instant::now();
    net.call("ADD", &publish, &container).ok();
    let other = net.host.container();
    let error = net
        .call("ADD", &portmap(&tcp(10_000, 80), &result), &other)
        .error();
    assert_eq!(error["code"], 112, "{error}");
    net.call("DEL", &publish, &container).ok();
    // Each was compared with each other once: 15 s.
    assert!(begin.elapsed().as_secs() < 8, "{:?}", begin.elapsed());
    // Nothing of them is claimed any more.
    let (next, result) = net.add(&conf);
    net.call("ADD", &portmap(&tcp(10_000, 80), &result), &next)
        .ok();
}
