//! Address management, through both ways in: the bridge's own and the IPAM plugin.

use serde_json::{Value, json};
use weft_testkit::{Call, Host, Outcome, Suite};

use crate::bridge::Net;

struct Ipam {
    suite: Suite,
    host: Host,
}

impl Ipam {
    fn new() -> Self {
        Self {
            suite: Suite::weft(),
            host: Host::new(),
        }
    }

    fn conf(&self, ipam: &Value) -> Value {
        let mut conf = self.suite.ipam_conf("net", "10.1.0.0/24", self.host.dir());
        conf["ipam"] = ipam.clone();
        conf["ipam"]["type"] = "weft-ipam".into();
        conf
    }

    fn call(&self, verb: &str, conf: &Value, id: &str, args: &str) -> Outcome {
        let call = Call::new(&self.suite, verb, conf)
            .id(id)
            .netns("/none".as_ref())
            .ifname("eth0");
        call.var("CNI_ARGS", args).on(&self.host)
    }

    #[track_caller]
    fn add(&self, conf: &Value, id: &str) -> Vec<String> {
        let result = self.call("ADD", conf, id, "").ok();
        let ips = result["ips"].as_array().unwrap().iter();
        ips.map(|ip| ip["address"].as_str().unwrap().to_owned())
            .collect()
    }

    #[track_caller]
    fn del(&self, conf: &Value, id: &str) {
        self.call("DEL", conf, id, "").ok();
    }
}

#[test]
fn released_addresses_rest_as_long_as_can_be() {
    let ipam = Ipam::new();
    let conf = ipam.conf(&json!({"subnet": "10.1.0.0/29"}));
    for (id, address) in [("a", 2), ("b", 3), ("c", 4)] {
        assert_eq!(ipam.add(&conf, id), [format!("10.1.0.{address}/29")]);
    }
    ipam.del(&conf, "b");
    ipam.del(&conf, "a");
    let next: Vec<String> = (0..4)
        .flat_map(|n| ipam.add(&conf, &format!("n{n}")))
        .collect();
    // First what was never used, then what was released first.
    assert_eq!(
        next,
        ["10.1.0.5/29", "10.1.0.6/29", "10.1.0.3/29", "10.1.0.2/29"]
    );
}

