//! Zero trust: what rules open, for whom, from the first packet on and for who runs already; why; and
//! that a packet says the same.

use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};
use weft_testkit::{Call, Container, HostState, Outside};

use crate::bridge::Net;
use crate::commands::{ok, weft};
use crate::isolation::network;
use crate::services::{
    Server, answers_tcp_only_if, ask_tcp, ask_udp, ask_udp_by, silent_tcp, silent_udp,
    silent_udp_by,
};

/// A network whose rules are in files, and containers with names and labels.
struct Zone {
    net: Net,
}

impl Zone {
    fn new() -> Self {
        Self { net: Net::new() }
    }

    /// Writes the host's rules.
    fn rules(&self, text: &str) {
        let dir = self.net.host.policy_dir();
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("rules.toml"), text).unwrap();
    }

    fn weft(&self, arguments: &[&str]) -> Output {
        weft(&self.net.suite, &self.net.host, arguments)
    }

    fn apply(&self) -> String {
        ok(&self.weft(&["policy", "apply"]))
    }

    /// A container with a name and a label `app`.
    #[track_caller]
    fn add(&self, conf: &Value, name: &str, app: &str) -> Container {
        let container = self.net.host.container();
        let mut conf = conf.clone();
        conf["args"] = json!({"cni": {"labels": [{"key": "app", "value": app}]}});
        Call::new(&self.net.suite, "ADD", &conf)
            .container(&container)
            .var("CNI_ARGS", &format!("IgnoreUnknown=1;K8S_POD_NAME={name}"))
            .on(&self.net.host)
            .ok();
        container
    }

    /// Asks `explain` with a packet: allowed or denied.
    #[track_caller]
    fn explain(&self, from: &str, to: &str, port: &str) -> (bool, String) {
        let output = self.weft(&["policy", "explain", from, to, port, "--probe"]);
        let text = ok(&output);
        (text.starts_with("allowed"), text)
    }
}

fn full(net: &Net, number: u8) -> Value {
    network(net, number, &json!({"isolation": "full"}))
}

fn reached(from: &Container, address: &str) -> bool {
    from.run(|| ask_tcp(address)).is_some()
}

fn unreached(from: &Container, address: &str) -> bool {
    from.run(|| silent_tcp(address))
}

const WEB_TO_DB: &str = "[[allow]]\nname = \"web\"\nfrom = { network = \"net1\", label = { app = \"web\" } }\n\
    to = { name = \"db\" }\nports = [\"tcp/5432\", \"udp/5000-5010\"]\n";

#[test]
fn rules_open_what_they_name_and_nothing_else() {
    let zone = Zone::new();
    zone.rules(WEB_TO_DB);
    let conf = full(&zone.net, 1);
    let db = zone.add(&conf, "db", "db");
    let web = zone.add(&conf, "front", "web");
    let other = zone.add(&conf, "other", "batch");
    let _servers = [
        Server::tcp(&db, 5432, "db"),
        Server::tcp(&db, 5433, "db"),
        Server::udp(&db, 5005, "db"),
        Server::udp(&db, 5011, "db"),
        Server::tcp(&web, 5432, "web"),
    ];
    for address in ["10.1.0.2:5432", "[fd01::2]:5432"] {
        assert!(reached(&web, address), "{address}");
        assert!(unreached(&other, address), "{address} from somebody else");
    }
    // The real source is seen.
    let asked = web.run(|| ask_tcp("10.1.0.2:5432"));
    assert_eq!(asked.as_deref(), Some("db 10.1.0.3"));
    assert!(unreached(&web, "10.1.0.2:5433"), "another port");
    assert!(unreached(&db, "10.1.0.3:5432"), "the other way round");
    assert!(web.run(|| ask_udp("10.1.0.2:5005")).is_some());
    assert!(web.run(|| silent_udp("10.1.0.2:5011")));
    for (from, to, port, expected) in [
        ("front", "db", "tcp/5432", true),
        ("front", "db", "tcp/5433", false),
        ("net1/other", "db", "tcp/5432", false),
        ("db", "front", "tcp/5432", false),
        ("front", "db", "udp/5006", true),
        ("host", "db", "tcp/5433", true),
        ("front", "host", "tcp/53", true),
        ("front", "host", "tcp/9001", false),
        ("fd01::3", "fd01::2", "tcp/5432", true),
    ] {
        let (allowed, text) = zone.explain(from, to, port);
        assert_eq!(allowed, expected, "{from} {to} {port}: {text}");
        let because = if allowed && !text.contains("host") {
            "rules.toml, \"web\""
        } else if allowed {
            "host"
        } else {
            "isolation full"
        };
        assert!(text.contains(because), "{text}");
    }
}

