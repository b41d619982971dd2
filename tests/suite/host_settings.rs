//! What the host's own settings do to containers, and containers to them: read-only parameters, IPv6 that is off,
//! forwarding, router advertisements, addresses and subnets of the host that change.

use serde_json::{Value, json};
use weft_testkit::{
    Call, Container, Host, HostState, Outside, Suite, SystemCall, kill_at, system_calls,
};

use crate::bridge::Net;
use crate::commands::{ok, weft};
use crate::isolation::network;
use crate::lan::{Lan, MACHINE4};

/// A call where /proc/sys is read-only, as in a container that a runtime runs in.
fn read_only(net: &Net, verb: &str, conf: &Value, container: &Container) -> weft_testkit::Outcome {
    let script =
        "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec \"$@\"";
    let wrapper = ["unshare", "--mount", "sh", "-c", script, "sh"].map(str::to_owned);
    Call::new(&net.suite, verb, conf)
        .container(container)
        .under(wrapper.to_vec())
        .on(&net.host)
}

#[test]
fn parameters_that_are_right_need_not_be_written() {
    let net = Net::new();
    let outside = Outside::join(&net.host);
    net.host
        .sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    let conf = network(&net, 1, &json!({"ipMasq": true}));
    let container = net.host.container();
    let result = read_only(&net, "ADD", &conf, &container).ok();
    assert!(container.reaches("192.0.2.1") && container.reaches("2001:db8::1"));
    let mut check = conf.clone();
    check["prevResult"] = result.clone();
    read_only(&net, "CHECK", &check, &container).ok();
    read_only(&net, "DEL", &check, &container).ok();
    drop(outside);
}

/// One that must be another is the reason, with its name, and nothing is left.
#[test]
fn a_parameter_that_must_change_is_named() {
    let net = Net::new();
    net.host.sh("sysctl -qw net.ipv4.ip_forward=0");
    let before = HostState::of(&net.host);
    let conf = network(&net, 1, &json!({"ipMasq": true}));
    let container = net.host.container();
    let error = read_only(&net, "ADD", &conf, &container).error();
    let msg = error["msg"].as_str().unwrap();
    assert!(msg.contains("forward"), "{error}");
    before.assert_same(&net.host, "a failed ADD");
}

fn without_ipv6(of: &dyn Fn(&str) -> String) {
    of("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
}

#[test]
fn ipv6_is_switched_on_where_a_network_has_it() {
    let net = Net::new();
    without_ipv6(&|command| net.host.sh(command));
    let (four, six) = (net.host.container(), net.host.container());
    for container in [&four, &six] {
        container.sh("ip link set lo up");
        without_ipv6(&|command| container.sh(command));
    }
    net.call("ADD", &net.conf(&json!({})), &four).ok();
    let is_off = |link: &str| format!("cat /proc/sys/net/ipv6/conf/{link}/disable_ipv6");
    assert_eq!(four.sh(&is_off("eth0")).trim(), "1", "it has no part in it");
    net.call("ADD", &network(&net, 2, &json!({})), &six).ok();
    assert!(six.reaches("fd02::1"), "the gateway");
    assert_eq!(
        six.sh(&is_off("lo")).trim(),
        "0",
        "a service listens on ::1"
    );
    assert!(six.reaches("::1"));
}

/// The host's way to containers on a master needs IPv6 on its own interface alone.
#[test]
fn host_access_works_where_ipv6_is_off() {
    let lan = Lan::new();
    lan.host
        .sh("sysctl -qw net.ipv6.conf.default.disable_ipv6=1");
    let conf = json!({"cniVersion": "1.0.0", "name": "net", "type": "weft-macvlan", "master": "eth1",
        "hostAccess": true, "ipam": {"type": "weft-ipam", "ranges":
        [[{"subnet": "192.168.60.0/24", "rangeStart": "192.168.60.100"}],
         [{"subnet": "fd60::/64", "rangeStart": "fd60::100"}]]}});
    let (_container, result) = lan.add(&conf);
    for address in crate::lan::addresses(&result) {
        let ip = address.split('/').next().unwrap();
        lan.host.sh(&format!("ping -c 1 -W 5 {ip}"));
    }
}

/// Sends a router advertisement of a default route and a prefix from an interface.
const ADVERTISE: &str = r#"
import socket, struct
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
i = socket.if_nametoindex(IFNAME)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, i)
b = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
b += struct.pack("!BBBBIII", 3, 4, 64, 0xc0, 86400, 14400, 0) + socket.inet_pton(socket.AF_INET6, "2001:db8:9::")
for k in range(3): s.sendto(b, ("ff02::1", 0, 0, i))
"#;