#[test]
fn a_cool_down_is_kept() {
    let ipam = Ipam::new();
    let conf = ipam.conf(&json!({"subnet": "10.1.0.0/30", "coolDown": 5}));
    assert_eq!(ipam.add(&conf, "a"), ["10.1.0.2/30"]);
    ipam.del(&conf, "a");
    let error = ipam.call("ADD", &conf, "b", "").error();
    assert_eq!(error["code"], 103);
    assert!(
        error["msg"].as_str().unwrap().contains("cooling down"),
        "{error}"
    );
    let mut patience = 200;
    while !ipam.call("ADD", &conf, "b", "").is_success() {
        patience -= 1;
        assert!(patience > 0, "the address never came back");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

#[test]
fn the_smallest_and_the_largest_subnets() {
    let ipam = Ipam::new();
    for (subnet, address) in [
        ("10.2.0.0/31", "10.2.0.1/31"),
        ("10.2.1.7/32", "10.2.1.7/32"),
        ("fd02::/127", "fd02::1/127"),
        ("fd03::/16", "fd03::2/16"),
        ("fd04::/64", "fd04::2/64"),
    ] {
        let mut conf = ipam.conf(&json!({"subnet": subnet}));
        conf["name"] = subnet.replace(['/', ':'], "-").into();
        assert_eq!(ipam.add(&conf, "a"), [address], "{subnet}");
    }
}

#[test]
fn ranges_excludes_and_gateways_are_respected() {
    let ipam = Ipam::new();
    let conf = ipam.conf(&json!({"ranges": [[
        {"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.10", "rangeEnd": "10.1.0.14",
         "gateway": "10.1.0.11", "exclude": ["10.1.0.12/31"]},
        {"subnet": "10.3.0.0/30"}
    ]]}));
    let all: Vec<String> = (0..3)
        .flat_map(|n| ipam.add(&conf, &format!("c{n}")))
        .collect();
    assert_eq!(all, ["10.1.0.10/24", "10.1.0.14/24", "10.3.0.2/30"]);
    assert_eq!(ipam.call("ADD", &conf, "full", "").code(), 103);
    for (address, word) in [
        ("10.1.0.11", "gateway"),
        ("10.1.0.12", "excluded"),
        ("10.1.0.10", "leased to"),
    ] {
        let error = ipam
            .call("ADD", &conf, "x", &format!("IP={address}"))
            .error();
        assert_eq!(error["code"], 104);
        assert!(error["msg"].as_str().unwrap().contains(word), "{error}");
    }
}

#[test]
fn ranges_from_the_runtime_come_first() {
    let ipam = Ipam::new();
    let mut conf = ipam.conf(&json!({"subnet": "10.1.0.0/24"}));
    conf["runtimeConfig"] = json!({"ipRanges": [[{"subnet": "10.8.0.0/24"}]]});
    assert_eq!(ipam.add(&conf, "a"), ["10.8.0.2/24", "10.1.0.2/24"]);
}

#[test]
fn a_pod_gets_its_address_again() {
    let ipam = Ipam::new();
    let conf = ipam.conf(&json!({"subnet": "10.1.0.0/24", "sticky": true}));
    let pod = "K8S_POD_NAMESPACE=ns;K8S_POD_NAME=web-0;IgnoreUnknown=1";
    let address = |outcome: Outcome| {
        outcome.ok()["ips"][0]["address"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let first = address(ipam.call("ADD", &conf, "one", pod));
    ipam.del(&conf, "one");
    assert_ne!(address(ipam.call("ADD", &conf, "other", "")), first);
    // The state is gone with a reboot; the sticky lease is not.
    std::fs::remove_file(ipam.host.store().path()).unwrap();
    ipam.add(&conf, "somebody");
    assert_eq!(address(ipam.call("ADD", &conf, "two", pod)), first);
    assert_ne!(
        address(ipam.call("ADD", &conf, "three", pod)),
        first,
        "taken: another one then"
    );
}

#[test]
fn fixed_addresses_are_leased_too() {
    let ipam = Ipam::new();
    let conf =
        ipam.conf(&json!({"addresses": [{"address": "10.1.0.5/24", "gateway": "10.1.0.1"}]}));
    assert_eq!(ipam.add(&conf, "a"), ["10.1.0.5/24"]);
    let error = ipam.call("ADD", &conf, "b", "").error();
    assert!(
        error["msg"].as_str().unwrap().contains("net/a/eth0"),
        "{error}"
    );
    assert_eq!(
        ipam.add(&ipam.conf(&json!({"subnet": "10.1.0.0/24"})), "c"),
        ["10.1.0.2/24"]
    );
}

#[test]
fn data_directories_keep_leases_apart() {
    let ipam = Ipam::new();
    let of = |dir: &str| ipam.conf(&json!({"subnet": "10.1.0.0/24", "dataDir": dir}));
    assert_eq!(ipam.add(&of("/a"), "one"), ["10.1.0.2/24"]);
    assert_eq!(ipam.add(&of("/b"), "two"), ["10.1.0.2/24"]);
    assert_eq!(ipam.add(&of("/a"), "three"), ["10.1.0.3/24"]);
}

#[test]
fn a_shrunk_range_forgets_what_it_lost() {
    let ipam = Ipam::new();
    let wide = ipam.conf(&json!({"subnet": "10.1.0.0/29"}));
    for id in ["a", "b", "c", "d", "e"] {
        ipam.add(&wide, id);
    }
    for id in ["a", "b", "c", "d", "e"] {
        ipam.del(&wide, id);
    }
    let narrow = ipam.conf(&json!({"subnet": "10.1.0.0/29", "rangeStart": "10.1.0.5"}));
    assert_eq!(ipam.add(&narrow, "n1"), ["10.1.0.5/29"]);
    assert_eq!(ipam.add(&narrow, "n2"), ["10.1.0.6/29"]);
    assert_eq!(ipam.call("ADD", &narrow, "n3", "").code(), 103);
}

/// weft-ipam serves the reference's bridge, and the reference's host-local serves weft-bridge.
#[test]
fn either_side_works_with_the_reference() {
    let net = Net::new();
    let path = format!("{}:/usr/lib/cni", net.suite.bin_dir.display());
    let mixed = |interface: &str, ipam: &str, bridge: &str| {
        let mut conf = net.conf(&json!({"bridge": bridge, "name": interface}));
        conf["ipam"]["type"] = ipam.into();
        if ipam == "host-local" {
            conf["ipam"]["dataDir"] = net.host.dir().join("local").display().to_string().into();
        }
        conf["type"] = interface.into();
        conf
    };
    let reference = Suite::reference();
    for (suite, conf) in [
        (&reference, mixed("bridge", "weft-ipam", "wtest1")),
        (&net.suite, mixed("weft-bridge", "host-local", "wtest2")),
    ] {
        let container = net.host.container();
        let call = |verb: &str, conf: &Value| {
            Call::new(suite, verb, conf)
                .container(&container)
                .var("CNI_PATH", &path)
                .on(&net.host)
        };
        let result = call("ADD", &conf).ok();
        assert!(container.reaches("10.1.0.1"), "{conf}");
        let mut with_result = conf.clone();
        with_result["prevResult"] = result;
        call("CHECK", &with_result).ok();
        call("DEL", &with_result).ok();
        net.host
            .sh(&format!("ip link del {}", conf["bridge"].as_str().unwrap()));
    }
    let dump = net.host.store().read(|t| t.dump()).unwrap();
    assert!(
        dump.attachments.is_empty() && dump.leases.is_empty(),
        "{dump:?}"
    );
}
