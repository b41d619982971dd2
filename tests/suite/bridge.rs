//! weft-bridge: what its keys promise, seen from containers and host.

use serde_json::{Value, json};
use weft_testkit::{Call, Container, Host, HostState, Suite};

pub(crate) struct Net {
    pub(crate) suite: Suite,
    pub(crate) host: Host,
}

impl Net {
    pub(crate) fn new() -> Self {
        Self {
            suite: Suite::weft(),
            host: Host::new(),
        }
    }

    /// The usual network with keys added or replaced.
    pub(crate) fn conf(&self, keys: &Value) -> Value {
        let mut conf = self
            .suite
            .network_conf("net", "10.1.0.0/24", self.host.dir());
        for (key, value) in keys.as_object().unwrap() {
            conf[key] = value.clone();
        }
        conf
    }

    pub(crate) fn call(
        &self,
        verb: &str,
        conf: &Value,
        container: &Container,
    ) -> weft_testkit::Outcome {
        Call::new(&self.suite, verb, conf)
            .container(container)
            .on(&self.host)
    }

    #[track_caller]
    pub(crate) fn add(&self, conf: &Value) -> (Container, Value) {
        let container = self.host.container();
        let result = self.call("ADD", conf, &container).ok();
        (container, result)
    }

    #[track_caller]
    pub(crate) fn del(&self, conf: &Value, container: &Container) {
        self.call("DEL", conf, container).ok();
    }

    fn bridge(&self) -> String {
        self.host.sh("ip -d -o link show wtest0")
    }

    fn port(&self, result: &Value) -> String {
        let name = result["interfaces"][1]["name"].as_str().unwrap();
        self.host.sh(&format!("ip -d -o link show {name}"))
    }
}

