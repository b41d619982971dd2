//! What bad input gets: one document, everything that is wrong at once, nothing changed.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use weft_testkit::{Call, HostState, Suite};

use crate::bridge::Net;

#[test]
fn all_problems_are_reported_at_once() {
    let net = Net::new();
    let before = HostState::of(&net.host);
    let mut conf = net.conf(&json!({
        "mtu": "big", "vlan": 9999, "isGateway": "yes", "hairpinMode": true, "promiscMode": true,
        "vlanTrunk": [{"minID": 9, "maxID": 3}, {}], "mac": "01:00:00:00:00:00",
        "ipMasq": {"exclude": ["nowhere"]}, "uplink": "a/b"
    }));
    conf["ipam"]["ranges"] = json!([[{"subnet": "10.1.0.0/33"}]]);
    let error = net.call("ADD", &conf, &net.host.container()).error();
    assert_eq!(error["code"], 7);
    let msg = error["msg"].as_str().unwrap();
    for part in [
        "mtu: \"big\"",
        "vlan: 9999",
        "isGateway: \"yes\"",
        "hairpinMode and promiscMode",
        "vlanTrunk[0].minID: 9",
        "vlanTrunk[1].id",
        "mac: \"01:00:00:00:00:00\"",
        "ipMasq.exclude[0]: \"nowhere\"",
        "uplink: \"a/b\"",
        "ipam.ranges[0][0].subnet: \"10.1.0.0/33\"",
    ] {
        assert!(msg.contains(part), "{part} is not in {msg}");
    }
    before.assert_same(&net.host, "a wrong configuration");
}

/// A copy or a link under another name, as somebody makes who installs them instead of the reference's.
#[test]
fn a_name_of_no_plugin_is_answered_with_those_there_are() {
    let programs = Suite::weft();
    let mut called = Command::new(programs.bin_dir.join("weft"))
        .arg0("/opt/cni/bin/calico")
        .env("CNI_COMMAND", "ADD")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = called.stdin.take().unwrap();
    stdin.write_all(br#"{"cniVersion": "0.4.0"}"#).unwrap();
    drop(stdin);
    let output = called.wait_with_output().unwrap();
    assert!(!output.status.success());
    let error: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&error["code"], &error["cniVersion"]),
        (&json!(4), &json!("0.4.0"))
    );
    let msg = error["msg"].as_str().unwrap();
    assert!(msg.starts_with("calico: "), "{error}");
    let (_, names) = error["details"].as_str().unwrap().split_once(": ").unwrap();
    let told: BTreeSet<String> = names.split(", ").map(str::to_owned).collect();
    let installed: BTreeSet<String> = std::fs::read_dir(&programs.bin_dir)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "weft" && name != "weftd")
        .collect();
    assert!(told.is_superset(&installed), "{told:?}");
    assert!(
        told.contains("host-local"),
        "the reference plugins' names too: {told:?}"
    );
}

#[test]
fn strict_configurations_refuse_unknown_keys() {
    let net = Net::new();
    let conf = net.conf(&json!({"strict": true, "isGatway": true}));
    let error = net.call("ADD", &conf, &net.host.container()).error();
    assert_eq!(error["code"], 2);
    assert!(
        error["msg"].as_str().unwrap().contains("isGatway"),
        "{error}"
    );
    assert!(
        error["msg"]
            .as_str()
            .unwrap()
            .contains("did you mean \"isGateway\""),
        "{error}"
    );
    let lenient = net.call(
        "ADD",
        &net.conf(&json!({"isGatway": true})),
        &net.host.container(),
    );
    lenient.ok();
    assert!(lenient.stderr.contains("isGatway"), "{}", lenient.stderr);
}

#[test]
fn del_takes_any_configuration() {
    let net = Net::new();
    let (container, _) = net.add(&net.conf(&json!({})));
    let broken = json!({"cniVersion": "1.0.0", "name": "net", "type": "weft-bridge", "mtu": "big",
        "ipam": {"type": "weft-ipam", "ranges": "none"}, "prevResult": {"ips": "none"}});
    net.del(&broken, &container);
    assert!(!container.succeeds("ip link show eth0"));
}

