//! weft-tuning: what it sets, and that it puts everything back.

use serde_json::{Value, json};
use weft_testkit::{Call, Container, HostState, Suite};

use crate::bridge::Net;

fn tuning(keys: &Value, prev: &Value) -> Value {
    let mut conf = json!({"cniVersion": "1.0.0", "name": "net", "type": "weft-tuning",
        "prevResult": prev});
    for (key, value) in keys.as_object().unwrap() {
        conf[key] = value.clone();
    }
    conf
}

fn everything() -> Value {
    json!({"mac": "02:00:00:00:00:0c", "mtu": 1380, "promisc": true, "allmulti": true,
        "txQLen": 500, "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1",
        "net/ipv4/ip_local_port_range": "2000 3000"}})
}

/// Everything that tuning may change, in one text.
fn state(net: &Net, container: &Container) -> String {
    let inside = container.sh("ip -o link show eth0 | sed 's/ state.* mode/ mode/'; \
         cat /proc/sys/net/ipv4/conf/eth0/arp_filter /proc/sys/net/ipv4/ip_local_port_range");
    inside
        + &net
            .host
            .sh("ip -o link show type veth | grep -o 'mtu [0-9]*'")
}

fn life(net: &Net, interface: &Value, suite: &Suite) {
    let container = net.host.container();
    let call = |suite: &Suite, verb: &str, conf: &Value| {
        Call::new(suite, verb, conf)
            .container(&container)
            .on(&net.host)
    };
    let first = call(suite, "ADD", interface).ok();
    let before = state(net, &container);
    let conf = tuning(&everything(), &first);
    let result = call(&net.suite, "ADD", &conf).ok();
    let own = result["interfaces"].as_array().unwrap();
    let own = own.iter().find(|one| one["name"] == "eth0").unwrap();
    assert_eq!(own["mac"], "02:00:00:00:00:0c");
    let now = state(net, &container);
    for part in [
        "02:00:00:00:00:0c",
        "mtu 1380",
        "PROMISC",
        "ALLMULTI",
        "qlen 500",
        "2000\t3000",
    ] {
        assert!(now.contains(part), "{part}: {now}");
    }
    assert_eq!(now.matches("mtu 1380").count(), 2, "both ends: {now}");
    let check = tuning(&everything(), &result);
    call(&net.suite, "CHECK", &check).ok();
    container
        .sh("ip link set eth0 txqueuelen 600; echo 0 >/proc/sys/net/ipv4/conf/eth0/arp_filter");
    let error = call(&net.suite, "CHECK", &check).error();
    let text = error["details"].to_string();
    assert!(
        text.contains("txQLen") && text.contains("arp_filter"),
        "{error}"
    );
    for _ in 0..2 {
        call(&net.suite, "DEL", &check).ok();
        assert_eq!(state(net, &container), before);
    }
    call(suite, "DEL", interface).ok();
    let dump = net.host.store().read(|t| t.dump()).unwrap();
    assert!(dump.attachments.is_empty(), "{dump:?}");
}

#[test]
fn settings_are_put_back() {
    let net = Net::new();
    life(&net, &net.conf(&json!({})), &net.suite);
}

/// Behind the reference's bridge plugin as behind Weft's.
#[test]
fn settings_are_put_back_behind_another_suites_plugin() {
    let net = Net::new();
    let suite = Suite::reference();
    let conf = suite.network_conf("net", "10.1.0.0/24", net.host.dir());
    life(&net, &conf, &suite);
}

#[test]
fn the_administrator_says_what_is_allowed() {
    let net = Net::new();
    let (container, result) = net.add(&net.conf(&json!({})));
    let list = net.host.dir().join("allowlist");
    std::fs::write(&list, "^net\\.ipv4\\.conf\\.IFNAME\\.[a-z_]*$\n").unwrap();
    let call = |keys: &Value| {
        Call::new(&net.suite, "ADD", &tuning(keys, &result))
            .container(&container)
            .var("WEFT_SYSCTL_ALLOWLIST", list.to_str().unwrap())
            .on(&net.host)
    };
    let other = call(&json!({"sysctl": {"net.core.somaxconn": "500"}})).error();
    assert!(
        other["msg"].as_str().unwrap().contains("is not allowed by"),
        "{other}"
    );
    call(&json!({"sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}})).ok();
}

#[test]
fn wrong_settings_change_nothing() {
    let net = Net::new();
    let (container, result) = net.add(&net.conf(&json!({})));
    let before = state(&net, &container);
    for keys in [
        json!({"sysctl": {"kernel.hostname": "x"}}),
        json!({"sysctl": {"net.ipv4.conf.IFNAME.nosuch": "1"}}),
        json!({"sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "many"}}),
        json!({"sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}, "mtu": 10}),
        json!({"sysctl": {"net/../kernel/hostname": "x"}}),
        json!({"mac": "01:00:00:00:00:00"}),
        json!({"mtu": 1_000_000}),
        json!({"txQLen": -1}),
        json!({"promisc": "maybe"}),
    ] {
        let conf = tuning(&keys, &result);
        net.call("ADD", &conf, &container).error();
        assert_eq!(state(&net, &container), before, "{keys}");
    }
    net.call(
        "ADD",
        &tuning(&json!({"mtu": 1400}), &Value::Null),
        &container,
    )
    .error();
}

/// Arguments of one container are stronger than the network's configuration.
#[test]
fn arguments_replace_the_configuration() {
    let net = Net::new();
    let (container, result) = net.add(&net.conf(&json!({})));
    let keys = json!({"mtu": 1400, "sysctl": {"net.core.somaxconn": "500"},
        "args": {"cni": {"mtu": 1390, "sysctl": {"net.core.somaxconn": "501"}}}});
    net.call("ADD", &tuning(&keys, &result), &container).ok();
    assert!(container.sh("ip -o link show eth0").contains("mtu 1390"));
    assert_eq!(
        container.sh("cat /proc/sys/net/core/somaxconn").trim(),
        "501"
    );
}

/// What a container has made impossible to put back keeps nothing from being removed, and a second
/// call that fails leaves what the first has set.
#[test]
fn a_container_cannot_block_its_removal() {
    let net = Net::new();
    let conf = net.conf(&json!({}));
    let (container, result) = net.add(&conf);
    let before = HostState::of(&net.host);
    let keys = json!({"sysctl": {"net.ipv4.ip_unprivileged_port_start": "0"}, "mtu": 1400});
    let tuned = tuning(&keys, &result);
    net.call("ADD", &tuned, &container).ok();
    let wrong = tuning(
        &json!({"txQLen": 50, "sysctl": {"net.core.rmem_max": "1"}}),
        &result,
    );
    net.call("ADD", &wrong, &container).error();
    let link = container.sh("ip -o link show eth0");
    assert!(
        link.contains("mtu 1400") && link.contains("qlen 1000"),
        "{link}"
    );
    container.sh("echo 500 60999 >/proc/sys/net/ipv4/ip_local_port_range");
    net.call("DEL", &tuned, &container).ok();
    assert!(container.sh("ip -o link show eth0").contains("mtu 1500"));
    before.assert_same(&net.host, "DEL of tuning");
    net.call("DEL", &conf, &container).ok();
}
