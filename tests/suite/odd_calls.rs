//! Calls and configurations that are unusual and right, or look right and are not.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weft_testkit::{Call, HostState};

use crate::bridge::Net;
use crate::commands::{ok, weft};
use crate::lan::Lan;

fn ips(result: &Value) -> Vec<&str> {
    let ips = result["ips"].as_array().unwrap();
    ips.iter()
        .map(|ip| ip["address"].as_str().unwrap())
        .collect()
}

/// As `podman network create --ipam-driver none` writes it.
#[test]
fn an_ipam_without_a_type_is_none() {
    let net = Net::new();
    let mut conf = net.conf(&json!({"isGateway": false, "isDefaultGateway": false}));
    conf["ipam"] = json!({"type": ""});
    let (container, result) = net.add(&conf);
    assert_eq!(
        result
            .get("ips")
            .and_then(Value::as_array)
            .map_or(0, Vec::len),
        0
    );
    assert!(container.has_interface("eth0"));
    net.del(&conf, &container);

    let lan = Lan::new();
    for conf in [
        json!({"type": "weft-macvlan", "master": "eth1", "ipam": {"type": ""}}),
        json!({"type": "weft-host", "device": "eth1", "ipam": {"type": ""}}),
    ] {
        let mut conf = conf;
        conf["cniVersion"] = "1.0.0".into();
        conf["name"] = "none".into();
        let (container, _) = lan.add(&conf);
        assert!(container.has_interface("eth0"), "{conf}");
        lan.call("DEL", &conf, &container).ok();
    }
}

/// The store is one for the whole host. What another key says is refused, but keeps no container from being removed.
#[test]
fn a_configuration_does_not_choose_the_store() {
    let net = Net::new();
    let conf = net.conf(&json!({}));
    let (container, _) = net.add(&conf);
    for key in ["nonsense", "sled"] {
        let mut conf = net.conf(&json!({"Store": key}));
        conf.as_object_mut().unwrap().remove("store");
        let error = net.call("ADD", &conf, &net.host.container()).error();
        let text = error["msg"].as_str().unwrap();
        assert!(text.contains("WEFT_STORE"), "{error}");
        net.del(&conf, &container);
    }
    let dump = ok(&weft(&net.suite, &net.host, &["store", "dump"]));
    assert!(!dump.contains(container.id()), "{dump}");
}

/// What a host is like is in a file where runtimes set no variables; a mistake there stops every call.
#[test]
fn the_hosts_configuration_is_read_from_a_file() {
    let net = Net::new();
    let conf = net.conf(&json!({}));
    let file = net.host.dir().join("weft.toml");
    let elsewhere = net.host.dir().join("elsewhere");
    let call = |verb: &str, container: &weft_testkit::Container| {
        let call = Call::new(&net.suite, verb, &conf).container(container);
        call.var("WEFT_CONFIG", file.to_str().unwrap())
            .var("WEFT_STATE_DIR", "")
    };
    let text = format!("[host]\nstate_dir = {elsewhere:?}\nstore = \"sled\"\n");
    std::fs::write(&file, text).unwrap();
    let container = net.host.container();
    call("ADD", &container).on(&net.host).ok();
    assert!(elsewhere.join("store.sled").is_dir());
    std::fs::write(&file, "[host]\nstore = 7\n").unwrap();
    let error = call("DEL", &container).on(&net.host).error();
    assert_eq!(error["code"], 7, "{error}");
    assert!(error["msg"].as_str().unwrap().contains("line 2"), "{error}");
    let text = format!("[host]\nstate_dir = {elsewhere:?}\n");
    std::fs::write(&file, text).unwrap();
    let doctor = Call::weft(&net.suite, &["doctor"])
        .var("WEFT_CONFIG", file.to_str().unwrap())
        .var("WEFT_STATE_DIR", "");
    let found = doctor.on(&net.host);
    assert!(
        found
            .stdout
            .contains("this one has 1 attachments of before"),
        "{found:?}"
    );
    call("DEL", &container).on(&net.host).ok();
    assert!(!container.succeeds("ip link show eth0"));
}