/// For those who run already, and back; what had begun ends.
#[test]
fn rules_can_be_applied_and_taken_back() {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    let zone = Zone::new();
    let conf = full(&zone.net, 1);
    let db = zone.add(&conf, "db", "db");
    let web = zone.add(&conf, "front", "web");
    let listener = db.run(|| TcpListener::bind("0.0.0.0:5432").unwrap());
    let connect = |millis: u64| {
        let address = "10.1.0.2:5432".parse().unwrap();
        web.run(|| TcpStream::connect_timeout(&address, Duration::from_millis(millis)))
    };
    assert!(connect(700).is_err());
    zone.rules(WEB_TO_DB);
    let text = zone.apply();
    assert!(text.starts_with("1 rules in force; 2 containers"), "{text}");
    let mut stream = connect(8_000).unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    stream.write_all(b"before").unwrap();
    let mut buffer = [0; 6];
    accepted.read_exact(&mut buffer).unwrap();
    let tracked = zone.net.host.sh("cat /proc/net/nf_conntrack || true");
    zone.rules("");
    let text = zone.apply();
    assert!(
        text.contains("0 rules") && !text.contains(" 0 connections ended"),
        "{text}\n{tracked}"
    );
    stream.write_all(b"after").unwrap();
    accepted
        .set_read_timeout(Some(Duration::from_millis(700)))
        .unwrap();
    assert!(accepted.read_exact(&mut buffer).is_err(), "it goes on");
    assert!(connect(700).is_err());
    let left = zone.net.host.sh("nft list table inet weft");
    assert!(
        !left.contains("sel_") && !left.contains("chain to_"),
        "{left}"
    );
}

/// Rules of a network come with its configuration, and go with its last container.
#[test]
fn a_network_brings_its_own_rules() {
    let zone = Zone::new();
    let outside = Outside::join(&zone.net.host);
    outside
        .machine()
        .sh("ip route add 10.0.0.0/8 via 192.0.2.2 && ip route add fd00::/8 via 2001:db8::2");
    let policy = json!({
        "ingress": [
            {"name": "shop", "from": {"network": "net2"}, "ports": ["tcp/80"]},
            {"from": {"cidr": ["192.0.2.0/24", "2001:db8::/64"]}, "to": {"name": "db"}, "ports": ["tcp/5432"]}
        ],
        "egress": [{"to": {"cidr": "192.0.2.1"}, "ports": ["tcp/443"]}]
    });
    let before = HostState::of(&zone.net.host);
    let conf = network(
        &zone.net,
        1,
        &json!({"isolation": "full", "policy": policy, "cleanup": true}),
    );
    let open = network(&zone.net, 2, &json!({"cleanup": true}));
    let a = zone.add(&conf, "a", "a");
    let db = zone.add(&conf, "db", "db");
    let shop = zone.add(&open, "shop", "shop");
    let _servers = [
        Server::tcp(&a, 80, "a"),
        Server::tcp(&a, 5432, "a"),
        Server::tcp(&db, 5432, "db"),
        Server::tcp(outside.machine(), 443, "outside"),
        Server::tcp(outside.machine(), 80, "outside"),
    ];
    let machine = outside.machine();
    assert!(reached(&shop, "10.1.0.2:80") && unreached(&shop, "10.1.0.2:5432"));
    assert!(unreached(&db, "10.1.0.2:80"), "a neighbour is not of net2");
    assert!(reached(machine, "10.1.0.3:5432") && unreached(machine, "10.1.0.2:5432"));
    assert!(reached(machine, "[fd01::3]:5432"));
    assert!(reached(&a, "192.0.2.1:443") && unreached(&a, "192.0.2.1:80"));
    // A new member is one from its first packet on.
    let late = zone.add(&open, "late", "shop");
    assert!(reached(&late, "10.1.0.2:80"));
    for container in [&a, &db] {
        zone.net.del(&conf, container);
    }
    for container in [&shop, &late] {
        zone.net.del(&open, container);
    }
    zone.net
        .host
        .sh("sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0");
    before.assert_same(&zone.net.host, "rules came and went with their network");
}

