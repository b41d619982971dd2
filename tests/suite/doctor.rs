//! Faults that are planted, and found by `weft doctor` with what mends them.

use std::net::TcpListener;
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weft_testkit::{Call, Feature, Outside, has};

use crate::networks::Vnet;

/// What is found: pairs of symptom and text.
fn found(vnet: &Vnet) -> Vec<(String, String)> {
    let output: Output = vnet.run(&["doctor", "--json"]);
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found: Vec<(String, String)> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (text(&one["symptom"]), text(&one["text"])))
        .collect();
    assert_eq!(output.status.success(), found.is_empty(), "{output:?}");
    found
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// A network with two containers, on a host where nothing is found.
fn healthy(options: &[&str]) -> (Vnet, [weft_testkit::Container; 2]) {
    let vnet = Vnet::new();
    vnet.ok(&[&["network", "create"], options, &["demo"]].concat());
    let containers = [vnet.connect("demo", "a"), vnet.connect("demo", "b")];
    // On a busy machine calls take long.
    let is_slow = |one: &(String, String)| one.0 == "performance" && one.1.contains("took");
    assert!(found(&vnet).iter().all(is_slow), "{:?}", found(&vnet));
    (vnet, containers)
}

#[track_caller]
fn assert_found(vnet: &Vnet, symptom: &str, part: &str, remedy: &str) {
    let all = found(vnet);
    let is_it = |one: &&(String, String)| one.0 == symptom && one.1.contains(part);
    let hit = all.iter().find(is_it);
    let hit = hit.unwrap_or_else(|| panic!("no {part:?} of {symptom:?} in {all:?}"));
    assert!(hit.1.contains(remedy), "{hit:?} does not say {remedy:?}");
}

#[test]
fn forwarding_is_off() {
    let (vnet, _containers) = healthy(&["--isolation", "none"]);
    vnet.net.host.sh("sysctl -w net.ipv4.ip_forward=0");
    let remedy = "sysctl -w net.ipv4.ip_forward=1";
    assert_found(
        &vnet,
        "no external connectivity",
        "ip_forward is off",
        remedy,
    );
}

#[test]
fn another_firewall_drops_what_is_forwarded() {
    let (vnet, _containers) = healthy(&["--isolation", "none"]);
    vnet.net.host.sh(
        "nft add table ip other && nft 'add chain ip other filter_forward { type filter hook forward priority 0; policy drop; }'",
    );
    assert_found(
        &vnet,
        "no external connectivity",
        "ip other filter_forward",
        "accept",
    );
}

#[test]
fn the_way_back_leads_elsewhere_and_the_filter_is_strict() {
    let (vnet, _containers) = healthy(&["--isolation", "none"]);
    let host = &vnet.net.host;
    host.sh(
        "ip link add lan0 type veth peer name lan1 && ip link set lan0 up && ip link set lan1 up",
    );
    host.sh("ip route add 172.20.0.2/32 dev lan0 && sysctl -w net.ipv4.conf.weft-demo.rp_filter=1");
    let symptom = "no connectivity between containers";
    assert_found(
        &vnet,
        symptom,
        "reverse path filter is strict",
        "ip route get 172.20.0.2",
    );
    host.sh("sysctl -w net.ipv4.conf.weft-demo.rp_filter=2");
    assert!(found(&vnet).iter().all(|one| !one.1.contains("strict")));
}

#[test]
fn subnets_overlap() {
    let (vnet, _containers) = healthy(&[]);
    let list = json!({"cniVersion": "1.0.0", "name": "hand", "plugins": [{"type": "weft-bridge",
        "bridge": "hand0", "ipam": {"type": "weft-ipam", "subnet": "172.20.0.0/24"}}]});
    std::fs::write(vnet.conf_dir().join("hand.conflist"), list.to_string()).unwrap();
    assert_found(
        &vnet,
        "network creation fails",
        "172.20.0.0/24",
        "another subnet",
    );
    std::fs::remove_file(vnet.conf_dir().join("hand.conflist")).unwrap();
    // What came later on the host.
    vnet.net
        .host
        .sh("ip link add lan0 type veth peer name lan1 && ip addr add 172.20.0.9/26 dev lan0");
    assert_found(
        &vnet,
        "no external connectivity",
        "172.20.0.9/26 of lan0",
        "another subnet",
    );
}

