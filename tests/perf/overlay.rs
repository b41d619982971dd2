//! Bytes a second between containers of two hosts: by Weft's overlays, and by a VXLAN of the same MTU that is made by hand.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use weft_testkit::{Container, Host, Suite};

use super::measure::{median, megabytes_a_second};
use super::report::Report;

/// Two hosts, each with a container, joined in one of several ways.
struct Pair {
    daemons: Vec<Child>,
    _hosts: [Host; 2],
    client: Container,
    server: Container,
    to: &'static str,
}

impl Drop for Pair {
    fn drop(&mut self) {
        for daemon in &mut self.daemons {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

fn hosts() -> [Host; 2] {
    let hosts = [Host::new(), Host::new()];
    hosts[0].sh(&format!(
        "ip link add up0 type veth peer name up0 netns {}",
        hosts[1].netns_path().display()
    ));
    for (number, host) in (1..).zip(&hosts) {
        host.sh(&format!(
            "ip link set lo up; ip addr add 192.0.2.{number}/24 dev up0; ip link set up0 up; \
             sysctl -q net.ipv4.ip_forward=1"
        ));
    }
    hosts
}

/// A container's port, made the same way on all sides.
fn port(host: &Host, bridge: &str, address: &str, gateway: &str) -> Container {
    let container = host.container();
    host.sh(&format!(
        "ip link add port type veth peer name eth0 netns {} && ip link set port master {bridge} && \
         ip link set port mtu 1450 up",
        container.path().display()
    ));
    container.sh(&format!(
        "ip link set eth0 mtu 1450 up; ip addr add {address} dev eth0; ip route add default via {gateway}"
    ));
    container
}

impl Pair {
    /// Bridge, VXLAN device, and the other host's address; routed, the other host's MAC and a route, too.
    fn by_hand(is_routed: bool) -> Self {
        let hosts = hosts();
        let containers = [1, 2].map(|number| {
            let (host, other) = (&hosts[number - 1], 3 - number);
            let address = match is_routed {
                true => format!("10.50.{number}.1/24"),
                false => format!("10.40.0.{number}/24"),
            };
            host.sh(&format!(
                "ip link add br0 type bridge && ip link set br0 mtu 1450 up && ip addr add {address} dev br0 && \
                 ip link add vx0 address 02:00:00:00:00:0{number} type vxlan id 40 dstport 4789 \
                 local 192.0.2.{number} dev up0 {} && ip link set vx0 mtu 1450 up",
                if is_routed { "nolearning" } else { "" }
            ));
            let (own, gateway) = match is_routed {
                true => {
                    host.sh(&format!(
                        "ip addr add 10.50.{number}.0/32 dev vx0 && \
                         bridge fdb append 02:00:00:00:00:0{other} dev vx0 dst 192.0.2.{other} && \
                         ip neigh add 10.50.{other}.0 lladdr 02:00:00:00:00:0{other} dev vx0 && \
                         ip route add 10.50.{other}.0/24 via 10.50.{other}.0 dev vx0 onlink"
                    ));
                    (format!("10.50.{number}.20/24"), format!("10.50.{number}.1"))
                }
                false => {
                    host.sh(&format!(
                        "ip link set vx0 master br0 && \
                         bridge fdb append 00:00:00:00:00:00 dev vx0 dst 192.0.2.{other}"
                    ));
                    (format!("10.40.0.{}/24", 10 * number), format!("10.40.0.{number}"))
                }
            };
            port(host, "br0", &own, &gateway)
        });
        let [client, server] = containers;
        Self {
            daemons: Vec::new(),
            _hosts: hosts,
            client,
            server,
            to: if is_routed {
                "10.50.2.20"
            } else {
                "10.40.0.20"
            },
        }
    }

    fn by_weft(suite: &Suite, mode: &str) -> Self {
        let hosts = hosts();
        let is_routed = mode == "routed";
        for (number, host) in (1..).zip(&hosts) {
            let (bridge, networks) = match is_routed {
                true => (
                    format!("10.50.{number}.1/24"),
                    "networks = [\"10.50.0.0/16\"]\n",
                ),
                false => (format!("10.40.0.{number}/24"), ""),
            };
            let text = format!(
                "[node]\nid = \"host-{number}\"\n[security.control_plane]\ninsecure = true\n[[overlay]]\nvni = 40\n\
                 mode = \"{mode}\"\n{networks}underlay = {{ prefer_interfaces = [\"up0\"] }}\n\
                 bridge = {{ name = \"br0\", ipv4 = \"{bridge}\" }}\n\
                 [[peer]]\nid = \"host-1\"\naddress = \"192.0.2.1\"\n[[peer]]\nid = \"host-2\"\naddress = \"192.0.2.2\"\n"
            );
            std::fs::write(host.dir().join("weft.toml"), text).unwrap();
        }
        let daemons = hosts.each_ref().map(|host| start(suite, host)).into();
        let target = if is_routed { "10.50.2.1" } else { "10.40.0.2" };
        let is_there = || hosts[0].succeeds(&format!("ping -n -c 1 -W 1 {target}"));
        while !is_there() {
            std::thread::sleep(Duration::from_millis(50));
        }
        let [client, server] = [1, 2].map(|number| {
            let (own, gateway) = match is_routed {
                true => (format!("10.50.{number}.20/24"), format!("10.50.{number}.1")),
                false => (
                    format!("10.40.0.{}/24", 10 * number),
                    format!("10.40.0.{number}"),
                ),
            };
            port(&hosts[number - 1], "br0", &own, &gateway)
        });
        Self {
            daemons,
            _hosts: hosts,
            client,
            server,
            to: if is_routed {
                "10.50.2.20"
            } else {
                "10.40.0.20"
            },
        }
    }

    fn measure(&self) -> f64 {
        megabytes_a_second(&self.client, &self.server, self.to)
    }
}

fn start(suite: &Suite, host: &Host) -> Child {
    let mut command = Command::new(suite.bin_dir.join("weftd"));
    command
        .arg("run")
        .env("WEFT_STATE_DIR", host.state_dir())
        .env("WEFT_DATA_DIR", host.data_dir())
        .env("WEFT_POLICY_DIR", host.policy_dir())
        .env("WEFT_PUBLIC_DIR", host.dir().join("public"))
        .env("WEFT_CONFIG", host.dir().join("weft.toml"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    host.run(|| command.spawn().unwrap())
}

/// The ratio is the median of the turns' own: seconds that follow each other are alike.
pub(crate) fn throughput(report: &mut Report, rounds: usize) {
    /// A second each.
    const TURNS: usize = 4;
    let suite = Suite::weft();
    for mode in ["l2", "routed"] {
        let mut rates: [Vec<f64>; 2] = Default::default();
        for round in 0..rounds {
            let sides = [Pair::by_hand(mode == "routed"), Pair::by_weft(&suite, mode)];
            for side in &sides {
                side.measure();
            }
            for turn in round..round + TURNS {
                for index in [turn % 2, 1 - turn % 2] {
                    rates[index].push(sides[index].measure());
                }
            }
        }
        let [by_hand, by_weft] = &rates;
        let ratio = median(by_hand.iter().zip(by_weft).map(|(hand, weft)| hand / weft));
        let [by_hand, by_weft] = rates.map(median);
        report.row_of_ratio(
            &format!("overlay, {mode}: VXLAN by hand / Weft, MB/s"),
            (by_hand, by_weft),
            ratio,
            Some(1.03),
        );
    }
}