/// After a flushed ruleset the next ADD puts rules and members back.
#[test]
fn rules_survive_a_flushed_ruleset() {
    let zone = Zone::new();
    zone.rules(WEB_TO_DB);
    let conf = full(&zone.net, 1);
    let db = zone.add(&conf, "db", "db");
    let web = zone.add(&conf, "front", "web");
    let _servers = [Server::tcp(&db, 5432, "db"), Server::tcp(&db, 80, "db")];
    zone.net.host.sh("nft flush ruleset");
    assert!(
        reached(&web, "10.1.0.2:80"),
        "the control: everything is open"
    );
    zone.add(&conf, "third", "web");
    assert!(reached(&web, "10.1.0.2:5432") && unreached(&web, "10.1.0.2:80"));
}

/// An address of a container that is gone opens nothing to who has it next.
#[test]
fn an_address_is_not_a_key() {
    let zone = Zone::new();
    zone.rules(WEB_TO_DB);
    let mut conf = full(&zone.net, 1);
    conf["ipam"]["ranges"][0][0]["rangeEnd"] = "10.1.0.3".into();
    let db = zone.add(&conf, "db", "db");
    let web = zone.add(&conf, "front", "web");
    let _server = Server::tcp(&db, 5432, "db");
    assert!(reached(&web, "10.1.0.2:5432"));
    zone.net.del(&conf, &web);
    let next = zone.add(&conf, "next", "batch");
    assert!(
        next.sh("ip addr").contains("10.1.0.3/32"),
        "the same address"
    );
    assert!(unreached(&next, "10.1.0.2:5432"));
    // A DEL that comes late and twice takes nothing from who has the address now.
    let again = zone.add(&full(&zone.net, 2), "front", "web");
    zone.net.del(&conf, &web);
    zone.net.del(&conf, &web);
    drop(again);
    assert!(zone.net.host.run(|| ask_tcp("10.1.0.2:5432")).is_some());
}

/// Production and development do not see each other; what is connected does, and no more.
#[test]
fn zones_are_connected_by_group_parent_and_order() {
    let zone = Zone::new();
    let net = &zone.net;
    let mesh = |number: u8, keys: Value| {
        let mut all = json!({"isolation": "mesh"});
        for (key, value) in keys.as_object().unwrap() {
            all[key] = value.clone();
        }
        network(net, number, &all)
    };
    let confs = [
        mesh(1, json!({"mesh": "prod"})),
        mesh(2, json!({"mesh": "prod"})),
        mesh(3, json!({"mesh": "dev"})),
        mesh(4, json!({"parent": "net3"})),
        mesh(5, json!({"parent": "net3"})),
    ];
    let all: Vec<Container> = confs.iter().map(|conf| zone.add(conf, "x", "x")).collect();
    let _servers: Vec<Server> = all.iter().map(|one| Server::tcp(one, 80, "x")).collect();
    let address = |number: usize| format!("10.{number}.0.2:80");
    let reached = |from: usize, to: usize, expected: bool| {
        all[from - 1].run(|| answers_tcp_only_if(expected, &address(to)))
    };
    let pairs = (1..=5).flat_map(|from| (1..=5).map(move |to| (from, to)));
    for (from, to) in pairs.filter(|(from, to)| from != to) {
        let expected = [(1, 2), (2, 1), (3, 4), (4, 3), (3, 5), (5, 3)].contains(&(from, to));
        assert!(reached(from, to, expected), "{from} -> {to}");
    }
    let text = ok(&zone.weft(&["network", "connect", "net1", "net4", "--one-way"]));
    assert!(text.contains("connected"), "{text}");
    assert!(reached(1, 4, true) && reached(4, 1, false) && reached(2, 4, false));
    let (allowed, text) = zone.explain("10.1.0.2", "10.4.0.2", "tcp/80");
    assert!(allowed && text.contains("connected"), "{text}");
    let listed = ok(&zone.weft(&["network", "list"]));
    let is_net1 = |line: &&str| line.starts_with("net1 ") && line.contains(" mesh ");
    let net1 = listed.lines().find(is_net1).expect("net1 is listed");
    assert!(net1.ends_with("net2,net4"), "{listed}");
    ok(&zone.weft(&["network", "connect", "net1", "net4"]));
    assert!(reached(4, 1, true));
    ok(&zone.weft(&["network", "disconnect", "net1", "net4"]));
    assert!(reached(1, 4, false) && reached(4, 1, false) && reached(1, 2, true));
    // A group's last network goes, and comes back.
    net.del(&confs[1], &all[1]);
    assert!(
        !net.host
            .sh("nft list set inet weft connected")
            .contains("wtest2")
    );
    let back = zone.add(&confs[1], "x", "x");
    let _server = Server::tcp(&back, 80, "x");
    let again = net.host.sh("nft list set inet weft connected");
    assert!(again.contains("\"wtest1\" . \"wtest2\""), "{again}");
}

