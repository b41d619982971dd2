//! Who reaches whom, by isolation: every cell of a table written by hand, in both families.
//!
//! The rows of the mode `none` are the positive controls of all the others: the same machines, the
//! same servers, the same ways.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use weft_testkit::{Container, Outside};

use crate::bridge::Net;
use crate::commands::{ok, weft};
use crate::services::{Server, ask_tcp, ask_udp_by, silent_tcp, try_tcp};

/// From whom to whom, and for each column whether that is open (o) or closed (-): first without any rule,
/// then with one that lets everybody begin connections with the containers.
const TABLE: &str = "
                                   none  peer  mesh  full  same-bridge  isolated
    peer -> container               oo    oo    oo    -o       oo          --
    open network -> container       oo    -o    -o    -o       oo          oo
    closed network -> container     oo    -o    -o    -o       -o          -o
    host -> container               oo    oo    oo    oo       oo          oo
    outside -> container            oo    -o    -o    -o       oo          oo
    container -> open network       oo    --    --    --       oo          oo
    container -> closed network     oo    --    --    --       --          --
    container -> host               oo    --    --    --       oo          oo
    container -> outside            oo    --    --    --       oo          oo
    peer -> published port          oo    oo    oo    oo       oo          oo
    open network -> published port  oo    oo    oo    oo       oo          oo
    closed network -> published port oo   oo    oo    oo       oo          oo
    outside -> published port       oo    oo    oo    oo       oo          oo
    host -> published port          oo    oo    oo    oo       oo          oo
    container -> its published port oo    oo    oo    oo       oo          oo";

/// Where bridged frames pass iptables (br_netfilter), an isolated container's published port is not for its
/// peers: the reference has it so too.
const NOT_BRIDGED: &str = "peer -> published port";

type Rows = BTreeSet<&'static str>;

/// Every row, with its cells.
fn rows() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    TABLE.lines().skip(2).map(|line| {
        let start = line.rfind(|c| !matches!(c, 'o' | '-' | ' ')).unwrap() + 1;
        let (row, cells) = line.split_at(start);
        (row.trim(), cells.split_whitespace().collect())
    })
}

/// What is open in a column.
fn open_rows(column: &str, with_rule: bool) -> Rows {
    let header = TABLE.lines().nth(1).unwrap();
    let place = header.split_whitespace().position(|one| one == column);
    let is_open = |cells: &[&str]| &cells[place.unwrap()][usize::from(with_rule)..][..1] == "o";
    let open = rows().filter(|(_, cells)| is_open(cells));
    open.map(|(row, _)| row).collect()
}

/// The keys of a column.
fn keys(column: &str) -> Value {
    match column {
        "same-bridge" | "isolated" => json!({ "ingressPolicy": column }),
        _ => json!({ "isolation": column }),
    }
}

/// A network of this number, dual stack.
pub(crate) fn network(net: &Net, number: u8, keys: &Value) -> Value {
    let mut conf = net.conf(&json!({"name": format!("net{number}"),
        "bridge": format!("wtest{number}"), "hairpinMode": true}));
    conf["ipam"]["ranges"] = json!([
        [{"subnet": format!("10.{number}.0.0/24")}],
        [{"subnet": format!("fd0{number}::/64")}]
    ]);
    for (key, value) in keys.as_object().unwrap() {
        conf[key] = value.clone();
    }
    conf
}

pub(crate) fn publish(net: &Net, name: &str, container: &Container, prev: &Value) -> Value {
    let ports = json!({"cniVersion": "1.0.0", "name": name, "type": "weft-portmap",
        "runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80}]},
        "prevResult": prev});
    net.call("ADD", &ports, container).ok();
    ports
}

/// Everybody who takes part.
struct World {
    net: Net,
    outside: Outside,
    container: Container,
    peer: Container,
    open: Container,
    closed: Container,
    _servers: Vec<Server>,
}

impl World {
    fn new(keys: &Value) -> Self {
        let net = Net::new();
        let outside = Outside::join(&net.host);
        // Outside knows the way, so that only isolation keeps it out.
        outside
            .machine()
            .sh("ip route add 10.0.0.0/8 via 192.0.2.2 && ip route add fd00::/8 via 2001:db8::2");
        Self::inhabited(net, outside, keys)
    }

