//! Networks that share a host, a bridge, a subnet or a store: none takes what another needs.

use serde_json::{Value, json};
use weft_testkit::{Call, Host, HostState, system_calls};

use crate::bridge::Net;

fn on_bridge(net: &Net, name: &str, bridge: &str, subnet: &str, keys: &Value) -> Value {
    let mut conf = net.suite.network_conf(name, subnet, net.host.dir());
    conf["bridge"] = bridge.into();
    for (key, value) in keys.as_object().unwrap() {
        conf[key] = value.clone();
    }
    conf
}

#[track_caller]
fn checks(net: &Net, conf: &Value, result: &Value, container: &weft_testkit::Container) {
    let mut conf = conf.clone();
    conf["prevResult"] = result.clone();
    net.call("CHECK", &conf, container).ok();
}

#[test]
fn cleanup_spares_what_networks_without_it_need() {
    let net = Net::new();
    let range = |start: &str, end: &str| json!({"type": "weft-ipam", "subnet": "10.1.0.0/24", "rangeStart": start, "rangeEnd": end});
    let a = net.conf(&json!({"name": "a", "cleanup": true, "ipam": range("10.1.0.2", "10.1.0.9")}));
    let b = net.conf(&json!({"name": "b", "ipam": range("10.1.0.20", "10.1.0.29")}));
    let ((first, _), (second, result)) = (net.add(&a), net.add(&b));
    net.del(&a, &first);
    assert!(
        second.reaches("10.1.0.1"),
        "the gateway went with the other network"
    );
    checks(&net, &b, &result, &second);
}

#[test]
fn the_administrators_address_and_bridge_stay() {
    let net = Net::new();
    net.host.sh("ip link add wtest0 type bridge && ip addr add 10.1.0.1/24 dev wtest0 && ip link set wtest0 up");
    let conf = net.conf(&json!({"cleanup": true}));
    let (container, _) = net.add(&conf);
    net.del(&conf, &container);
    assert!(net.host.sh("ip addr show wtest0").contains("10.1.0.1/24"));
}

/// A DEL that is killed while it removes the bridge leaves no mark by which a later DEL would remove
/// the bridge from under somebody else.
#[test]
fn a_killed_clean_up_does_not_take_the_bridge_later() {
    let net = Net::new();
    let conf = net.conf(&json!({"cleanup": true, "ipMasq": true}));
    let container = net.host.container();
    let del = Call::new(&net.suite, "DEL", &conf).container(&container);
    net.call("ADD", &conf, &container).ok();
    let sends = system_calls(&del, &net.host)
        .1
        .into_iter()
        .filter(|c| c.name == "sendto");
    for at in sends {
        net.call("ADD", &conf, &container).ok();
        weft_testkit::kill_at(&del, &net.host, &at);
        let (living, result) = net.add(&conf);
        let (passing, _) = net.add(&conf);
        net.del(&conf, &passing);
        assert!(
            living.reaches("10.1.0.1"),
            "killed at {at:?}: the bridge is gone"
        );
        checks(&net, &conf, &result, &living);
        net.del(&conf, &living);
        net.del(&conf, &container);
    }
}

/// A bridge that is closed in another way now, while the last DEL of those before was killed: what it has
/// left has the same key in the kernel.
#[test]
fn what_an_earlier_mode_has_left_does_not_open_a_bridge() {
    let net = Net::new();
    let mode = |mode: &str| net.conf(&json!({"isolation": mode}));
    let (peer, full) = (mode("peer"), mode("full"));
    let container = net.host.container();
    let del = Call::new(&net.suite, "DEL", &peer).container(&container);
    net.call("ADD", &peer, &container).ok();
    let locks = system_calls(&del, &net.host)
        .1
        .into_iter()
        .filter(|c| c.name == "flock");
    let mut changed = 0;
    for at in locks {
        net.call("ADD", &peer, &container).ok();
        weft_testkit::kill_at(&del, &net.host, &at);
        let next = net.host.container();
        let outcome = net.call("ADD", &full, &next);
        // As long as the record is there the bridge is closed as it was.
        if outcome.is_success() {
            changed += 1;
            checks(&net, &full, &outcome.ok(), &next);
            del.on(&net.host).ok();
            checks(&net, &full, &outcome.ok(), &next);
        }
        for (conf, one) in [(&full, &next), (&peer, &container)] {
            net.del(conf, one);
        }
        let idle = net.host.store().read(|t| t.idle_objects()).unwrap();
        assert!(idle.is_empty(), "killed at {at:?}: {idle:?}");
    }
    assert!(changed > 0, "never killed between record and elements");
}