fn advertise(from: &Container, ifname: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        file.path(),
        ADVERTISE.replace("IFNAME", &format!("'{ifname}'")),
    )
    .unwrap();
    // The link-local address that it is sent from must be there.
    from.sh(&format!(
        "sysctl -qw net.ipv6.conf.{ifname}.accept_dad=0; \
         for i in $(seq 50); do ip -6 addr show dev {ifname} scope link -tentative | grep -q fe80 && break; sleep 0.1; done; \
         python3 {}; sleep 0.3",
        file.path().display()
    ));
}

fn default_by_advertisement(host: &Host) -> String {
    host.sh("ip -6 route show default proto ra")
}

/// A host that forwards does not listen to routers, unless it is told to: the one it has its default route from is
/// listened to on.
#[test]
fn a_host_keeps_the_router_that_it_learnt_of() {
    let net = Net::new();
    let machine = net.host.container();
    net.host.sh(&format!(
        "sysctl -qw net.ipv6.conf.all.forwarding=0 && \
         ip link add uplink type veth peer name eth0 netns {} && \
         sysctl -qw net.ipv6.conf.uplink.accept_ra=1 net.ipv6.conf.uplink.autoconf=1 \
            net.ipv6.conf.uplink.accept_dad=0 && ip link set uplink up",
        machine.path().display()
    ));
    machine.sh("sysctl -qw net.ipv6.conf.all.forwarding=1 && ip link set eth0 up");
    advertise(&machine, "eth0");
    assert!(
        default_by_advertisement(&net.host).contains("uplink"),
        "the control"
    );
    let accepts = || {
        net.host
            .sh("cat /proc/sys/net/ipv6/conf/uplink/accept_ra")
            .trim()
            .to_owned()
    };
    // One that fails puts the parameter back, and loses no route.
    let mut broken = network(&net, 1, &json!({}));
    broken["ipam"]["routes"] = json!([{"dst": "10.9.0.0/16", "gw": "172.31.0.1"}]);
    net.call("ADD", &broken, &net.host.container()).error();
    assert!(
        default_by_advertisement(&net.host).contains("uplink"),
        "after a failed ADD"
    );
    let (_container, _) = net.add(&network(&net, 1, &json!({})));
    assert_eq!(accepts(), "2");
    assert!(
        default_by_advertisement(&net.host).contains("uplink"),
        "after an ADD"
    );
    net.host.sh("ip -6 route flush proto ra");
    advertise(&machine, "eth0");
    assert!(
        default_by_advertisement(&net.host).contains("uplink"),
        "it is renewed"
    );
}

/// What a container advertises changes nothing on the host, by Weft's bridge, by one that was there, and by the host's
/// interface on a master.
#[test]
fn containers_are_no_routers_of_the_host() {
    let lan = Lan::new();
    lan.host.sh(
        "sysctl -qw net.ipv6.conf.all.forwarding=0 net.ipv6.conf.default.accept_ra=2 \
            net.ipv6.conf.all.accept_ra=2 && ip link add theirs0 type bridge && ip link set theirs0 up",
    );
    let bridge = |name: &str, third: u8| {
        json!({"cniVersion": "1.0.0", "name": name, "type": "weft-bridge", "bridge": name,
            "isGateway": true, "ipam": {"type": "weft-ipam", "subnet": format!("10.{third}.0.0/24")}})
    };
    let access = json!({"cniVersion": "1.0.0", "name": "access", "type": "weft-macvlan", "master": "eth1",
        "hostAccess": true, "ipam": {"type": "weft-ipam", "subnet": "192.168.60.0/24",
        "rangeStart": "192.168.60.100"}});
    for conf in [bridge("ours0", 1), bridge("theirs0", 2), access] {
        let (container, _) = lan.add(&conf);
        advertise(&container, "eth0");
        let routes = lan.host.sh("ip -6 route show proto ra");
        // The LAN's master itself is the administrator's, and listens as it did.
        let taken = routes.lines().filter(|line| !line.contains("dev eth1"));
        assert_eq!(taken.collect::<String>(), "", "{conf}");
        let addresses = lan.host.sh("ip -6 -o addr | grep -v ' eth1 ' || true");
        assert!(!addresses.contains("2001:db8:9:"), "{conf}: {addresses}");
    }
}