    /// After a reboot: containers, interfaces, rules and the store are gone, and the containers start.
    fn rebooted(self, keys: &Value) -> Self {
        let Self {
            net,
            outside,
            container,
            peer,
            open,
            closed,
            _servers: servers,
        } = self;
        drop((container, peer, open, closed, servers));
        net.host.sh("nft flush ruleset");
        for bridge in ["wtest1", "wtest2", "wtest3", "wtest4"] {
            net.host
                .sh(&format!("ip link del {bridge} 2>/dev/null || true"));
        }
        std::fs::remove_dir_all(net.host.state_dir()).unwrap();
        Self::inhabited(net, outside, keys)
    }

    fn inhabited(net: Net, outside: Outside, keys: &Value) -> Self {
        let own = network(&net, 1, keys);
        let (container, result) = net.add(&own);
        let (peer, _) = net.add(&own);
        let (open, _) = net.add(&network(&net, 2, &json!({})));
        let (closed, _) = net.add(&network(&net, 3, &json!({"ingressPolicy": "same-bridge"})));
        publish(&net, "net1", &container, &result);
        let servers = vec![
            Server::tcp(&container, 80, "container"),
            Server::tcp(&open, 80, "open"),
            Server::tcp(&closed, 80, "closed"),
            Server::tcp_on(&net.host, 9000, "host"),
            Server::tcp(outside.machine(), 80, "outside"),
        ];
        Self {
            net,
            outside,
            container,
            peer,
            open,
            closed,
            _servers: servers,
        }
    }

    /// Whether a row's question is answered, and by whom it should be, if that is to be waited for.
    fn ask(&self, row: &str, is_ipv4: bool, expected: bool) -> bool {
        let address = |number: u8, last: u8| match is_ipv4 {
            true => format!("10.{number}.0.{last}:80"),
            false => format!("[fd0{number}::{last}]:80"),
        };
        let pick = |v4: &str, v6: &str| {
            if is_ipv4 {
                v4.to_owned()
            } else {
                v6.to_owned()
            }
        };
        let (from, to) = row.split_once(" -> ").unwrap();
        let (target, name) = match to {
            "container" => (address(1, 2), "container"),
            "open network" => (address(2, 2), "open"),
            "closed network" => (address(3, 2), "closed"),
            "host" => (pick("10.1.0.1:9000", "[fd01::1]:9000"), "host"),
            "outside" => (pick("192.0.2.1:80", "[2001:db8::1]:80"), "outside"),
            _ => (pick("192.0.2.2:8080", "[2001:db8::2]:8080"), "container"),
        };
        let asked = || match expected {
            true => ask_tcp(&target),
            false => try_tcp(&target),
        };
        let answer = match from {
            "peer" => self.peer.run(asked),
            "open network" => self.open.run(asked),
            "closed network" => self.closed.run(asked),
            "host" => self.net.host.run(asked),
            "outside" => self.outside.machine().run(asked),
            _ => self.container.run(asked),
        };
        answer.is_some_and(|text| text.starts_with(name))
    }

    /// Compares every row, all at once: what is closed has to be waited for.
    #[track_caller]
    fn require(&self, open: &Rows, when: &str) {
        let wrong = |row: &'static str, is_ipv4: bool| {
            let expected = open.contains(row);
            let answered = self.ask(row, is_ipv4, expected);
            let family = if is_ipv4 { "IPv4" } else { "IPv6" };
            (answered != expected).then(|| format!("{row} by {family}: open is {answered}"))
        };
        let wrong: Vec<String> = std::thread::scope(|scope| {
            let cells = rows().flat_map(|(row, _)| [(row, true), (row, false)]);
            let asked: Vec<_> = cells
                .map(|(row, is_ipv4)| scope.spawn(move || wrong(row, is_ipv4)))
                .collect();
            let outcomes = asked.into_iter().map(|cell| cell.join().unwrap());
            outcomes.flatten().collect()
        });
        assert!(wrong.is_empty(), "{when}: {wrong:#?}");
    }

    /// Puts rules of the host in force.
    fn apply(&self, rules: &str) {
        let dir = self.net.host.policy_dir();
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("rules.toml"), rules).unwrap();
        self.weft(&["policy", "apply"]);
    }

    fn weft(&self, arguments: &[&str]) {
        ok(&weft(&self.net.suite, &self.net.host, arguments));
    }
}