/// After the host's database was changed, what runs stays as closed as it was, and goes like everything else.
#[test]
fn attachments_of_an_earlier_database_stay_and_go() {
    let net = Net::new();
    let mut closed = net.conf(&json!({"isolation": "full", "cleanup": true}));
    closed.as_object_mut().unwrap().remove("store");
    let [before, mut ended] = [net.host.container(), net.host.container()];
    let [result, _] = [&before, &ended].map(|container| {
        let add = Call::new(&net.suite, "ADD", &closed).container(container);
        add.var("WEFT_STORE", "sled").on(&net.host).ok()
    });
    let address = result["ips"][0]["address"].as_str().unwrap();
    let address = address.split('/').next().unwrap().to_owned();
    let is_closed = || {
        net.host
            .sh("nft list set inet weft known4")
            .contains(&address)
    };
    assert!(is_closed());

    // Another network comes and goes, with all that the host knows how to clean up.
    let mut other = closed.clone();
    other["name"] = "other".into();
    other["bridge"] = "wtest2".into();
    other["ipam"] = json!({"type": "weft-ipam", "subnet": "10.77.0.0/24"});
    let (after, _) = net.add(&other);
    assert_eq!(ok(&weft(&net.suite, &net.host, &["firewall", "diff"])), "");
    net.host.sh("nft flush ruleset");
    ok(&weft(&net.suite, &net.host, &["firewall", "reload"]));
    assert!(is_closed());
    net.del(&other, &after);
    ended.kill();
    // The kernel removes the interfaces of a namespace some time after its end: until then it may live.
    let is_collected = || ok(&weft(&net.suite, &net.host, &["gc"])).contains(ended.id());
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_collected() {
        assert!(
            Instant::now() < deadline,
            "the dead container is not collected"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(is_closed());

    // The same container is in a network of the new database too.
    let second = |verb: &str| {
        let call = Call::new(&net.suite, verb, &other).container(&before);
        call.ifname("eth1").on(&net.host).ok()
    };
    second("ADD");
    net.del(&closed, &before);
    assert!(!before.has_interface("eth0") && before.has_interface("eth1"));
    second("DEL");
    assert!(!net.host.succeeds("nft list table inet weft"));
    let doctor = weft(&net.suite, &net.host, &["doctor"]);
    let doctor = String::from_utf8_lossy(&doctor.stdout);
    assert!(
        doctor.contains("0 attachments of before: remove it"),
        "{doctor}"
    );
}

/// The one program is what it is called, as the reference plugins are.
#[test]
fn reference_names_are_answered_to() {
    let net = Net::new();
    let directory = tempfile::tempdir_in(net.host.dir()).unwrap();
    let names = [
        "loopback",
        "bridge",
        "macvlan",
        "ipvlan",
        "host-device",
        "host-local",
        "static",
        "portmap",
        "firewall",
        "bandwidth",
        "tuning",
    ];
    for name in names {
        let link = directory.path().join(name);
        std::os::unix::fs::symlink(net.suite.bin_dir.join("weft"), &link).unwrap();
        let output = Command::new(&link)
            .env("CNI_COMMAND", "VERSION")
            .output()
            .unwrap();
        assert!(output.status.success(), "{name}: {output:?}");
    }
    let mut conf = net.conf(&json!({"type": "bridge", "ipMasq": true}));
    conf["ipam"]["type"] = "host-local".into();
    let container = net.host.container();
    let mut suite = net.suite.clone();
    suite.bin_dir = directory.path().to_owned();
    let call = |verb: &str| {
        Call::new(&suite, verb, &conf)
            .container(&container)
            .on(&net.host)
    };
    let result = call("ADD").ok();
    assert_eq!(ips(&result), ["10.1.0.2/24"]);
    call("DEL").ok();
    let loopback = json!({"cniVersion": "1.0.0", "name": "lo", "type": "loopback"});
    let call = |verb: &str| {
        Call::new(&suite, verb, &loopback)
            .container(&container)
            .ifname("lo")
            .on(&net.host)
    };
    call("ADD").ok();
    assert!(container.reaches("127.0.0.1"));
    // By the time of DEL the namespace may be another container's.
    call("DEL").ok();
    assert!(
        container.reaches("127.0.0.1"),
        "lo is up for whoever has it now"
    );
    let gone = Call::new(&suite, "DEL", &loopback)
        .id("x")
        .ifname("lo")
        .var("CNI_NETNS", "/nowhere");
    gone.on(&net.host).ok();
}

/// A bridge that was there keeps the MAC that it has when the first container comes.
#[test]
fn a_foreign_bridge_keeps_its_mac() {
    let net = Net::new();
    net.host
        .sh("ip link add theirs0 type bridge && ip link set theirs0 up");
    let mac = || {
        net.host
            .sh("ip -br link show theirs0 | awk '{print $3}'")
            .trim()
            .to_owned()
    };
    let conf = net.conf(&json!({"bridge": "theirs0"}));
    let (first, result) = net.add(&conf);
    let kept = mac();
    assert_eq!(
        result["interfaces"][0]["mac"], kept,
        "it is reported as it is"
    );
    for _ in 0..8 {
        let (container, result) = net.add(&conf);
        assert_eq!(
            (mac(), result["interfaces"][0]["mac"].as_str()),
            (kept.clone(), Some(kept.as_str()))
        );
        net.del(&conf, &container);
    }
    assert_eq!(mac(), kept);
    assert!(first.reaches("10.1.0.1"));
    // An administrator's own choice is left alone.
    net.host.sh("ip link set theirs0 address 02:00:00:00:55:01");
    let (_second, _) = net.add(&conf);
    assert_eq!(mac(), "02:00:00:00:55:01");
}

#[test]
fn settings_of_a_namespace_need_no_interface() {
    let net = Net::new();
    let container = net.host.container();
    let tuning = |keys: Value| {
        let mut conf = json!({"cniVersion": "1.0.0", "name": "net", "type": "weft-tuning",
            "prevResult": {"cniVersion": "1.0.0"}});
        for (key, value) in keys.as_object().unwrap() {
            conf[key] = value.clone();
        }
        conf
    };
    let read = || {
        container
            .sh("cat /proc/sys/net/core/somaxconn")
            .trim()
            .to_owned()
    };
    let before = read();
    let conf = tuning(json!({"sysctl": {"net.core.somaxconn": "77"}}));
    net.call("ADD", &conf, &container).ok();
    assert_eq!(read(), "77");
    net.call("CHECK", &conf, &container).ok();
    net.call("DEL", &conf, &container).ok();
    assert_eq!(read(), before);
    // What is the interface's needs it.
    let error = net
        .call("ADD", &tuning(json!({"mtu": 1400})), &container)
        .error();
    assert!(error["msg"].as_str().unwrap().contains("eth0"), "{error}");
    for twice in [
        json!({"net.core.somaxconn": "1", "net/core/somaxconn": "2"}),
        json!({"net.ipv4.conf.eth0.rp_filter": "1", "net.ipv4.conf.IFNAME.rp_filter": "0"}),
    ] {
        let error = net
            .call("ADD", &tuning(json!({"sysctl": twice})), &container)
            .error();
        assert!(
            error["msg"].as_str().unwrap().contains("twice"),
            "{twice}: {error}"
        );
    }
}

/// Results before 0.3.0 have one address of a family.
#[test]
fn old_versions_cannot_say_two_addresses() {
    let net = Net::new();
    for version in ["0.1.0", "0.2.0"] {
        let before = HostState::of(&net.host);
        let mut conf = net.conf(&json!({"cniVersion": version}));
        conf["ipam"]["ranges"] = json!([[{"subnet": "10.1.0.0/24"}], [{"subnet": "10.2.0.0/24"}]]);
        let error = net.call("ADD", &conf, &net.host.container()).error();
        assert!(error["msg"].as_str().unwrap().contains(version), "{error}");
        before.assert_same(&net.host, version);
        conf["ipam"]["ranges"] = json!([[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd01::/64"}]]);
        let (container, result) = net.add(&conf);
        assert!(
            result["ip4"]["ip"].is_string() && result["ip6"]["ip"].is_string(),
            "{result}"
        );
        conf["cleanup"] = true.into();
        net.del(&conf, &container);
    }
}

#[test]
fn a_static_address_needs_its_prefix() {
    let net = Net::new();
    let mut conf = net.conf(&json!({}));
    conf["isGateway"] = false.into();
    conf["isDefaultGateway"] = false.into();
    conf["ipam"] = json!({"type": "weft-ipam"});
    conf["args"] = json!({"cni": {"ips": ["10.1.0.9"]}});
    let error = net.call("ADD", &conf, &net.host.container()).error();
    assert!(error["msg"].as_str().unwrap().contains("prefix"), "{error}");
    // The range of the network has one to lend.
    conf["ipam"]["subnet"] = "10.1.0.0/24".into();
    let (_container, result) = net.add(&conf);
    assert!(ips(&result).contains(&"10.1.0.9/24"), "{result}");
}

/// GATEWAY of CNI_ARGS is that of the address in CNI_ARGS, and of no other.
#[test]
fn a_gateway_of_the_arguments_goes_with_their_address() {
    let net = Net::new();
    let mut conf = net.conf(&json!({"isGateway": false, "isDefaultGateway": false}));
    conf["ipam"] = json!({"type": "weft-ipam", "addresses": [{"address": "10.5.0.9/24", "gateway": "10.5.0.1"}]});
    let container = net.host.container();
    let result = Call::new(&net.suite, "ADD", &conf)
        .container(&container)
        .var(
            "CNI_ARGS",
            "IP=10.6.0.9/24;GATEWAY=10.6.0.254;IgnoreUnknown=1",
        )
        .on(&net.host)
        .ok();
    for ip in result["ips"].as_array().unwrap() {
        let gateway = match ip["address"].as_str().unwrap() {
            "10.5.0.9/24" => "10.5.0.1",
            "10.6.0.9/24" => "10.6.0.254",
            other => panic!("{other}"),
        };
        assert_eq!(ip["gateway"], gateway);
    }
}

#[test]
fn messages_say_what_is_meant() {
    let net = Net::new();
    let mut conf = net.conf(&json!({}));
    conf["args"] = json!({"cni": {"mac": "aabb.cc00.1126"}});
    let container = net.host.container();
    let outcome = Call::new(&net.suite, "ADD", &conf)
        .container(&container)
        .on(&net.host);
    outcome.ok();
    assert_eq!(
        container
            .sh("ip -br link show eth0 | awk '{print $3}'")
            .trim(),
        "aa:bb:cc:00:11:26"
    );
    // A store that may not be read is not an empty one.
    let readable = ok(&weft(&net.suite, &net.host, &["store", "dump"]));
    assert!(readable.contains(container.id()));
    let wrapper = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--bounding-set=-all",
        "--inh-caps=-all",
    ];
    net.host
        .sh(&format!("chmod 700 {}", net.host.state_dir().display()));
    for arguments in [
        ["store", "dump"].as_slice(),
        &["network", "list"],
        &["firewall", "show"],
        &["policy", "list"],
        &["doctor"],
        &["gc"],
    ] {
        let denied = Call::weft(&net.suite, arguments)
            .under(wrapper.map(str::to_owned).to_vec())
            .on(&net.host);
        assert!(!denied.is_success(), "{arguments:?}: {denied:?}");
        assert!(
            format!("{}{}", denied.stdout, denied.stderr).contains("Permission denied"),
            "{arguments:?}: {denied:?}"
        );
    }
    let denied = Call::new(&net.suite, "DEL", &conf)
        .container(&container)
        .under(wrapper.map(str::to_owned).to_vec())
        .on(&net.host);
    assert!(!denied.is_success(), "{denied:?}");
}

/// The word for everybody is told where it goes, once.
#[test]
fn any_is_no_prefix() {
    let net = Net::new();
    for cidr in [json!("any"), json!(["any"])] {
        let conf = net.conf(&json!({"isolation": "full",
            "policy": {"egress": [{"to": {"cidr": cidr}}]}}));
        let error = net.call("ADD", &conf, &net.host.container()).error();
        let msg = error["msg"].as_str().unwrap();
        assert_eq!(msg.matches("cidr").count(), 1, "{msg}");
        assert!(msg.contains("in place of the whole object"), "{msg}");
    }
}

/// The kernel's EXFULL is told in words.
#[test]
fn a_full_bridge_says_how_many_ports_it_has() {
    let net = Net::new();
    let ports = "ip link add full0 type bridge; ip link set full0 up; \
         sysctl -qw net.ipv6.conf.full0.accept_ra=0; \
         for i in $(seq 512); do echo link add p$i master full0 type veth peer name q$i; done | ip -batch - && \
         for i in $(seq 511); do echo link set q$i master full0; done | ip -batch -";
    net.host.sh(ports);
    let conf = net.conf(&json!({"bridge": "full0"}));
    let before = HostState::of(&net.host);
    let error = net.call("ADD", &conf, &net.host.container()).error();
    assert!(
        error["msg"].as_str().unwrap().contains("1023 ports"),
        "{error}"
    );
    before.assert_same(&net.host, "a refused ADD");
}

/// The specification sets no limit: an id of every length works, also where the alias of the link is as long as one can be.
#[test]
fn an_id_may_have_any_length() {
    let net = Net::new();
    let conf = net.conf(&json!({}));
    let container = net.host.container();
    for length in [1, 200, 236, 237, 238, 239, 240, 241, 242, 250, 300] {
        let id = "a".repeat(length);
        for verb in ["ADD", "DEL"] {
            Call::new(&net.suite, verb, &conf)
                .container(&container)
                .id(&id)
                .on(&net.host)
                .ok();
        }
    }
}