#[test]
fn overlapping_subnets_do_not_spoil_each_other() {
    let net = Net::new();
    let masq = json!({"ipMasq": true});
    let wide = on_bridge(&net, "wide", "wtest1", "10.8.0.0/16", &masq);
    let narrow = on_bridge(&net, "narrow", "wtest2", "10.8.9.0/24", &masq);
    let (w, result) = net.add(&wide);
    let (n, _) = net.add(&narrow);
    net.del(&narrow, &n);
    checks(&net, &wide, &result, &w);
    let (_n, _) = net.add(&narrow);
    net.host.sh("nft flush ruleset");
    let other = on_bridge(&net, "other", "wtest3", "10.9.0.0/24", &masq);
    let (o, result) = net.add(&other);
    checks(&net, &other, &result, &o);
}

#[test]
fn one_address_is_not_masqueraded_for_two() {
    let net = Net::new();
    let masq = json!({"ipMasq": true});
    let a = on_bridge(&net, "a", "wtest1", "10.7.0.0/24", &masq);
    let b = on_bridge(&net, "b", "wtest2", "10.7.0.0/24", &masq);
    let (container, result) = net.add(&a);
    let before = HostState::of(&net.host);
    let error = net.call("ADD", &b, &net.host.container()).error();
    assert!(
        error["msg"].as_str().unwrap().contains(container.id()),
        "{error}"
    );
    before.assert_same(&net.host, "an ADD that wanted another's address");
    checks(&net, &a, &result, &container);
}

#[test]
fn half_of_the_tables_can_be_put_back() {
    let net = Net::new();
    let conf = net.conf(&json!({"ipMasq": true, "macspoofchk": true}));
    for table in ["bridge weft", "inet weft"] {
        let (first, first_result) = net.add(&conf);
        net.host.sh(&format!("nft delete table {table}"));
        let (second, second_result) = net.add(&conf);
        checks(&net, &conf, &first_result, &first);
        checks(&net, &conf, &second_result, &second);
        net.del(&conf, &first);
        net.del(&conf, &second);
    }
}

#[test]
fn a_failed_add_takes_its_own_gateway_address_back() {
    let net = Net::new();
    let (_c, _) = net.add(&net.conf(&json!({})));
    let before = HostState::of(&net.host);
    let mut broken = on_bridge(&net, "d", "wtest0", "10.5.0.0/24", &json!({}));
    broken["ipam"]["routes"] = json!([{"dst": "10.9.0.0/16", "gw": "172.31.0.1"}]);
    net.call("ADD", &broken, &net.host.container()).error();
    before.assert_same(&net.host, "a failed ADD on a bridge with others");
}

#[test]
fn a_slow_delegate_keeps_nobody_waiting() {
    use std::os::unix::fs::PermissionsExt;
    let net = Net::new();
    let file = net.host.dir().join("slow");
    std::fs::write(
        &file,
        "#!/bin/sh\n[ $CNI_COMMAND = ADD ] && sleep 8; exit 1\n",
    )
    .unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    let slow = net.conf(&json!({"name": "slow", "ipam": {"type": "slow"}}));
    let path = format!(
        "{}:{}",
        net.suite.bin_dir.display(),
        net.host.dir().display()
    );
    let conf = net.conf(&json!({"cleanup": true}));
    let (container, _) = net.add(&conf);
    std::thread::scope(|scope| {
        let waiting = net.host.container();
        let call = Call::new(&net.suite, "ADD", &slow)
            .container(&waiting)
            .var("CNI_PATH", &path);
        let host: &Host = &net.host;
        let adding = scope.spawn(move || call.on(host));
        std::thread::sleep(std::time::Duration::from_millis(500));
        let del = Call::new(&net.suite, "DEL", &conf).container(&container);
        del.var("WEFT_LOCK_TIMEOUT", "1").on(&net.host).ok();
        assert!(!adding.is_finished(), "the delegate was not slow");
        adding.join().unwrap().error();
    });
}

#[test]
fn a_lease_of_the_adds_delegate_is_ended_whatever_the_configuration() {
    let net = Net::new();
    let path = format!("{}:/usr/lib/cni", net.suite.bin_dir.display());
    let dir = net.host.dir().join("local");
    let mut conf = net.conf(&json!({}));
    conf["ipam"]["type"] = "host-local".into();
    conf["ipam"]["dataDir"] = dir.display().to_string().into();
    let container = net.host.container();
    let call = |verb: &str, conf: &Value| {
        Call::new(&net.suite, verb, conf)
            .container(&container)
            .var("CNI_PATH", &path)
            .on(&net.host)
    };
    call("ADD", &conf).ok();
    let mut changed = conf.clone();
    changed["ipam"]["type"] = "weft-ipam".into();
    call("DEL", &changed).ok();
    assert!(!dir.join("net/10.1.0.2").exists(), "the lease is kept");
}