/// Whether bridged frames pass iptables here (br_netfilter); it can be switched off. Debian's kernel
/// has it as a module, which is not loaded in the virtual machine: there everything is only routed.
fn passes_iptables(net: &Net, wanted: bool) -> bool {
    let switch = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    if !net.host.succeeds(&format!("[ -e {switch} ]")) {
        return false;
    }
    let value = u8::from(wanted);
    net.host.sh(&format!(
        "sysctl -qw net.bridge.bridge-nf-call-iptables={value} net.bridge.bridge-nf-call-ip6tables={value}"
    ));
    wanted
}

#[track_caller]
fn holds(column: &str) {
    const TO_IT: &str =
        "[[allow]]\nfrom = \"any\"\nto = { network = \"net1\" }\nports = [\"tcp/80\"]\n";
    let (before, after) = (open_rows(column, false), open_rows(column, true));
    let world = World::new(&keys(column));
    let is_bridged = passes_iptables(&world.net, true);
    // Where nothing is bridged past iptables this is the next one.
    if is_bridged {
        passes_iptables(&world.net, false);
        world.require(&before, "routed");
        passes_iptables(&world.net, true);
    }
    let bridged = |mut open: Rows| {
        if is_bridged && column == "isolated" {
            open.remove(NOT_BRIDGED);
        }
        open
    };
    let (before, after) = (bridged(before), bridged(after));
    world.require(&before, "as made");
    world.apply(TO_IT);
    world.require(&after, "with a rule to it");
    world.net.host.sh("nft flush ruleset");
    world.weft(&["firewall", "reload"]);
    world.require(&after, "with a rule to it, after a flushed ruleset");
    world.apply("");
    world.require(&before, "without the rule again");
    world.net.host.sh("nft flush ruleset");
    // Whoever comes next finds the rules gone, and puts everything back.
    let next = network(&world.net, 4, &json!({"ipMasq": true}));
    let (passing, _) = world.net.add(&next);
    world.net.del(&next, &passing);
    world.require(&before, "after a flushed ruleset");
    // After a reboot containers and rules are gone, and the store with them: the same again.
    let world = world.rebooted(&keys(column));
    passes_iptables(&world.net, true);
    world.require(&before, "after a reboot");
}

#[test]
fn none_is_open() {
    holds("none");
}

#[test]
fn peer_reaches_its_own_network_only() {
    holds("peer");
}

#[test]
fn mesh_without_connections_is_peer() {
    holds("mesh");
}

#[test]
fn full_reaches_nothing_by_itself() {
    holds("full");
}

#[test]
fn same_bridge_is_apart_from_closed_networks_only() {
    holds("same-bridge");
}

#[test]
fn isolated_is_apart_from_its_peers_too() {
    holds("isolated");
}

/// A rule from it opens the rows that it names, and taking it back closes them.
#[test]
fn a_rule_opens_its_rows_only() {
    let world = World::new(&keys("full"));
    let mut open = open_rows("full", false);
    world.apply(
        "[[allow]]\nfrom = { network = \"net1\" }\nports = [\"tcp\"]\n\
         to = { cidr = [\"10.2.0.0/15\", \"192.0.2.1\", \"fd02::/16\", \"fd03::/16\", \"2001:db8::1\"] }\n",
    );
    open.extend([
        "container -> open network",
        "container -> closed network",
        "container -> outside",
    ]);
    world.require(&open, "with a rule from it");
    world.apply("");
    world.require(&open_rows("full", false), "after");
}

/// Whoever shares a bridge with closed containers is closed too.
#[test]
fn a_bridge_is_closed_as_a_whole() {
    let net = Net::new();
    let full = network(&net, 1, &json!({"isolation": "full"}));
    let (_first, _) = net.add(&full);
    for other in [
        json!({}),
        json!({"isolation": "peer"}),
        json!({"ingressPolicy": "same-bridge"}),
    ] {
        let error = net
            .call("ADD", &network(&net, 1, &other), &net.host.container())
            .error();
        let text = error["msg"].as_str().unwrap();
        assert!(
            text.contains("wtest1") && text.contains("full"),
            "{other}: {error}"
        );
    }
    let open = network(&net, 2, &json!({}));
    let (_open, _) = net.add(&open);
    let closed = network(&net, 2, &json!({"isolation": "peer"}));
    let error = net.call("ADD", &closed, &net.host.container()).error();
    assert!(error["msg"].as_str().unwrap().contains("none"), "{error}");
}

