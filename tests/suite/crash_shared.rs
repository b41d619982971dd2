//! Killed at every system call in turn: what an interface shares with others of its container, with other firewalls and
//! with the host is left as it was, or goes on with whoever has it now.

use serde_json::{Value, json};
use weft_testkit::{Call, Container, Host, HostState, Outside, Suite, kill_at, system_calls};

use crate::commands::{ok, weft};
use crate::portmap::{portmap, tcp};

/// A host with a container, and everything that is called for it.
struct World {
    suite: Suite,
    host: Host,
    container: Container,
}

impl World {
    fn new() -> Self {
        let host = Host::new();
        host.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        let container = host.container();
        let suite = Suite::weft();
        Self {
            suite,
            host,
            container,
        }
    }

    fn call(&self, verb: &str, conf: &Value, ifname: &str) -> Call {
        Call::new(&self.suite, verb, conf)
            .container(&self.container)
            .ifname(ifname)
    }

    fn ok(&self, verb: &str, conf: &Value, ifname: &str) -> Value {
        self.call(verb, conf, ifname).on(&self.host).ok()
    }

    fn network(&self, number: u8) -> Value {
        json!({"cniVersion": "1.0.0", "name": format!("net{number}"), "type": "weft-bridge",
            "bridge": format!("wtwo{number}"), "isDefaultGateway": true, "ipMasq": true, "cleanup": true,
            "ipam": {"type": "weft-ipam", "ranges": [[{"subnet": format!("10.{number}.0.0/24")}],
                [{"subnet": format!("fd0{number}::/64")}]]}})
    }

    /// What of the container's namespace is not in the host's state.
    fn inside(&self) -> String {
        self.container.sh(
            "ip -o link; ip -4 rule; ip -6 rule; ip -4 route show table all; \
                 ip -6 route show table all | grep -v -e fe80 -e ff00 | sort",
        )
    }

    /// Kills a call at each of its system calls in turn, after `prepare`; each time `check`, which cleans too, must hold.
    fn kill_at_each(&self, victim: &Call, prepare: &dyn Fn(), check: &dyn Fn(&str)) {
        prepare();
        victim.on(&self.host).ok();
        check("not killed");
        prepare();
        let (outcome, calls) = system_calls(victim, &self.host);
        outcome.ok();
        check("traced");
        assert!(calls.len() > 30, "only {} system calls traced", calls.len());
        let step = match std::env::var_os("WEFT_FEW_CRASHES") {
            Some(_) => (calls.len() / 12).max(1),
            None => 1,
        };
        let mut killed = 0;
        let calls: Vec<_> = calls.into_iter().step_by(step).collect();
        for at in &calls {
            prepare();
            killed += usize::from(kill_at(victim, &self.host, at));
            check(&format!("killed at {at:?}"));
        }
        assert!(
            killed + calls.len() / 5 >= calls.len(),
            "{killed} of {} were killed",
            calls.len()
        );
    }
}

fn admission_killed_at_each(victim: &str) {
    let world = World::new();
    let _outside = Outside::join(&world.host);
    world
        .host
        .sh("iptables-nft -P FORWARD DROP && ip6tables-nft -P FORWARD DROP");
    let network = world.network(1);
    let prev = world.ok("ADD", &network, "eth0");
    let firewall =
        json!({"cniVersion": "1.0.0", "name": "net1", "type": "weft-firewall", "prevResult": prev});
    world.ok("ADD", &firewall, "eth0");
    world.ok("DEL", &firewall, "eth0");
    let before = HostState::of(&world.host);
    let prepare = || {
        if victim == "DEL" {
            world.ok("ADD", &firewall, "eth0");
            assert!(world.container.reaches("192.0.2.1"), "the control");
        }
    };
    let check = |how: &str| {
        world.ok("DEL", &firewall, "eth0");
        before.assert_same(&world.host, how);
    };
    world.kill_at_each(&world.call(victim, &firewall, "eth0"), &prepare, &check);
}

