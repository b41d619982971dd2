//! Containers that are led through others: weft-warp in plugin chains, with and without the daemon. The runtimes' own
//! containers are in tests/runtimes.

use serde_json::{Value, json};
use weft_testkit::{Call, Container, Feature, HostState, Outside, require};

use crate::bridge::Net;
use crate::commands::{ok, weft};
use crate::daemon::{Daemon, signal, soon};
use crate::services::{Server, try_tcp};

const OUTSIDE4: &str = "192.0.2.1:80";
const OUTSIDE6: &str = "[2001:db8::1]:80";

/// A network of targets, and one by which its gateways send on. Only the second one has a default route, so that what
/// comes outside has come by a gateway.
struct World {
    net: Net,
    inner: Value,
    out: Value,
    outside: Outside,
    _server: Server,
}

impl World {
    fn new(keys: &Value) -> Self {
        let net = Net::new();
        let outside = Outside::join(&net.host);
        let server = Server::tcp(outside.machine(), 80, "outside");
        let network = |number: u8, keys: &Value| {
            let mut conf = net.conf(&json!({"name": format!("net{number}"),
                "bridge": format!("wtest{number}"), "isGateway": true, "isDefaultGateway": false}));
            conf["ipam"]["ranges"] = json!([
                [{"subnet": format!("10.{number}.0.0/24")}],
                [{"subnet": format!("fd0{number}::/64")}]
            ]);
            for (key, value) in keys.as_object().unwrap() {
                conf[key] = value.clone();
            }
            conf
        };
        let (inner, out) = (
            network(1, keys),
            network(2, &json!({"isDefaultGateway": true, "ipMasq": true})),
        );
        Self {
            net,
            inner,
            out,
            outside,
            _server: server,
        }
    }

    fn call(&self, verb: &str, conf: &Value, (container, name, ifname): Place<'_>) -> Call {
        let args = format!("IgnoreUnknown=1;K8S_POD_NAME={name}");
        Call::new(&self.net.suite, verb, conf)
            .container(container)
            .ifname(ifname)
            .var("CNI_ARGS", &args)
            .var(
                "WEFT_CONFIG",
                self.net.host.dir().join("weft.toml").to_str().unwrap(),
            )
    }

    fn warp(result: &Value, keys: &Value) -> Value {
        let mut conf = json!({"cniVersion": "1.0.0", "name": "net1", "type": "weft-warp",
            "prevResult": result});
        for (key, value) in keys.as_object().unwrap() {
            conf[key] = value.clone();
        }
        conf
    }

    /// A container of the inner network, and the result of its ADD.
    fn add(&self, name: &str, keys: &Value) -> (Container, Value) {
        let container = self.net.host.container();
        let result = self.add_to(&container, name, keys);
        (container, result)
    }

    fn add_to(&self, container: &Container, name: &str, keys: &Value) -> Value {
        let place = (container, name, "eth0");
        let result = self.call("ADD", &self.inner, place).on(&self.net.host).ok();
        let warp = Self::warp(&result, keys);
        self.call("ADD", &warp, place).on(&self.net.host).ok()
    }

    fn target(&self, name: &str) -> (Container, Value) {
        self.add(name, &json!({"via": "warp-gw"}))
    }

    /// In both networks.
    fn gateway(&self, name: &str) -> (Container, Value) {
        let (container, result) = self.add(name, &json!({}));
        self.call("ADD", &self.out, (&container, name, "eth1"))
            .on(&self.net.host)
            .ok();
        (container, result)
    }

    fn del(&self, container: &Container, name: &str, result: &Value) {
        let place = (container, name, "eth0");
        let warp = Self::warp(result, &json!({}));
        self.call("DEL", &warp, place).on(&self.net.host).ok();
        self.call("DEL", &self.inner, place).on(&self.net.host).ok();
    }

    fn leave_out(&self, container: &Container, name: &str) {
        self.call("DEL", &self.out, (container, name, "eth1"))
            .on(&self.net.host)
            .ok();
    }