#[test]
fn odd_documents_are_refused_without_a_panic() {
    let net = Net::new();
    let container = net.host.container();
    let values = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1e300),
        json!(""),
        json!("\u{0}x"),
        json!([]),
        json!([[]]),
        json!({}),
        json!({"a": {}}),
        json!([{"subnet": {}}]),
    ];
    let keys = [
        "bridge",
        "mtu",
        "ipam",
        "dns",
        "vlan",
        "vlanTrunk",
        "ipMasq",
        "args",
        "runtimeConfig",
        "prevResult",
        "capabilities",
        "cniVersion",
        "mac",
        "uplink",
        "groupFwdMask",
        "name",
    ];
    for key in keys {
        for value in &values {
            let mut conf = net.conf(&json!({}));
            conf[key] = value.clone();
            for verb in ["ADD", "DEL", "CHECK"] {
                let outcome = net.call(verb, &conf, &container);
                assert!(
                    outcome.status.is_some(),
                    "{verb} {key}={value}: ended by a signal"
                );
                if !outcome.is_success() {
                    assert_ne!(
                        outcome.code(),
                        199,
                        "{verb} {key}={value}: {}",
                        outcome.stdout
                    );
                }
            }
        }
    }
}

#[test]
fn deep_and_long_documents_are_refused() {
    let net = Net::new();
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let text = format!(r#"{{"cniVersion":"1.0.0","name":"n","type":"weft-bridge","ipam":{deep}}}"#);
    let call = Call::new(&net.suite, "ADD", &net.conf(&json!({}))).container(&net.host.container());
    assert_eq!(call.input(text.as_bytes()).on(&net.host).code(), 6);
    let mut long: Value = net.conf(&json!({}));
    long["name"] = "n".repeat(5000).into();
    let outcome = net.call("ADD", &long, &net.host.container());
    assert!(outcome.status.is_some(), "{}", outcome.stderr);
}

/// What would take long is refused with the limit, before anything is locked or changed.
#[test]
fn too_much_is_refused_with_the_limit() {
    let net = Net::new();
    let conf = net.conf(&json!({}));
    let (container, result) = net.add(&conf);
    let before = HostState::of(&net.host);
    let chained = |kind: &str, keys: Value| {
        let mut conf = json!({"cniVersion": "1.0.0", "name": conf["name"], "type": kind, "prevResult": result});
        for (key, value) in keys.as_object().unwrap() {
            conf[key] = value.clone();
        }
        conf
    };
    let address = |i: usize| format!("10.{}.{}.{}", i >> 16, i >> 8 & 255, i & 255);
    let mut many = conf.clone();
    for i in 0..2_000 {
        many[format!("key{i}")] = 1.into();
    }
    let with_ipam = |ipam: Value| {
        let mut conf = conf.clone();
        conf["ipam"] = ipam;
        conf
    };
    let ranges: Vec<Value> = (0..60_000)
        .map(|i| json!({"subnet": format!("{}/28", address(i * 16))}))
        .collect();
    let excluded: Vec<String> = (0..100_000).map(address).collect();
    let mut addresses = result.clone();
    addresses["ips"] = (0..65_536)
        .map(|i| json!({"address": format!("{}/8", address(i)), "interface": 2}))
        .collect();
    for (conf, words) in [
        (many, "1024 are the most"),
        (
            with_ipam(json!({"type": "weft-ipam", "ranges": [ranges]})),
            "512 are the most",
        ),
        (
            with_ipam(json!({"type": "weft-ipam", "subnet": "10.0.0.0/8", "exclude": excluded})),
            "4096 are the most",
        ),
        (
            chained(
                "weft-portmap",
                json!({"runtimeConfig": {"portMappings": [{"hostPort": 1, "containerPort": 1, "range": 65_535}]}}),
            ),
            "more than 16384 ports",
        ),
        (
            chained("weft-firewall", json!({"prevResult": addresses})),
            "1024 are the most",
        ),
        (
            chained("weft-tuning", json!({"filler": "x".repeat(9 << 20)})),
            "8 MiB at most",
        ),
    ] {
        let begin = std::time::Instant::now();
        let error = net.call("ADD", &conf, &container).error();
        let text = error["msg"].as_str().unwrap();
        assert!(
            text.contains(words),
            "{words}: {}",
            &text[..text.len().min(200)]
        );
        assert!(
            begin.elapsed().as_secs() < 5,
            "{words}: {:?}",
            begin.elapsed()
        );
    }
    before.assert_same(&net.host, "refused calls");
}

/// Of hundreds of mistakes some are told, and how many there are.
#[test]
fn a_message_has_an_end() {
    let net = Net::new();
    let mut wrong = net.conf(&json!({"strict": true}));
    for i in 0..900 {
        wrong[format!("key{i}")] = 1.into();
    }
    let error = net.call("ADD", &wrong, &net.host.container()).error();
    let text = error["msg"].as_str().unwrap();
    assert!(
        text.contains("and 850 more") && text.len() < 5_000,
        "{text}"
    );
}