/// Killed wherever it changes something, an ADD leaves no interface with containers that the host believes once the
/// next one is there; CHECK and doctor see one that is set to believe them.
#[test]
fn no_killed_add_makes_containers_routers_of_the_host() {
    let suite = Suite::weft();
    for theirs in [false, true] {
        let conf = json!({"cniVersion": "1.0.0", "name": "net", "type": "weft-bridge", "bridge": "wtest0",
            "cleanup": true, "ipam": {"type": "weft-ipam", "subnet": "10.1.0.0/24"}});
        let host = Host::new();
        host.sh("sysctl -qw net.ipv6.conf.all.forwarding=0 net.ipv6.conf.default.accept_ra=2");
        let (first, second) = (host.container(), host.container());
        let call =
            |verb: &str, container: &Container| Call::new(&suite, verb, &conf).container(container);
        let begin = || {
            for container in [&first, &second] {
                call("DEL", container).on(&host).ok();
            }
            if theirs {
                host.sh("ip link del wtest0 2>/dev/null; ip link add wtest0 type bridge && ip link set wtest0 up");
            }
        };
        begin();
        let (outcome, calls) = system_calls(&call("ADD", &first), &host);
        outcome.ok();
        // What changes something; requests that wait for the port's carrier are repeated many times.
        let is_change = |at: &&SystemCall| match at.name.as_str() {
            "write" => true,
            "sendto" | "sendmsg" => at.occurrence <= 14,
            _ => false,
        };
        let points: Vec<_> = calls.iter().filter(is_change).collect();
        assert!(points.len() > 10, "{}", points.len());
        let accepts = || {
            host.sh("cat /proc/sys/net/ipv6/conf/wtest0/accept_ra")
                .trim()
                .to_owned()
        };
        for at in points {
            begin();
            if kill_at(&call("ADD", &first), &host, at) {
                call("ADD", &second).on(&host).ok();
                assert_eq!(accepts(), "0", "killed at {at:?}, theirs: {theirs}");
            }
        }
        begin();
        let mut check = conf.clone();
        check["prevResult"] = call("ADD", &second).on(&host).ok();
        host.sh("sysctl -qw net.ipv6.conf.wtest0.accept_ra=2");
        let error = Call::new(&suite, "CHECK", &check)
            .container(&second)
            .on(&host)
            .error();
        let text = "net.ipv6.conf.wtest0.accept_ra=0";
        assert!(error["msg"].as_str().unwrap().contains(text), "{error}");
        call("ADD", &first).on(&host).ok();
        assert_eq!(accepts(), "0", "the next ADD");
    }
}

/// An administrator that has his bridge configured by a router keeps that.
#[test]
fn a_bridge_with_an_advertised_address_goes_on_listening() {
    let net = Net::new();
    net.host.sh(
        "ip link add theirs0 type bridge && \
         sysctl -qw net.ipv6.conf.theirs0.accept_ra=2 net.ipv6.conf.theirs0.accept_dad=0 && ip link set theirs0 up",
    );
    let router = net.host.container();
    net.host.sh(&format!(
        "ip link add router0 type veth peer name eth0 netns {} && ip link set router0 master theirs0 up",
        router.path().display()
    ));
    router.sh("ip link set eth0 up");
    advertise(&router, "eth0");
    assert!(
        default_by_advertisement(&net.host).contains("theirs0"),
        "the control"
    );
    let conf = json!({"bridge": "theirs0", "isGateway": false});
    net.add(&net.conf(&conf));
    let accepts = net.host.sh("cat /proc/sys/net/ipv6/conf/theirs0/accept_ra");
    assert_eq!(accepts.trim(), "2");
}