    fn bridge_filter(&self, is_on: bool) -> bool {
        let switch = "/proc/sys/net/bridge/bridge-nf-call-iptables";
        let value = u8::from(is_on);
        self.net.host.succeeds(&format!(
            "[ -e {switch} ] && sysctl -qw net.bridge.bridge-nf-call-iptables={value} net.bridge.bridge-nf-call-ip6tables={value}"
        ))
    }
}

type Place<'a> = (&'a Container, &'a str, &'a str);

/// Whether the outside answers, in IPv4 and IPv6.
fn reaches(container: &Container) -> (bool, bool) {
    container.run(|| {
        let asked =
            |address: &str| try_tcp(address).is_some_and(|text| text.starts_with("outside"));
        (asked(OUTSIDE4), asked(OUTSIDE6))
    })
}

fn own(container: &Container) -> String {
    container.sh(
        "{ ip rule; ip -6 rule; ip -4 route show table all; ip -6 route show table all; ip neigh show nud permanent; ip -6 neigh show nud permanent; nft list ruleset; } 2>/dev/null \
         | grep -e 'proto 142' -e 'PERMANENT' -e weft-warp || true",
    )
}

#[test]
fn targets_are_led_in_each_isolation() {
    for isolation in ["none", "peer", "mesh", "full"] {
        let world = World::new(&json!({"isolation": isolation, "antiSpoof": true}));
        for is_filtered in [false, true] {
            if !world.bridge_filter(is_filtered) && is_filtered {
                continue;
            }
            let what = format!("{isolation}, br_netfilter {is_filtered}");
            // Bridges and tables stay.
            let (warm, warm_result) = world.gateway("warm");
            world.leave_out(&warm, "warm");
            world.del(&warm, "warm", &warm_result);
            let before = HostState::of(&world.net.host);
            let (gateway, gateway_result) = world.gateway("warp-gw");
            let (target, result) = world.target("web");
            let (bystander, bystander_result) = world.add("by", &json!({}));
            soon(|| reaches(&target) == (true, true));
            assert_eq!(own(&bystander), "", "{what}: the bystander");
            // Exactly the pair is open: another container that sends by the gateway does not get through.
            let hops = "ip route add default via $(ip -4 -o addr show eth0 | sed -E 's/.*inet ([0-9.]+)\\..*/\\1/').2 dev eth0 onlink";
            bystander.sh(hops);
            let (v4, _) = reaches(&bystander);
            assert!(!v4, "{what}: by hand");
            for (container, name, result) in [
                (&target, "web", &result),
                (&bystander, "by", &bystander_result),
            ] {
                world.del(container, name, result);
            }
            assert_eq!(own(&target), "", "{what}: after DEL");
            world.leave_out(&gateway, "warp-gw");
            world.del(&gateway, "warp-gw", &gateway_result);
            assert_eq!(own(&gateway), "", "{what}: the gateway after DEL");
            before.assert_same(&world.net.host, &what);
        }
    }
}

#[test]
fn without_a_gateway_it_is_as_asked() {
    let world = World::new(&json!({"isDefaultGateway": true, "ipMasq": true}));
    let (blocked, _) = world.target("a");
    assert_eq!(reaches(&blocked), (false, false));
    let (direct, _) = world.add("b", &json!({"via": "warp-gw", "onMissing": "direct"}));
    soon(|| reaches(&direct) == (true, true));
    let container = world.net.host.container();
    let place = (&container, "c", "eth0");
    let result = world
        .call("ADD", &world.inner, place)
        .on(&world.net.host)
        .ok();
    let waits = World::warp(
        &result,
        &json!({"via": "warp-gw", "onMissing": "wait", "waitSeconds": 1}),
    );
    let refused = world.call("ADD", &waits, place).on(&world.net.host);
    assert_eq!(refused.code(), 11);
    assert_eq!(own(&container), "");
    // One that comes meanwhile is taken.
    std::thread::scope(|scope| {
        let added = scope.spawn(|| {
            let mut waits = waits.clone();
            waits["waitSeconds"] = 20.into();
            world.call("ADD", &waits, place).on(&world.net.host).ok()
        });
        let (_gateway, _) = world.gateway("warp-gw");
        added.join().unwrap();
        soon(|| reaches(&container) == (true, true));
    });
}

