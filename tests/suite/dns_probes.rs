//! The same questions to weftd, dnsmasq and aardvark-dns, side by side.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use weft_dns::kind::A;

use crate::daemon::{Daemon, ask, soon};
use crate::dns::{SERVER, Zone};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/suite/dns_probes.py");
const DOMAIN: &str = "net.weft.internal";
/// Debian's place for it.
const AARDVARK: &str = "/usr/lib/podman/aardvark-dns";

fn many() -> Vec<String> {
    (1..=60).map(|last| format!("10.9.0.{last}")).collect()
}

/// The names for dnsmasq, as a hosts file.
fn hosts(dir: &Path) -> String {
    let mut text = format!("10.1.0.2 c1.{DOMAIN}\nfd01::2 c1.{DOMAIN}\n");
    for address in many() {
        let _ = writeln!(text, "{address} many.{DOMAIN}");
    }
    let file = dir.join("hosts");
    std::fs::write(&file, text).unwrap();
    file.display().to_string()
}

/// The names for aardvark-dns: the address that it listens at, and containers.
fn aardvark_config(dir: &Path) -> String {
    let config = dir.join("aardvark");
    std::fs::create_dir(&config).unwrap();
    let text = format!(
        "127.0.0.1\nid1 10.1.0.2 fd01::2 c1\nid2 {}  many\n",
        many().join(",")
    );
    std::fs::write(config.join("net"), text).unwrap();
    config.display().to_string()
}

#[test]
fn weftd_fails_none_of_the_probes_that_others_fail() {
    let zone = Zone::new(&json!({"upstreams": ["192.0.2.77", "192.0.2.78"],
        "records": [{"name": "many", "a": many()}]}));
    let (suite, host) = (&zone.net.suite, &zone.net.host);
    host.sh("ip link set lo up");
    let _daemon = Daemon::start(suite, host);
    let (c1, _) = zone.add("c1", &Value::Null);
    soon(|| ask(&c1, SERVER, "c1", A).is_some_and(|one| one.code == 0));
    let dnsmasq = format!(
        "dnsmasq -u root -C /dev/null -p 5301 --listen-address=127.0.0.1 --bind-interfaces --no-resolv --no-hosts \
         --addn-hosts={} --local=/{DOMAIN}/ --bogus-priv --local-ttl=5 --server=192.0.2.77 --pid-file={}",
        hosts(host.dir()),
        host.dir().join("dnsmasq.pid").display()
    );
    host.sh(&dnsmasq);
    let config = aardvark_config(host.dir());
    host.sh(&format!(
        "{AARDVARK} --config {config} -p 5302 run >/dev/null 2>&1"
    ));
    let mut command = Command::new("/usr/bin/python3");
    command.arg(SCRIPT).args([
        &format!("weftd={SERVER}:53:{DOMAIN}"),
        &format!("dnsmasq=127.0.0.1:5301:{DOMAIN}"),
        "aardvark-dns=127.0.0.1:5302:dns.podman",
    ]);
    let output = host.run(|| command.output().unwrap());
    for file in [
        format!("{config}/aardvark.pid"),
        format!("{}/dnsmasq.pid", host.dir().display()),
    ] {
        host.sh(&format!("kill $(cat {file})"));
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let all: BTreeMap<String, BTreeMap<String, String>> =
        serde_json::from_slice(&output.stdout).unwrap();
    for (probe, result) in &all["weftd"] {
        println!(
            "{probe:<32} weftd: {result}; dnsmasq: {}; aardvark-dns: {}",
            all["dnsmasq"][probe], all["aardvark-dns"][probe]
        );
    }
    assert_eq!(all["weftd"].len(), 24);
    let failed: Vec<_> = all["weftd"]
        .iter()
        .filter(|(_, result)| *result != "ok")
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
    // What all agree on, so that the probes themselves are right: what containers ask for most.
    for probe in [
        "c1 A",
        "c1 AAAA",
        "PTR",
        "case of the question",
        "60 addresses by TCP",
    ] {
        assert_eq!(all["dnsmasq"][probe], "ok", "{probe}");
    }
    assert_eq!(all["aardvark-dns"]["c1 A"], "ok");
    let count = |server: &str| {
        all[server]
            .values()
            .filter(|result| *result != "ok")
            .count()
    };
    println!(
        "failed: dnsmasq {}, aardvark-dns {}",
        count("dnsmasq"),
        count("aardvark-dns")
    );
    assert!(
        count("dnsmasq") > 0 && count("aardvark-dns") > 0,
        "others have caught up: say so in the documents"
    );
}