#[test]
fn wrong_policies_are_refused_before_anything_is_done() {
    let zone = Zone::new();
    let net = &zone.net;
    let before = HostState::of(&net.host);
    for policy in [
        json!({"ingress": [{"from": {}, "ports": ["tcp/80"]}]}),
        json!({"ingress": [{"ports": ["tcp/80"]}]}),
        json!({"ingress": [{"from": "any", "ports": ["tcp/70000"]}]}),
        json!({"ingress": [{"from": "any", "ports": ["gre"]}]}),
        json!({"egress": [{"to": {"cidr": ["10.0.0.0/8", "10.1.0.0/16"]}}]}),
        json!({"egress": [{"to": {"cidr": "10.0.0.0/40"}}]}),
        json!({"egress": [{"to": {"cidr": "10.0.0.0/8", "name": "x"}}]}),
        json!({"ingress": [{"from": "any", "ports": []}]}),
        // A key that is misspelt would open more than is meant.
        json!({"ingress": [{"from": "any", "port": ["tcp/80"]}]}),
        json!({"ingress": [{"from": {"network": "x", "lable": {"a": "b"}}}]}),
        // Another network's doors are not this one's to open.
        json!({"ingress": [{"from": "any", "to": {"network": "other"}}]}),
        json!([]),
    ] {
        let conf = network(net, 1, &json!({"isolation": "full", "policy": policy}));
        let outcome = net.call("ADD", &conf, &net.host.container());
        assert_eq!(outcome.code(), 7, "{policy}");
    }
    let open = network(net, 1, &json!({"policy": {}}));
    assert_eq!(net.call("ADD", &open, &net.host.container()).code(), 7);
    let group = network(net, 1, &json!({"isolation": "peer", "mesh": "x"}));
    assert_eq!(net.call("ADD", &group, &net.host.container()).code(), 7);
    // A file that cannot be read keeps closed containers from starting, and says which.
    zone.rules("[[allow]]\nfrom = \"everybody\"\nto = \"any\"\n");
    let error = net
        .call("ADD", &full(net, 1), &net.host.container())
        .error();
    assert_eq!(error["code"], 7);
    let text = error["msg"].as_str().unwrap();
    assert!(
        text.contains("rules.toml") && text.contains("everybody"),
        "{text}"
    );
    before.assert_same(&net.host, "wrong policies");
    assert!(!zone.weft(&["policy", "check"]).status.success());
    // An open one is not closed to anybody by it.
    let (container, _) = net.add(&network(net, 2, &json!({})));
    assert!(container.reaches("10.2.0.1"));
}

#[test]
fn rules_that_do_nothing_are_reported() {
    let zone = Zone::new();
    zone.rules(WEB_TO_DB);
    let output = zone.weft(&["policy", "check"]);
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("from means no container") && text.contains("to means no container"),
        "{text}"
    );
    let conf = full(&zone.net, 1);
    let (_db, _web) = (zone.add(&conf, "db", "db"), zone.add(&conf, "front", "web"));
    assert_eq!(
        ok(&zone.weft(&["policy", "check"])).trim(),
        "1 rules, no problems"
    );
    let listed = ok(&zone.weft(&["policy", "list"]));
    assert!(
        listed.contains("from network net1, label app=web to name db"),
        "{listed}"
    );
}

