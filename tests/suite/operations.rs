//! The operations file, and what is made of it: `weft ops`, `weft metrics`, `weft status`.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use weft_testkit::{AtEnd, Call};

use crate::bridge::Net;
use crate::commands::{ok, weft};
use crate::networks::Vnet;

fn operations(net: &Net, arguments: &[&str]) -> Vec<Value> {
    let all = [&["ops"], arguments, &["--json", "-n", "100000"]].concat();
    let text = ok(&weft(&net.suite, &net.host, &all));
    serde_json::from_str(&text).unwrap()
}

/// The value of a sample, by the beginning of its line.
fn sample(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find(|line| line.starts_with(name));
    let line = line.unwrap_or_else(|| panic!("no {name} in {metrics}"));
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

#[test]
fn calls_are_counted_with_their_parts() {
    let net = Net::new();
    let conf = net.conf(&json!({"isolation": "full", "ipMasq": true}));
    let (container, result) = net.add(&conf);
    let mut check = conf.clone();
    check["prevResult"] = result;
    net.call("CHECK", &check, &container).ok();
    assert!(!net.call("ADD", &conf, &container).is_success());
    net.del(&conf, &container);
    let mut status = conf.clone();
    status["cniVersion"] = "1.1.0".into();
    Call::new(&net.suite, "STATUS", &status).on(&net.host);
    Call::new(&net.suite, "GC", &status).on(&net.host).ok();

    let all = operations(&net, &[]);
    let verbs: Vec<&str> = all
        .iter()
        .map(|one| one["verb"].as_str().unwrap())
        .collect();
    assert_eq!(verbs, ["ADD", "CHECK", "ADD", "DEL", "GC"]);
    let add = &all[0];
    assert_eq!(
        (&add["plugin"], &add["network"]),
        (&json!("weft-bridge"), &json!("net"))
    );
    assert_eq!(
        (&add["container"], &add["ifname"]),
        (&json!(container.id()), &json!("eth0"))
    );
    let phases = add["phases"].as_array().unwrap();
    let names: Vec<&str> = phases.iter().map(|one| one[0].as_str().unwrap()).collect();
    // Rules stand before the link is up.
    assert_eq!(
        names,
        ["address", "firewall+nat", "bridge", "dns", "metrics"]
    );
    let whole = add["us"].as_u64().unwrap();
    let parts: u64 = phases.iter().map(|one| one[1].as_u64().unwrap()).sum();
    assert!(parts > 0 && parts <= whole + 100_000, "{add}");
    assert_eq!(all[2]["code"], 106, "{}", all[2]);
    let failed = operations(&net, &["errors"]);
    assert_eq!(failed.len(), 1);
    assert!(failed[0]["error"].as_str().unwrap().contains("eth0"));
    let slowest = operations(&net, &["slowest"]);
    assert!(slowest[0]["us"].as_u64() >= slowest[1]["us"].as_u64());
    assert_eq!(operations(&net, &["--verb", "del"]).len(), 1);
    let table = ok(&weft(&net.suite, &net.host, &["ops"]));
    assert!(table.contains("firewall+nat "), "{table}");
}

/// Whatever is in the file's place, calls work.
#[test]
fn the_file_is_never_in_the_way() {
    let net = Net::new();
    let conf = net.conf(&json!({}));
    let file = net.host.state_dir().join("operations.jsonl");
    std::fs::create_dir_all(&file).unwrap();
    let (container, _) = net.add(&conf);
    net.del(&conf, &container);
    std::fs::remove_dir(&file).unwrap();
    let elsewhere = net.host.dir().join("elsewhere");
    std::fs::write(&elsewhere, "").unwrap();
    std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
    let (container, _) = net.add(&conf);
    net.del(&conf, &container);
    assert_eq!(
        std::fs::read(&elsewhere).unwrap(),
        b"",
        "a link is not followed"
    );
    std::fs::remove_file(&file).unwrap();
    let text = ok(&weft(&net.suite, &net.host, &["ops"]));
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn what_is_switched_off_writes_nothing() {
    let net = Net::new();
    let conf = net.conf(&json!({}));
    let config = net.host.dir().join("weft.toml");
    std::fs::write(&config, "[vnet]\nmetrics_enabled = false\n").unwrap();
    let container = net.host.container();
    for verb in ["ADD", "DEL"] {
        let call = Call::new(&net.suite, verb, &conf).container(&container);
        let call = call.var("WEFT_CONFIG", config.to_str().unwrap());
        call.on(&net.host).ok();
    }
    assert!(!net.host.state_dir().join("operations.jsonl").exists());
    let metrics = Call::weft(&net.suite, &["metrics"])
        .var("WEFT_CONFIG", config.to_str().unwrap())
        .on(&net.host);
    assert!(!metrics.stdout.contains("operations_total"), "{metrics:?}");
}

/// Counters equal the calls made, though the file was renamed meanwhile, and never fall while others read them.
#[test]
fn counters_do_not_fall_in_a_storm() {
    const EACH: usize = 12;
    const AT_ONCE: usize = 6;
    let net = Net::new();
    let conf = net.conf(&json!({}));
    // A little more, and the file is renamed: by one of the calls that follow.
    let file = net.host.state_dir().join("operations.jsonl");
    std::fs::create_dir_all(net.host.state_dir()).unwrap();
    let old = weft_api::operations::Operation {
        verb: "ADD".to_owned(),
        plugin: "weft-bridge".to_owned(),
        error: "x".repeat(900),
        ..Default::default()
    };
    let mut planted = 0;
    while std::fs::metadata(&file).map_or(0, |meta| meta.len())
        < weft_api::operations::ROTATE_AT - 2000
    {
        weft_api::operations::append(&net.host.state_dir(), &old).unwrap();
        planted += 1;
    }
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut before = 0.0;
            while !is_over.load(Ordering::Relaxed) {
                let text = ok(&weft(&net.suite, &net.host, &["metrics"]));
                let now = sample(&text, "vnet_operations_total{operation=\"add\"}");
                assert!(now >= before, "{now} after {before}");
                before = now;
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let storm: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        let (container, _) = net.add(&conf);
                        net.del(&conf, &container);
                    }
                })
            })
            .collect();
        let end = AtEnd(&is_over);
        storm.into_iter().for_each(|one| one.join().unwrap());
        drop(end);
        reader.join().unwrap();
    });
    let made = f64::from(u16::try_from(EACH * AT_ONCE).unwrap());
    let text = ok(&weft(&net.suite, &net.host, &["metrics"]));
    assert_eq!(
        sample(&text, "vnet_operations_total{operation=\"add\"}"),
        made + f64::from(planted)
    );
    assert_eq!(
        sample(&text, "vnet_operations_total{operation=\"del\"}"),
        made
    );
    assert_eq!(
        sample(&text, "vnet_operation_errors_total{operation=\"del\"}"),
        0.0
    );
    assert!(
        net.host.state_dir().join("operations.totals").exists(),
        "the file was not renamed"
    );
}