#[test]
fn packets_are_larger_than_what_they_leave_by() {
    let (vnet, _containers) = healthy(&["--isolation", "none"]);
    let outside = Outside::join(&vnet.net.host);
    vnet.net.host.sh("ip link set uplink mtu 1280");
    assert_found(&vnet, "performance", "has MTU 1500", "--option mtu=1280");
    drop(outside);
}

#[test]
fn the_kernel_lacks_a_driver() {
    let vnet = Vnet::new();
    vnet.net
        .host
        .sh("ip link add lan0 type veth peer name lan1");
    let list = json!({"cniVersion": "1.0.0", "name": "lan", "plugins": [{"type": "weft-ipvlan", "master": "lan0",
        "ipam": {"type": "weft-ipam", "subnet": "10.1.0.0/24"}}]});
    std::fs::write(vnet.conf_dir().join("lan.conflist"), list.to_string()).unwrap();
    if has(Feature::Ipvlan) {
        let found = found(&vnet);
        assert!(
            found.iter().all(|one| !one.1.contains("modprobe")),
            "{found:?}"
        );
    } else {
        assert_found(
            &vnet,
            "containers cannot be attached",
            "ipvlan",
            "modprobe ipvlan",
        );
    }
}

#[test]
fn a_pool_is_full() {
    let (vnet, _containers) =
        healthy(&["--subnet", "10.1.0.0/24", "--ip-range", "10.1.0.2-10.1.0.4"]);
    let _third = vnet.connect("demo", "c");
    let symptom = "containers cannot be attached";
    assert_found(
        &vnet,
        symptom,
        "has given 3 of its 3",
        "weft lease ls --network demo",
    );
}

#[test]
fn the_rules_are_not_as_they_should_be() {
    let (vnet, _containers) = healthy(&[]);
    vnet.net
        .host
        .sh("nft delete element inet weft closed '{ \"weft-demo\" }'");
    let symptom = "no connectivity between containers";
    assert_found(&vnet, symptom, "differences", "weft firewall reload");
    vnet.ok(&["firewall", "reload"]);
    assert!(
        found(&vnet)
            .iter()
            .all(|one| !one.1.contains("differences"))
    );
}

#[test]
fn a_process_listens_on_a_published_port() {
    let vnet = Vnet::new();
    vnet.ok(&["network", "create", "--isolation", "none", "demo"]);
    let container = vnet.net.host.container();
    let path = container.path().display().to_string();
    let ports = r#"{"portMappings": [{"hostPort": 8080, "containerPort": 80}]}"#;
    let call = Call::weft(&vnet.net.suite, &["cni", "add", "demo", &path]);
    let bin = vnet.net.suite.bin_dir.to_str().unwrap();
    call.var("CAP_ARGS", ports)
        .var("CNI_PATH", bin)
        .on(&vnet.net.host)
        .ok();
    assert_eq!(found(&vnet), []);
    let _listener = vnet
        .net
        .host
        .run(|| TcpListener::bind("0.0.0.0:8080").unwrap());
    assert_found(
        &vnet,
        "no external connectivity",
        "listens on it too",
        "publish another port",
    );
}

#[test]
fn a_container_has_lost_what_it_was_given() {
    let (vnet, [a, b]) = healthy(&[]);
    let symptom = "no connectivity between containers";
    a.sh("ip addr flush dev eth0");
    assert_found(
        &vnet,
        symptom,
        "no address 172.20.0.2 on eth0",
        "weft endpoint inspect",
    );
    b.sh("ip link del eth0");
    assert_found(&vnet, symptom, "no interface eth0", "weft endpoint inspect");
}

#[test]
fn a_network_was_closed_by_hand_after_its_containers_had_come() {
    let (vnet, _containers) = healthy(&["--isolation", "none"]);
    let file = vnet.conf_dir().join("zz-weft-demo.conflist");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("\"none\"", "\"full\"")).unwrap();
    let symptom = "no connectivity between containers";
    assert_found(&vnet, symptom, "isolation full in", "attached anew");
    let text = vnet.error(&["network", "update", "-o", "isolation=peer", "demo"]);
    assert!(text.contains("use --isolation"), "{text}");
}