#[test]
fn an_admission_killed_anywhere_is_taken_back() {
    admission_killed_at_each("ADD");
}

#[test]
fn the_end_of_an_admission_killed_anywhere_is_ended() {
    admission_killed_at_each("DEL");
}

/// The second interface brings rules for the source addresses of both.
fn second_interface_killed_at_each(victim: &str) {
    let world = World::new();
    let (first, second) = (world.network(1), world.network(2));
    world.ok("ADD", &first, "eth0");
    world.ok("ADD", &second, "eth1");
    world.ok("DEL", &second, "eth1");
    let (before, inside) = (HostState::of(&world.host), world.inside());
    let prepare = || {
        if victim == "DEL" {
            world.ok("ADD", &second, "eth1");
            assert_ne!(
                world.container.sh("ip rule | wc -l").trim(),
                "3",
                "the control"
            );
        }
    };
    let check = |how: &str| {
        world.ok("DEL", &second, "eth1");
        before.assert_same(&world.host, how);
        assert_eq!(world.inside(), inside, "{how}");
    };
    world.kill_at_each(&world.call(victim, &second, "eth1"), &prepare, &check);
}

#[test]
fn a_second_interface_killed_anywhere_leaves_no_rule() {
    second_interface_killed_at_each("ADD");
}

#[test]
fn the_end_of_a_second_interface_killed_anywhere_leaves_no_rule() {
    second_interface_killed_at_each("DEL");
}

/// Two interfaces publish one port: wherever the end of the first is killed, the other one has it in the end.
#[test]
fn a_port_handed_over_and_killed_anywhere_is_served() {
    let world = World::new();
    let (first, second) = (world.network(1), world.network(2));
    let one = portmap(&tcp(8080, 80), &world.ok("ADD", &first, "eth0"));
    let mut two = portmap(&tcp(8080, 80), &world.ok("ADD", &second, "eth1"));
    let mut one = one;
    one["name"] = "net1".into();
    two["name"] = "net2".into();
    let prepare = || {
        world.ok("ADD", &one, "eth0");
        world.ok("ADD", &two, "eth1");
    };
    let check = |how: &str| {
        world.ok("DEL", &one, "eth0");
        world.ok("CHECK", &two, "eth1");
        let map = world.host.sh("nft list map inet weft published4");
        assert!(map.contains(": 10.2.0.2 . 80"), "{how}: {map}");
        let same = ok(&weft(&world.suite, &world.host, &["firewall", "diff"]));
        assert_eq!(same, "", "{how}");
        world.ok("DEL", &two, "eth1");
    };
    world.kill_at_each(&world.call("DEL", &one, "eth0"), &prepare, &check);
}

/// A device comes back while its name is taken: wherever that is killed, it has its name once it is free.
#[test]
fn a_device_whose_name_is_taken_has_it_in_the_end() {
    let world = World::new();
    world
        .host
        .sh("ip link add up0 type veth peer name up1 && ip link set up0 up && ip link set up1 up");
    let conf = json!({"cniVersion": "1.1.0", "name": "net", "type": "weft-host", "device": "up0",
        "ipam": {"type": "weft-ipam", "subnet": "10.1.0.0/24"}});
    world.ok("ADD", &conf, "eth0");
    world.ok("DEL", &conf, "eth0");
    let before = HostState::of(&world.host);
    let prepare = || {
        world.ok("ADD", &conf, "eth0");
        world.host.sh("ip link add up0 type veth peer name other0");
    };
    let check = |how: &str| {
        world.ok("DEL", &conf, "eth0");
        world.host.sh("ip link del other0");
        let mut gc = conf.clone();
        gc["cni.dev/valid-attachments"] = json!([]);
        Call::new(&world.suite, "GC", &gc).on(&world.host).ok();
        before.assert_same(&world.host, how);
    };
    world.kill_at_each(&world.call("DEL", &conf, "eth0"), &prepare, &check);
}