/// Refuses a text of metrics that promtool has anything to say about.
pub(crate) fn promtool(text: &str) {
    let promtool =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/promtool/usr/bin/promtool");
    let mut check = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool: make deps unpacks it");
    check
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = check.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn promtool_is_content_with_the_metrics() {
    let vnet = Vnet::new();
    vnet.ok(&["network", "create", "demo"]);
    vnet.ok(&["network", "create", "--isolation", "none", "--ipv6", "open"]);
    let (a, _b) = (vnet.connect("demo", "a"), vnet.connect("demo", "b"));
    let _c = vnet.connect("open", "c\"\\ä");
    vnet.error(&["network", "create", "demo"]);
    assert!(a.cannot_reach("172.20.0.3"));
    let text = vnet.ok(&["metrics", "--endpoints"]);
    assert_eq!(sample(&text, "vnet_networks_total"), 2.0);
    assert_eq!(sample(&text, "vnet_endpoints_total"), 3.0);
    assert_eq!(
        sample(&text, "vnet_operations_total{operation=\"create\"}"),
        3.0
    );
    assert_eq!(
        sample(&text, "vnet_operation_errors_total{operation=\"create\"}"),
        1.0
    );
    assert!(
        sample(
            &text,
            "vnet_operation_duration_seconds_count{operation=\"add\"}"
        ) >= 3.0
    );
    let refused = "weft_firewall_refused_packets_total{network=\"demo\"}";
    assert!(sample(&text, refused) >= 1.0);
    assert_eq!(
        sample(
            &text,
            "weft_ipam_addresses{network=\"demo\",family=\"v4\",state=\"used\"}"
        ),
        2.0
    );
    assert!(
        sample(
            &text,
            "weft_endpoint_transmit_packets_total{network=\"demo\""
        ) >= 1.0
    );

    promtool(&text);
    // node_exporter's collector takes files that end in .prom, and reads no half ones.
    let file = vnet.net.host.dir().join("weft.prom");
    vnet.ok(&["metrics", "--textfile", file.to_str().unwrap()]);
    let written = std::fs::read_to_string(&file).unwrap();
    assert_eq!(sample(&written, "vnet_networks_total"), 2.0);
    let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o644);
}

#[test]
fn status_says_what_needs_attention() {
    let vnet = Vnet::new();
    vnet.ok(&["network", "create", "--subnet", "10.1.0.0/30", "demo"]);
    assert_eq!(vnet.ok(&["status", "--brief"]).trim(), "ok");
    let _only = vnet.connect("demo", "a");
    let output = vnet.run(&["status", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    let parts = status["parts"].as_array().unwrap();
    let unwell: Vec<&Value> = parts
        .iter()
        .filter(|part| part["is_well"] == false)
        .collect();
    assert_eq!(unwell.len(), 1, "{status}");
    assert_eq!(unwell[0]["text"], "fullest pool: demo v4 with 1 of 1");
    let leases = vnet.json(&["lease", "ls"]);
    assert_eq!(
        (&leases[0]["address"], &leases[0]["name"]),
        (&json!("10.1.0.2"), &json!("a"))
    );
}