#[test]
fn a_container_is_dead() {
    let (vnet, [_a, mut b]) = healthy(&[]);
    b.kill();
    let deadline = Instant::now() + Duration::from_secs(30);
    // The kernel removes its interface some time later.
    while !found(&vnet)
        .iter()
        .any(|one| one.1.contains("its namespace is gone"))
    {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_found(&vnet, "state", "its namespace is gone", "weft gc");
    vnet.ok(&["gc"]);
    assert!(
        found(&vnet)
            .iter()
            .all(|one| !one.1.contains("namespace is gone"))
    );
}

#[test]
fn a_bridge_or_a_port_has_no_carrier() {
    let (vnet, [a, b]) = healthy(&["--isolation", "peer"]);
    let host = &vnet.net.host;
    let symptom = "no connectivity between containers";
    host.sh("ip link set weft-demo down");
    assert_found(
        &vnet,
        symptom,
        "weft-demo is down",
        "ip link set weft-demo up",
    );
    host.sh("ip link set weft-demo up");
    let port = text(&vnet.json(&["endpoint", "inspect", "a"])[0]["host_interface"]);
    host.sh(&format!("ip link set {port} down"));
    assert_found(&vnet, symptom, "is down", &format!("ip link set {port} up"));
    host.sh(&format!("ip link set {port} up nomaster"));
    assert_found(
        &vnet,
        symptom,
        "no port of weft-demo",
        &format!("ip link set {port} master weft-demo"),
    );
    host.sh(&format!("ip link set {port} master weft-demo"));
    a.sh("ip link set eth0 down");
    assert_found(&vnet, symptom, "has no carrier", "weft endpoint inspect");
    b.sh("ip link set eth0 down");
    assert_found(
        &vnet,
        symptom,
        "weft-demo has no carrier",
        "ip link show master weft-demo",
    );
}

#[test]
fn a_part_of_a_call_takes_long() {
    let (vnet, _containers) = healthy(&[]);
    let slow = weft_api::operations::Operation {
        plugin: "weft-bridge".to_owned(),
        time: weft_api::operations::Operation::time_of(std::time::SystemTime::now()),
        verb: "ADD".to_owned(),
        network: "demo".to_owned(),
        us: 2_500_000,
        phases: vec![
            ("address".to_owned(), 10),
            ("firewall".to_owned(), 2_400_000),
        ],
        ..Default::default()
    };
    weft_api::operations::append(&vnet.net.host.state_dir(), &slow).unwrap();
    assert_found(
        &vnet,
        "performance",
        "2400 ms of it in its part firewall",
        "weft ops slowest",
    );
}

#[test]
fn there_is_no_room_for_networks() {
    let vnet = Vnet::new();
    vnet.ok(&["network", "create", "demo"]);
    let config = vnet.net.host.dir().join("weft.toml");
    std::fs::write(
        &config,
        "[vnet]\nmax_networks = 1\ndefault_subnet = \"172.20.0.0/26\"\n",
    )
    .unwrap();
    let doctor = Call::weft(&vnet.net.suite, &["doctor"])
        .var("WEFT_CONFIG", config.to_str().unwrap())
        .var("CNI_PATH", vnet.net.suite.bin_dir.to_str().unwrap())
        .on(&vnet.net.host);
    for part in [
        "network creation fails:",
        "max_networks",
        "default_subnet",
        "2 findings",
    ] {
        assert!(doctor.stdout.contains(part), "{doctor:?}");
    }
    // A plugin that is not installed, and a file that cannot be read.
    std::fs::write(vnet.conf_dir().join("broken.conflist"), "{").unwrap();
    let doctor = Call::weft(&vnet.net.suite, &["doctor"])
        .var("CNI_PATH", "/nonexistent")
        .on(&vnet.net.host);
    for part in ["weft plugins link", "broken.conflist"] {
        assert!(doctor.stdout.contains(part), "{doctor:?}");
    }
}