/// A container that makes itself a route to its neighbours, and asks them directly, still does not
/// reach them.
#[test]
fn routes_of_its_own_do_not_help() {
    let net = Net::new();
    let conf = network(&net, 1, &json!({"isolation": "full"}));
    let ((a, _), (b, result)) = (net.add(&conf), net.add(&conf));
    let _server = Server::tcp(&b, 80, "b");
    assert_eq!(
        net.host.run(|| ask_tcp("10.1.0.3:80")).as_deref(),
        Some("b 10.1.0.1")
    );
    let mac = result["interfaces"][2]["mac"].as_str().unwrap();
    a.sh(&format!(
        "ip addr add 10.1.0.2/24 dev eth0 && ip route replace 10.1.0.3/32 dev eth0 && \
         ip neigh replace 10.1.0.3 lladdr {mac} dev eth0 && \
         ip -6 route replace fd01::3/128 dev eth0 && ip neigh replace fd01::3 lladdr {mac} dev eth0"
    ));
    assert!(a.run(|| silent_tcp("10.1.0.3:80")));
    assert!(a.run(|| silent_tcp("[fd01::3]:80")));
}

/// What somebody began with the last holder of an address does not go on with the next.
#[test]
fn connections_end_with_the_container() {
    use std::net::UdpSocket;
    let net = Net::new();
    let conf = network(&net, 1, &json!({"isolation": "full"}));
    let (a, _) = net.add(&conf);
    let client = net.host.run(|| UdpSocket::bind("10.1.0.1:0").unwrap());
    let first = Server::udp(&a, 53, "first");
    assert!(ask_udp_by(&client, "10.1.0.2:53").is_some());
    let listed = || -> Vec<String> {
        let all = net.host.sh("conntrack -L");
        let of_a = all.lines().filter(|line| line.contains("10.1.0.2"));
        of_a.map(str::to_owned).collect()
    };
    assert!(!listed().is_empty(), "the control");
    drop(first);
    net.del(&conf, &a);
    let left = listed();
    assert!(left.is_empty(), "{left:?}");
}

/// The administrator's own chain: it is asked first, and outlives what Weft rebuilds.
#[test]
fn the_administrators_chain_is_theirs() {
    let net = Net::new();
    let conf = network(&net, 1, &json!({"isolation": "full", "cleanup": true}));
    let ((a, _), (b, _)) = (net.add(&conf), net.add(&conf));
    let _server = Server::tcp(&b, 80, "b");
    let asked = || a.run(|| ask_tcp("10.1.0.3:80"));
    assert!(a.run(|| silent_tcp("10.1.0.3:80")));
    net.host
        .sh("nft add rule inet weft user_pre ip daddr 10.1.0.3 tcp dport 80 accept comment ours");
    assert_eq!(asked().as_deref(), Some("b 10.1.0.2"));
    // A set that an older Weft would not have had: the tables are made anew.
    net.host.sh(
        "nft flush chain inet weft mode_full && nft flush chain bridge weft deny && \
                 nft delete rule bridge weft guard handle \
                 $(nft -a list chain bridge weft guard | awk '/bound_ports/ {print $NF}') && \
                 nft delete set bridge weft bound_ports",
    );
    let (c, _) = net.add(&conf);
    assert_eq!(asked().as_deref(), Some("b 10.1.0.2"), "the rule is gone");
    for container in [&a, &b, &c] {
        net.del(&conf, container);
    }
    assert!(
        net.host
            .sh("nft list chain inet weft user_pre")
            .contains("ours")
    );
}

/// A driver whose frames do not pass the host says so, instead of leaving open what was to be closed.
#[test]
fn what_cannot_be_closed_is_refused() {
    let net = Net::new();
    for driver in ["weft-macvlan", "weft-ipvlan"] {
        for (key, value) in [
            ("isolation", json!("full")),
            ("antiSpoof", json!(true)),
            ("ingressPolicy", json!("isolated")),
            ("policy", json!({"ingress": []})),
        ] {
            let mut conf = network(&net, 1, &json!({ key: value }));
            conf["type"] = driver.into();
            let error = net.call("ADD", &conf, &net.host.container()).error();
            assert_eq!(error["code"], 7, "{driver} {key}: {error}");
            assert!(error["msg"].as_str().unwrap().contains(key), "{error}");
        }
    }
}