/// The last rule that goes, goes with the next ADD too; and GC of another network takes none.
#[test]
fn no_rule_outlives_its_words() {
    let zone = Zone::new();
    zone.rules(WEB_TO_DB);
    let conf = full(&zone.net, 1);
    let db = zone.add(&conf, "db", "db");
    let web = zone.add(&conf, "front", "web");
    let _server = Server::tcp(&db, 5432, "db");
    let other = network(&zone.net, 2, &json!({"cniVersion": "1.1.0"}));
    let (_open, _) = zone.net.add(&other);
    let mut gc = other.clone();
    gc["cni.dev/valid-attachments"] = json!([]);
    Call::new(&zone.net.suite, "GC", &gc)
        .on(&zone.net.host)
        .ok();
    assert!(
        reached(&web, "10.1.0.2:5432"),
        "GC of another network took the rule"
    );
    assert_eq!(ok(&zone.weft(&["firewall", "diff"])), "");
    zone.rules("");
    let _third = zone.add(&conf, "third", "web");
    assert!(unreached(&web, "10.1.0.2:5432"), "the rule is no more");
    assert_eq!(ok(&zone.weft(&["firewall", "diff"])), "");
}

/// A rule is by address: whoever takes a member's address elsewhere is not let in by it.
#[test]
fn a_members_address_is_not_a_key() {
    let zone = Zone::new();
    zone.rules(WEB_TO_DB);
    let conf = full(&zone.net, 1);
    let db = zone.add(&conf, "db", "db");
    let web = zone.add(&conf, "front", "web");
    let (stranger, _) = zone.net.add(&network(&zone.net, 2, &json!({})));
    let receiver = db.run(|| std::net::UdpSocket::bind("0.0.0.0:5005").unwrap());
    receiver
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let send = |from: &Container| {
        let socket = from.run(|| std::net::UdpSocket::bind("10.1.0.3:0").unwrap());
        let _ = socket.send_to(b"?", "10.1.0.2:5005");
        receiver.recv(&mut [0; 8]).is_ok()
    };
    stranger.sh("ip addr add 10.1.0.3/32 dev eth0");
    assert!(!send(&stranger), "it pretends to be the web");
    assert!(send(&web), "the control");
}

/// What began while there were no rules ends when they are back.
#[test]
fn what_began_without_rules_does_not_go_on() {
    let zone = Zone::new();
    let conf = full(&zone.net, 1);
    let db = zone.add(&conf, "db", "db");
    let web = zone.add(&conf, "front", "web");
    let _server = Server::udp(&db, 5000, "db");
    // Somebody else needs connections tracked.
    zone.net
        .host
        .sh("nft flush ruleset && nft add table inet theirs && \
        nft add chain inet theirs c '{ type filter hook forward priority 0; }' && \
        nft add rule inet theirs c ct state established accept");
    let socket = web.run(|| std::net::UdpSocket::bind("0.0.0.0:0").unwrap());
    assert!(
        ask_udp_by(&socket, "10.1.0.2:5000").is_some(),
        "the control: everything is open"
    );
    zone.add(&conf, "third", "x");
    assert!(
        silent_udp_by(&socket, "10.1.0.2:5000"),
        "it goes on after an ADD"
    );
}

/// A file with a mistake keeps nobody from being removed.
#[test]
fn removing_does_not_need_readable_rules() {
    let zone = Zone::new();
    let conf = full(&zone.net, 1);
    let open = network(&zone.net, 2, &json!({"cniVersion": "1.1.0"}));
    let db = zone.add(&conf, "db", "db");
    let (other, _) = zone.net.add(&open);
    zone.rules("x =");
    zone.net.del(&conf, &db);
    zone.net.del(&open, &other);
    let mut gc = open.clone();
    gc["cni.dev/valid-attachments"] = json!([]);
    Call::new(&zone.net.suite, "GC", &gc)
        .on(&zone.net.host)
        .ok();
    let dump = zone.net.host.store().read(|t| t.dump()).unwrap();
    assert!(
        dump.attachments.is_empty() && dump.shared.is_empty(),
        "{dump:?}"
    );
}