#[test]
fn containers_reach_each_other_and_the_host() {
    let net = Net::new();
    let mut conf = net.conf(&json!({}));
    conf["ipam"]["ranges"] = json!([[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd01::/64"}]]);
    let ((a, _), (b, result)) = (net.add(&conf), net.add(&conf));
    for ip in result["ips"].as_array().unwrap() {
        let address = ip["address"].as_str().unwrap().split('/').next().unwrap();
        assert!(a.reaches(address), "{address}");
        assert!(net.host.reaches(address), "{address} from the host");
    }
    assert!(b.reaches("10.1.0.1") && b.reaches("fd01::1"));
    net.del(&conf, &b);
    assert!(a.cannot_reach("10.1.0.3"), "a deleted container answers");
}

#[test]
fn port_options_are_set() {
    let net = Net::new();
    let (_c, result) = net.add(&net.conf(&json!({"hairpinMode": true, "portIsolation": true})));
    let port = net.port(&result);
    assert!(
        port.contains("hairpin on") && port.contains("isolated on"),
        "{port}"
    );
    let (_d, result) = net.add(&net.conf(&json!({})));
    let port = net.port(&result);
    assert!(
        port.contains("hairpin off") && port.contains("isolated off"),
        "{port}"
    );
    let (_e, _) = net.add(&net.conf(&json!({"promiscMode": true})));
    assert!(net.bridge().contains("PROMISC"), "{}", net.bridge());
}

#[test]
fn isolated_ports_do_not_reach_each_other() {
    let net = Net::new();
    let conf = net.conf(&json!({"portIsolation": true}));
    let ((a, _), (_b, result)) = (net.add(&conf), net.add(&conf));
    let address = result["ips"][0]["address"]
        .as_str()
        .unwrap()
        .trim_end_matches("/24")
        .to_owned();
    assert!(a.cannot_reach(&address));
    assert!(a.reaches("10.1.0.1"));
    let (c, _) = net.add(&net.conf(&json!({})));
    assert!(
        c.reaches(&address),
        "a port that is not isolated reaches an isolated one"
    );
}

#[test]
fn frames_from_a_foreign_mac_are_dropped() {
    let net = Net::new();
    let ((checked, result), (free, _)) = (
        net.add(&net.conf(&json!({"macspoofchk": true}))),
        net.add(&net.conf(&json!({}))),
    );
    assert!(checked.reaches("10.1.0.1") && free.reaches("10.1.0.1"));
    let forge = "ip link set eth0 down; ip link set eth0 address 02:66:66:66:66:66; \
                 ip link set eth0 up; ip neigh flush dev eth0";
    checked.sh(forge);
    free.sh(forge);
    assert!(checked.cannot_reach("10.1.0.1"), "a forged frame passed");
    assert!(
        free.reaches("10.1.0.1"),
        "the control: without the key it passes"
    );
    let mac = result["interfaces"][2]["mac"].as_str().unwrap();
    checked.sh(&format!(
        "ip link set eth0 down; ip link set eth0 address {mac}; ip link set eth0 up"
    ));
    assert!(checked.reaches("10.1.0.1"), "with its own address again");
}

#[test]
fn mtu_is_the_uplinks_unless_given() {
    let net = Net::new();
    net.host.sh(
        "ip link add up0 type veth peer name up1 && ip link set up0 mtu 1380 up && \
         ip link set up1 up && ip addr add 192.0.2.2/24 dev up0 && ip route add default via 192.0.2.1",
    );
    let conf = net.conf(&json!({"cniVersion": "1.1.0"}));
    let (container, result) = net.add(&conf);
    assert_eq!(result["interfaces"][2]["mtu"], 1380);
    for (text, what) in [
        (container.sh("ip -o link show eth0"), "eth0"),
        (net.port(&result), "port"),
        (net.bridge(), "bridge"),
    ] {
        assert!(text.contains("mtu 1380"), "{what}: {text}");
    }
    let (small, _) = net.add(&net.conf(&json!({"mtu": 1280})));
    assert!(small.sh("ip -o link show eth0").contains("mtu 1280"));
    net.call("ADD", &net.conf(&json!({"mtu": 20})), &net.host.container())
        .error();
}

#[test]
fn settings_are_made_before_the_interface_is_up() {
    let net = Net::new();
    let mut conf = net.conf(&json!({"mac": "02:00:00:00:00:0c"}));
    conf["ipam"]["ranges"] = json!([[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd01::/64"}]]);
    let (container, _) = net.add(&conf);
    let sysctl = container.sh(
        "sysctl -n net.ipv4.conf.eth0.arp_notify net.ipv6.conf.eth0.ndisc_notify \
         net.ipv6.conf.eth0.accept_dad net.ipv6.conf.eth0.keep_addr_on_down",
    );
    assert_eq!(
        sysctl.split_whitespace().collect::<Vec<_>>(),
        ["1", "1", "0", "1"]
    );
    let ports = net.host.sh("ip -6 addr show master wtest0");
    assert!(
        !ports.contains("fe80"),
        "host ends have addresses of their own: {ports}"
    );
}

/// Who takes over an address with another MAC announces it: nobody's cache stays wrong.
#[test]
fn a_new_mac_is_announced() {
    let net = Net::new();
    let with = |mac: &str| {
        let mut conf = net.conf(&json!({"mac": mac}));
        conf["runtimeConfig"] = json!({"ips": ["10.1.0.50"]});
        conf
    };
    let (neighbour, _) = net.add(&net.conf(&json!({})));
    let (first, _) = net.add(&with("02:00:00:00:00:0a"));
    assert!(neighbour.reaches("10.1.0.50") && net.host.reaches("10.1.0.50"));
    net.del(&with("02:00:00:00:00:0a"), &first);
    let (second, _) = net.add(&with("02:00:00:00:00:0b"));
    let mut entry = String::new();
    for _ in 0..50 {
        entry = neighbour.sh("ip neigh show 10.1.0.50");
        if entry.contains("02:00:00:00:00:0b") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(entry.contains("02:00:00:00:00:0b"), "{entry}");
    assert!(neighbour.reaches("10.1.0.50"));
    net.del(&with("02:00:00:00:00:0b"), &second);
    // The next holder's MAC derives from the address: its neighbours remember another one.
    let mut derived = net.conf(&json!({}));
    derived["runtimeConfig"] = json!({"ips": ["10.1.0.50"]});
    let (_third, _) = net.add(&derived);
    assert!(neighbour.reaches("10.1.0.50"));
}

#[test]
fn an_interface_can_be_left_down() {
    let net = Net::new();
    let keys = json!({"disableContainerInterface": true, "ipam": {}, "isDefaultGateway": false});
    let conf = net.conf(&keys);
    let (container, result) = net.add(&conf);
    let link = container.sh("ip -o link show eth0");
    assert!(!link.contains("UP"), "{link}");
    let mut check = conf;
    check["prevResult"] = result;
    net.call("CHECK", &check, &container).ok();
    let with_ipam = net.conf(&json!({"disableContainerInterface": true}));
    let error = net.call("ADD", &with_ipam, &net.host.container()).error();
    assert_eq!(error["code"], 7, "{error}");
}

#[test]
fn duplicate_detection_can_be_waited_for() {
    let net = Net::new();
    let mut conf = net.conf(&json!({"enabledad": true}));
    conf["ipam"]["ranges"] = json!([[{"subnet": "fd01::/64"}]]);
    let (container, _) = net.add(&conf);
    let there = container.sh("ip -6 addr show dev eth0 scope global");
    assert!(
        there.contains("fd01::2/64") && !there.contains("tentative"),
        "{there}"
    );
}

#[test]
fn group_addresses_are_forwarded_on_request() {
    let net = Net::new();
    let (_c, _) = net.add(&net.conf(&json!({"groupFwdMask": 16384})));
    assert!(
        net.bridge().contains("group_fwd_mask 0x4000"),
        "{}",
        net.bridge()
    );
    let error = net
        .call(
            "ADD",
            &net.conf(&json!({"groupFwdMask": 4})),
            &net.host.container(),
        )
        .error();
    assert!(
        error["msg"].as_str().unwrap().contains("groupFwdMask"),
        "{error}"
    );
}

#[test]
fn an_uplink_becomes_a_port() {
    let net = Net::new();
    let machine = net.host.container();
    net.host.sh(&format!(
        "ip link add up0 type veth peer name eth0 netns {}",
        machine.path().display()
    ));
    machine.sh("ip addr add 10.1.0.200/24 dev eth0 && ip link set eth0 up");
    let conf = net.conf(&json!({"uplink": "up0", "cleanup": true}));
    let before = HostState::of(&net.host);
    net.host.sh("ip addr add 192.0.2.9/24 dev up0");
    let error = net.call("ADD", &conf, &net.host.container()).error();
    assert!(
        error["msg"].as_str().unwrap().contains("192.0.2.9/24"),
        "{error}"
    );
    net.host.sh("ip addr del 192.0.2.9/24 dev up0");
    let (container, _) = net.add(&conf);
    assert!(container.reaches("10.1.0.200"), "the machine on the uplink");
    net.del(&conf, &container);
    net.host
        .sh("ip link set up0 down; sysctl -qw net.ipv4.ip_forward=0 || true");
    let left = before.differences(&HostState::of(&net.host));
    let left: Vec<_> = left.iter().filter(|l| !l.contains("forwarding")).collect();
    assert!(left.is_empty(), "{left:?}");
    let missing = net.conf(&json!({"uplink": "nosuch0"}));
    net.call("ADD", &missing, &net.host.container()).error();
    let mut status = missing;
    status["cniVersion"] = "1.1.0".into();
    assert_eq!(
        Call::new(&net.suite, "STATUS", &status)
            .on(&net.host)
            .code(),
        50
    );
}

#[test]
fn an_unused_bridge_goes_on_request() {
    let net = Net::new();
    net.host.sh("sysctl -qw net.ipv4.ip_forward=1");
    let before = HostState::of(&net.host);
    let conf = net.conf(&json!({"cleanup": true, "ipMasq": true, "macspoofchk": true}));
    let ((a, _), (b, _)) = (net.add(&conf), net.add(&conf));
    net.del(&conf, &a);
    assert!(
        b.reaches("10.1.0.1"),
        "the bridge went with the first of two"
    );
    net.del(&conf, &b);
    before.assert_same(&net.host, "cleanup with the last container");
    let (c, _) = net.add(&conf);
    net.host
        .sh("ip link add other0 type veth peer name other1 && ip link set other0 master wtest0");
    net.del(&conf, &c);
    assert!(
        net.host.succeeds("ip link show wtest0"),
        "a bridge with somebody's port on it"
    );
}

#[test]
fn a_bridge_weft_did_not_make_stays() {
    let net = Net::new();
    net.host
        .sh("ip link add wtest0 type bridge && ip link set wtest0 up");
    let conf = net.conf(&json!({"cleanup": true}));
    let (container, _) = net.add(&conf);
    net.del(&conf, &container);
    assert!(net.host.succeeds("ip link show wtest0"));
    net.host.sh("ip link add notbridge type veth peer name nb1");
    let error = net.call(
        "ADD",
        &net.conf(&json!({"bridge": "notbridge"})),
        &net.host.container(),
    );
    assert!(error.error()["msg"].as_str().unwrap().contains("is a veth"));
}

#[test]
fn a_failed_add_leaves_the_host_as_it_was() {
    let net = Net::new();
    let before = HostState::of(&net.host);
    // The route has a gateway that is not on the link: the kernel refuses it at the very end.
    let mut conf = net.conf(&json!({"ipMasq": true, "macspoofchk": true}));
    conf["ipam"]["routes"] = json!([{"dst": "10.9.0.0/16", "gw": "172.31.0.1"}]);
    let container = net.host.container();
    let error = net.call("ADD", &conf, &container).error();
    assert!(
        error["msg"]
            .as_str()
            .unwrap()
            .contains("10.9.0.0/16 via 172.31.0.1"),
        "{error}"
    );
    assert!(!container.succeeds("ip link show eth0"));
    before.assert_same(&net.host, "a failed ADD");
}

#[test]
fn dns_of_the_configuration_replaces_ipams() {
    let net = Net::new();
    let mut conf = net.conf(&json!({}));
    conf["ipam"]["dns"] = json!({"nameservers": ["10.1.0.53"], "search": ["a.example"]});
    assert_eq!(net.add(&conf).1["dns"]["nameservers"], json!(["10.1.0.53"]));
    conf["dns"] = json!({"nameservers": ["10.1.0.54"]});
    let result = net.add(&conf).1;
    assert_eq!(result["dns"], json!({"nameservers": ["10.1.0.54"]}));
}

#[test]
fn del_without_an_interface_name_takes_all_of_the_container() {
    let net = Net::new();
    let conf = net.conf(&json!({"isDefaultGateway": false}));
    let (container, _) = net.add(&conf);
    Call::new(&net.suite, "ADD", &conf)
        .container(&container)
        .ifname("eth1")
        .on(&net.host)
        .ok();
    Call::new(&net.suite, "DEL", &conf)
        .id(container.id())
        .on(&net.host)
        .ok();
    assert!(!container.succeeds("ip link show eth0") && !container.succeeds("ip link show eth1"));
}