/// The forwarding of the bridge itself is a switch of its own.
#[test]
fn forwarding_of_the_bridge_is_checked_and_mended() {
    let net = Net::new();
    let _outside = Outside::join(&net.host);
    let conf = network(&net, 1, &json!({"ipMasq": true}));
    let (container, result) = net.add(&conf);
    let mut check = conf.clone();
    check["prevResult"] = result;
    net.call("CHECK", &check, &container).ok();
    for off in [
        "net.ipv4.conf.wtest1.forwarding=0",
        "net.ipv6.conf.all.forwarding=0",
    ] {
        net.host.sh(&format!("sysctl -qw {off}"));
        let error = net.call("CHECK", &check, &container).error();
        assert!(
            error["msg"].as_str().unwrap().contains("forward"),
            "{off}: {error}"
        );
        let doctor = weft(&net.suite, &net.host, &["doctor"]);
        assert!(!doctor.status.success(), "doctor sees {off}");
        let (next, _) = net.add(&conf);
        net.call("CHECK", &check, &container).ok();
        assert!(
            container.reaches("192.0.2.1") && next.reaches("2001:db8::1"),
            "{off}"
        );
    }
}

#[test]
fn a_bridge_keeps_its_ipv6_gateway_when_it_was_down() {
    let net = Net::new();
    let (container, _) = net.add(&network(&net, 1, &json!({})));
    assert!(container.reaches("fd01::1"));
    net.host
        .sh("ip link set wtest1 down && ip link set wtest1 up");
    assert!(container.reaches("fd01::1") && container.reaches("10.1.0.1"));
}

/// The kernel removes routes with the address that they have as their source.
#[test]
fn the_hosts_way_survives_a_renewed_address() {
    for by in ["ADD", "GC"] {
        let lan = Lan::new();
        let conf = json!({"cniVersion": "1.1.0", "name": "net", "type": "weft-macvlan", "master": "eth1",
            "hostAccess": true, "ipam": {"type": "weft-ipam", "subnet": "192.168.60.0/24",
            "rangeStart": "192.168.60.100"}});
        let (first, result) = lan.add(&conf);
        let pings = |last: u8| {
            lan.host
                .succeeds(&format!("ping -c 1 -W 2 192.168.60.{last}"))
        };
        assert!(pings(100), "the control");
        let own = lan
            .host
            .sh("ip -4 -o addr show dev eth1 | awk '{print $4}'");
        let renew = |address: &str| {
            lan.host.sh(&format!(
                "ip -4 addr flush dev eth1 && ip addr add {address} dev eth1"
            ));
        };
        renew(own.trim());
        assert!(pings(100), "{by}: the same address again");
        renew("192.168.60.77/24");
        if by == "ADD" {
            let (_next, _) = lan.add(&conf);
            assert!(pings(101), "a new one");
        } else {
            let mut valid = conf.clone();
            valid["cni.dev/valid-attachments"] =
                json!([{"containerID": first.id(), "ifname": "eth0"}]);
            Call::new(&lan.suite, "GC", &valid).on(&lan.host).ok();
        }
        assert!(pings(100), "{by}: another address");
        let mut check = conf.clone();
        check["prevResult"] = result;
        lan.call("CHECK", &check, &first).ok();
        assert!(first.reaches(MACHINE4));
        lan.call("DEL", &conf, &first).ok();
        assert!(
            !lan.host.sh("ip route show").contains("192.168.60.100"),
            "{by}"
        );
    }
}

/// A network whose subnet is the host's own cuts the host off.
#[test]
fn a_subnet_of_the_host_is_told_of() {
    let net = Net::new();
    let _outside = Outside::join(&net.host);
    let mut conf = net.conf(&json!({"isGateway": true}));
    conf["ipam"]["subnet"] = json!("192.0.2.0/25");
    let outcome = net.call("ADD", &conf, &net.host.container());
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(
        said.contains("192.0.2.2/24") && said.contains("uplink"),
        "{said}"
    );
    // One that is beside it is nobody's business.
    let (_c, _) = net.add(&network(&net, 1, &json!({})));
    assert!(ok(&weft(&net.suite, &net.host, &["doctor"])).contains("nothing found"));
}