/// The first container of a closed network, whose routes cannot be made: tables, sets and chains go
/// again, and the next one finds a host as it was.
#[test]
fn a_failed_first_add_leaves_nothing() {
    let zone = Zone::new();
    zone.rules(WEB_TO_DB);
    let mut conf = full(&zone.net, 1);
    let works = conf.clone();
    conf["ipam"]["routes"] = json!([{"dst": "10.99.0.0/16", "gw": "10.77.0.1"}]);
    let before = HostState::of(&zone.net.host);
    let error = zone
        .net
        .call("ADD", &conf, &zone.net.host.container())
        .error();
    assert!(
        error["msg"].as_str().unwrap().contains("10.99.0.0/16"),
        "{error}"
    );
    before.assert_same(&zone.net.host, "a failed first ADD");
    zone.add(&works, "db", "db");
}

/// After a flushed ruleset, rules that cannot be read keep nothing open.
#[test]
fn a_reload_closes_what_unreadable_rules_do_not_open() {
    let zone = Zone::new();
    zone.rules(WEB_TO_DB);
    let conf = full(&zone.net, 1);
    let db = zone.add(&conf, "db", "db");
    let web = zone.add(&conf, "front", "web");
    let _server = Server::tcp(&db, 5432, "db");
    zone.rules("[[allow]]\nfrom =");
    zone.net.host.sh("nft flush ruleset");
    assert!(reached(&web, "10.1.0.2:5432"), "the control");
    let output = zone.weft(&["firewall", "reload"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && text.contains("rules.toml"),
        "{text}"
    );
    assert!(unreached(&web, "10.1.0.2:5432"));
    zone.rules(WEB_TO_DB);
    ok(&zone.weft(&["firewall", "reload"]));
    assert!(reached(&web, "10.1.0.2:5432"));
}

/// To `any` is to everybody outside: one network's rule opens no other network's doors, nor the host's.
/// From `any` is from everybody: its own doors are open to whom it likes.
#[test]
fn to_any_is_to_nobody_of_a_closed_network() {
    let zone = Zone::new();
    let outside = Outside::join(&zone.net.host);
    let machine = outside.machine();
    machine.sh("ip route add 10.0.0.0/8 via 192.0.2.2 && ip route add fd00::/8 via 2001:db8::2");
    let policy = json!({
        "egress": [{"to": "any", "ports": ["tcp/443"]}],
        "ingress": [{"from": "any", "ports": ["tcp/80"]}]
    });
    let dev = network(
        &zone.net,
        1,
        &json!({"isolation": "full", "policy": policy}),
    );
    let a = zone.add(&dev, "a", "a");
    let peer = zone.add(&dev, "peer", "a");
    let prod = zone.add(&full(&zone.net, 2), "prod", "b");
    let open = zone.add(&network(&zone.net, 3, &json!({})), "open", "c");
    let _servers = [
        Server::tcp(&prod, 443, "prod"),
        Server::tcp(&peer, 443, "peer"),
        Server::tcp(&open, 443, "open"),
        Server::tcp(machine, 443, "outside"),
        Server::tcp_on(&zone.net.host, 443, "host"),
        Server::tcp(&a, 80, "a"),
    ];
    for (to, name, expected) in [
        ("192.0.2.1:443", "192.0.2.1", true),
        ("10.3.0.2:443", "open", true),
        ("10.2.0.2:443", "prod", false),
        ("[fd02::2]:443", "fd02::2", false),
        ("10.1.0.3:443", "peer", false),
        ("10.1.0.1:443", "host", false),
        ("[fd01::1]:443", "host", false),
    ] {
        assert!(a.run(|| answers_tcp_only_if(expected, to)), "{to}");
        let (allowed, text) = zone.explain("a", name, "tcp/443");
        assert_eq!(allowed, expected, "{text}");
    }
    assert!(reached(machine, "10.1.0.2:80") && reached(&open, "10.1.0.2:80"));
    assert!(reached(&prod, "10.1.0.2:80") && reached(&peer, "10.1.0.2:80"));
}