#[test]
fn check_finds_what_does_not_fit() {
    let world = World::new(&json!({"isolation": "full"}));
    let (gateway, gateway_result) = world.gateway("warp-gw");
    let (target, result) = world.target("web");
    let check = |container: &Container, name: &str, result: &Value, keys: &Value| {
        let conf = World::warp(result, keys);
        world
            .call("CHECK", &conf, (container, name, "eth0"))
            .on(&world.net.host)
    };
    let via = json!({"via": "warp-gw"});
    check(&target, "web", &result, &via).ok();
    check(&gateway, "warp-gw", &gateway_result, &json!({})).ok();
    target.sh("ip route flush table 77 proto 142");
    let error = check(&target, "web", &result, &via).error();
    assert!(error.to_string().contains("table 77"), "{error}");
    gateway.sh("nft delete table inet weft-warp; sysctl -qw net.ipv4.ip_forward=0");
    let error = check(&gateway, "warp-gw", &gateway_result, &json!({})).error();
    for part in ["weft-warp", "ip_forward"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn wrong_configurations_change_nothing() {
    let world = World::new(&json!({}));
    let container = world.net.host.container();
    let place = (&container, "a", "eth0");
    let result = world
        .call("ADD", &world.inner, place)
        .on(&world.net.host)
        .ok();
    for (keys, part) in [
        (json!({"via": "a/b/c"}), "via"),
        (json!({"via": "x", "gateway": true}), "lead others"),
        (json!({"via": "x", "rules": ["tcp:0"]}), "1 to 65535"),
        (json!({"via": "x", "ipv6": "no"}), "block or keep"),
        (
            json!({"via": "x", "onMissing": "maybe"}),
            "block, direct or wait",
        ),
        (json!({"via": "x", "waitSeconds": 301}), "waitSeconds"),
        (
            json!({"args": {"cni": {"labels": {"weft.warp.via": "a b"}}}}),
            "container a: label weft.warp.via",
        ),
    ] {
        let conf = World::warp(&result, &keys);
        let refused = world.call("ADD", &conf, place).on(&world.net.host);
        assert_eq!(refused.code(), 7, "{keys}");
        let error = refused.error().to_string();
        assert!(error.contains(part), "{keys}: {error}");
        assert_eq!(own(&container), "");
    }
    std::fs::write(
        world.net.host.dir().join("weft.toml"),
        "[warp]\ntarget = 1\n",
    )
    .unwrap();
    let conf = World::warp(&result, &json!({"via": "x"}));
    let refused = world.call("ADD", &conf, place).on(&world.net.host);
    assert_eq!(refused.code(), 7);
}

/// With the daemon a target follows; without it what was right stays, and is closed when the gateway is gone.
#[test]
fn targets_follow_their_gateway() {
    let world = World::new(&json!({"isolation": "full", "antiSpoof": true}));
    let host = &world.net.host;
    let (gateway, gateway_result) = world.gateway("warp-gw");
    let (target, result) = world.target("web");
    let mut daemon = Daemon::start(&world.net.suite, host);
    soon(|| {
        weft(&world.net.suite, host, &["warp", "status"])
            .status
            .success()
    });
    soon(|| reaches(&target) == (true, true));
    // The gateway goes: the target is closed, and the ruleset too.
    world.leave_out(&gateway, "warp-gw");
    world.del(&gateway, "warp-gw", &gateway_result);
    soon(|| !own(&target).contains("via 10"));
    assert_eq!(reaches(&target), (false, false));
    soon(|| !host.sh("nft list set inet weft led").contains("elements"));
    // A stranger gets its address, and is not sent anything.
    let (_stranger, _) = world.add("stranger", &json!({}));
    let (_gateway, _) = world.gateway("warp-gw");
    soon(|| reaches(&target) == (true, true));
    let way = ok(&weft(
        &world.net.suite,
        host,
        &["warp", "explain", "web", "192.0.2.1", "tcp/80"],
    ));
    assert!(way.contains("by the gateway warp-gw"), "{way}");
    let status = ok(&weft(&world.net.suite, host, &["warp", "status"]));
    assert!(status.contains("led"), "{status}");
    let doctor = weft(&world.net.suite, host, &["doctor"]);
    assert!(!String::from_utf8_lossy(&doctor.stdout).contains("warp"));
    // What somebody takes away comes back.
    target.sh("ip route flush table 77 proto 142; ip rule del priority 100");
    soon(|| reaches(&target) == (true, true));
    assert_eq!(ok(&weft(&world.net.suite, host, &["firewall", "diff"])), "");
    // Killed, nothing changes; CHECK and DEL go on.
    signal(daemon.root().unwrap(), "KILL");
    daemon.wait();
    assert_eq!(reaches(&target), (true, true));
    world.del(&target, "web", &result);
    assert_eq!(own(&target), "");
}

/// As on a host with Docker, whose chain drops what is forwarded, bridged frames too: weft-firewall in the chain is the
/// administrator's word that the network is let through.
#[test]
fn a_host_that_drops_by_default() {
    let world = World::new(&json!({}));
    let host = &world.net.host;
    world.bridge_filter(true);
    host.sh("iptables-nft -P FORWARD DROP && ip6tables-nft -P FORWARD DROP");
    let firewall = |conf: &Value, result: &Value, place: Place<'_>| {
        let firewall = json!({"cniVersion": "1.0.0", "name": conf["name"], "type": "weft-firewall",
            "ingressPolicy": "open", "prevResult": result});
        world.call("ADD", &firewall, place).on(host).ok()
    };
    let (gateway, result) = world.add("warp-gw", &json!({}));
    firewall(&world.inner, &result, (&gateway, "warp-gw", "eth0"));
    let place = (&gateway, "warp-gw", "eth1");
    let result = world.call("ADD", &world.out, place).on(host).ok();
    firewall(&world.out, &result, place);
    let (target, result) = world.target("web");
    firewall(&world.inner, &result, (&target, "web", "eth0"));
    soon(|| reaches(&target) == (true, true));
}

/// What was recorded for a pair and did not reach the kernel is put there by the next daemon.
#[test]
fn a_daemon_killed_before_the_ruleset_was_opened() {
    let world = World::new(&json!({"isolation": "full", "antiSpoof": true}));
    let host = &world.net.host;
    let (_gateway, _) = world.gateway("warp-gw");
    let (target, _) = world.target("web");
    soon(|| reaches(&target) == (true, true));
    host.sh("nft flush set bridge weft onward; nft flush set inet weft led");
    assert_eq!(reaches(&target), (false, false));
    let mut command = std::process::Command::new(world.net.suite.bin_dir.join("weftd"));
    command.arg("warp");
    let _daemon = Daemon::of_command(command, host);
    soon(|| reaches(&target) == (true, true));
}

/// A container that weft-warp is not asked for has no record of it, and one that has it twice is led once.
#[test]
fn labels_count_before_what_a_network_says_for_all() {
    let world = World::new(&json!({}));
    let (_gateway, _) = world.gateway("warp-gw");
    let (_other, _) = world.gateway("warp-other");
    let labels = json!({"via": "warp-gw",
        "args": {"cni": {"labels": {"weft.warp.via": "warp-other"}}}});
    let (target, _) = world.add("web", &labels);
    assert!(own(&target).contains("10.1.0.3"), "{}", own(&target));
    soon(|| reaches(&target) == (true, true));
    // A gateway in a network whose configuration leads all others is not led.
    let (gateway, _) = world.add("warp-third", &json!({"via": "warp-gw"}));
    assert!(!own(&gateway).contains("table 77"));
}

/// What people use it for: a gateway with a tunnel. Outside sees the tunnel alone, and when it is down, nothing.
#[test]
fn a_gateway_with_a_tunnel() {
    if !require(Feature::Wireguard, "a gateway with a tunnel") {
        return;
    }
    let world = World::new(&json!({"isolation": "full", "antiSpoof": true}));
    let labels = json!({"args": {"cni": {"labels": {"weft.warp.interface": "wg0"}}}});
    let (gateway, _) = world.add("warp-vpn", &labels);
    world
        .call("ADD", &world.out, (&gateway, "warp-vpn", "eth1"))
        .on(&world.net.host)
        .ok();
    let (target, _) = world.add("web", &json!({"via": "warp-vpn"}));
    let outside = world.outside.machine();
    let keys = outside.sh("wg genkey; wg genkey");
    let (here, there) = keys.trim().split_once('\n').unwrap();
    let public = |key: &str| {
        outside
            .sh(&format!("echo {key} | wg pubkey"))
            .trim()
            .to_owned()
    };
    outside.sh(&format!(
        "ip link add wg0 type wireguard && echo {there} > key && \
         wg set wg0 private-key key listen-port 51820 peer {} allowed-ips 10.99.0.2/32 && rm key && \
         ip addr add 10.99.0.1/24 dev wg0 && ip link set wg0 up && ip addr add 203.0.113.1/32 dev lo && ip link set lo up",
        public(here)
    ));
    let _server = Server::tcp(outside, 8081, "behind the tunnel");
    gateway.sh(&format!(
        "ip link add wg0 type wireguard && echo {here} > key && \
         wg set wg0 private-key key peer {} endpoint 192.0.2.1:51820 allowed-ips 0.0.0.0/0 && rm key && \
         ip addr add 10.99.0.2/24 dev wg0 && ip link set wg0 up && \
         ip route add 0.0.0.0/1 dev wg0 && ip route add 128.0.0.0/1 dev wg0 && ip route add 192.0.2.1/32 via 10.2.0.1 dev eth1",
        public(there)
    ));
    let asked = || {
        target
            .run(|| try_tcp("203.0.113.1:8081"))
            .is_some_and(|text| text.starts_with("behind the tunnel"))
    };
    soon(asked);
    let seen = "timeout 3 tcpdump -lnni uplink0 -Q in ip and not udp port 51820 2> /dev/null > seen & sleep 1";
    outside.sh(seen);
    assert!(asked());
    let clear = outside.sh("sleep 3; cat seen; rm seen");
    assert_eq!(clear.trim(), "", "in clear");
    // The tunnel is down: its routes are gone with it, and the gateway has another one.
    gateway.sh("ip link set wg0 down");
    assert!(gateway.run(|| try_tcp("203.0.113.1:8081")).is_some());
    assert!(!asked());
}

/// By another interface than the one that is named nothing leaves.
#[test]
fn a_gateway_sends_on_by_one_interface_only() {
    let world = World::new(&json!({}));
    let by = |name: &str, interface: &str| {
        let labels = json!({"args": {"cni": {"labels": {"weft.warp.interface": interface}}}});
        let (gateway, _) = world.add(name, &labels);
        world
            .call("ADD", &world.out, (&gateway, name, "eth1"))
            .on(&world.net.host)
            .ok();
        let (target, _) = world.add("web", &json!({"via": name}));
        (gateway, target)
    };
    let (_gateway, target) = by("warp-right", "eth1");
    soon(|| reaches(&target) == (true, true));
    let (gateway, target) = by("warp-wrong", "tun0");
    assert!(gateway.run(|| try_tcp(OUTSIDE4)).is_some());
    assert_eq!(reaches(&target), (false, false));
}
