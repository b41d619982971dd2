//! Firewalls of others that drop what the host is sent, and containers' questions for names.

use serde_json::{Value, json};
use weft_dns::kind::A;
use weft_testkit::{Call, Container, HostState};

use crate::commands::{ok, weft};
use crate::daemon::{Daemon, ask, ask_by_stream, soon};
use crate::dns::{SERVER, Zone};

/// A name that every network has.
const HOST: &str = "host.docker.internal";
/// IPv6 needs neighbor discovery.
const DROP: &str = "iptables-nft -P INPUT DROP && ip6tables-nft -P INPUT DROP && \
                    ip6tables-nft -A INPUT -p ipv6-icmp -j ACCEPT";

fn is_answered(container: &Container, server: &str) -> bool {
    ask(container, server, HOST, A).is_some_and(|one| one.code == 0)
}

/// One after the other, as a runtime calls them.
fn check(zone: &Zone, container: &Container, result: &Value) -> weft_testkit::Outcome {
    let mut conf = zone.dns.clone();
    conf["prevResult"] = result.clone();
    conf["runtimeConfig"] = json!({"aliases": null});
    let call = Call::new(&zone.net.suite, "CHECK", &conf).container(container);
    call.on(&zone.net.host)
}

/// weft-dns lets its containers' questions through where others drop by default, and nothing else.
#[test]
fn questions_are_let_through() {
    let zone = Zone::new(&json!({}));
    let (suite, host) = (&zone.net.suite, &zone.net.host);
    // Without the daemon: what comes after an ADD is seen, and mended by a reload.
    let (first, result) = zone.add("first", &Value::Null);
    host.sh(DROP);
    assert_eq!(check(&zone, &first, &result).code(), 108, "CHECK sees it");
    let doctor = weft(suite, host, &["doctor"]);
    let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(
        !doctor.status.success() && text.contains("ask weftd (port 53)") && text.contains("INPUT"),
        "{text}"
    );
    ok(&weft(suite, host, &["firewall", "reload"]));
    check(&zone, &first, &result).ok();
    zone.del(&first, &result);
    let before = HostState::of(host);

    let _daemon = Daemon::start(suite, host);
    let (one, one_result) = zone.add("one", &Value::Null);
    let (two, two_result) = zone.add("two", &Value::Null);
    for server in [SERVER, "fd01::1"] {
        soon(|| is_answered(&one, server));
    }
    assert_eq!(ask_by_stream(&one, SERVER, HOST, A).code, 0);
    assert!(!one.reaches(SERVER), "nothing else is let through");
    check(&zone, &one, &one_result).ok();
    ok(&weft(suite, host, &["doctor"]));
    // iptables lists and keeps the rules as its own, once.
    let listed = host.sh("iptables-nft -S INPUT");
    assert_eq!(listed.matches("--dport 53").count(), 2, "{listed}");
    zone.del(&one, &one_result);
    assert!(is_answered(&two, SERVER));
    // Somebody sets the firewall anew: weftd puts the rules back.
    host.sh(&format!("iptables-nft -F && ip6tables-nft -F && {DROP}"));
    soon(|| is_answered(&two, SERVER));
    zone.del(&two, &two_result);
    before.assert_same(host, "the last one gone");
}

/// A store that is made anew knows of the rules, and they go with the last container.
#[test]
fn rules_outlive_no_store() {
    let zone = Zone::new(&json!({}));
    let (suite, host) = (&zone.net.suite, &zone.net.host);
    host.sh(DROP);
    let (first, result) = zone.add("first", &Value::Null);
    zone.del(&first, &result);
    let before = host.sh("iptables-nft -S && ip6tables-nft -S");
    let (one, _) = zone.add("one", &Value::Null);
    assert_ne!(host.sh("iptables-nft -S && ip6tables-nft -S"), before);
    for entry in std::fs::read_dir(host.state_dir()).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("store") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    let said = ok(&weft(suite, host, &["store", "rebuild"]));
    assert!(said.contains("names of containers"), "{said}");
    zone.net.del(&zone.conf, &one);
    assert_eq!(host.sh("iptables-nft -S && ip6tables-nft -S"), before);
}

/// What a rule drops on purpose stays dropped; the doctor says what to do.
#[test]
fn a_drop_on_purpose_stays() {
    let zone = Zone::new(&json!({}));
    let (suite, host) = (&zone.net.suite, &zone.net.host);
    let _daemon = Daemon::start(suite, host);
    host.sh("iptables-nft -A INPUT -p udp --dport 53 -j DROP");
    let before = host.sh("iptables-nft -S INPUT");
    let (container, result) = zone.add("one", &Value::Null);
    assert!(!is_answered(&container, SERVER));
    assert_eq!(host.sh("iptables-nft -S INPUT"), before);
    let doctor = weft(suite, host, &["doctor"]);
    let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(
        text.contains("iptables -I INPUT -i wtest0 -p udp --dport 53 -j ACCEPT"),
        "{text}"
    );
    zone.del(&container, &result);
}

/// A table of the administrator's own.
#[test]
fn a_table_with_a_default_drop_is_opened() {
    opens("ct state established,related accept");
}

/// As the most copied of all rulesets has it.
#[test]
fn a_map_of_states_is_understood() {
    opens("ct state vmap { established : accept, related : accept, invalid : drop }");
}

fn opens(states: &str) {
    let zone = Zone::new(&json!({}));
    let host = &zone.net.host;
    let _daemon = Daemon::start(&zone.net.suite, host);
    let rules = format!(
        "table inet mine {{ chain in {{ type filter hook input priority 0; policy drop; iif lo accept; {states}; \
         tcp dport 22 accept; icmpv6 type nd-neighbor-solicit accept; icmpv6 type nd-neighbor-advert accept; }}; }}"
    );
    let file = host.dir().join("rules");
    std::fs::write(&file, rules).unwrap();
    host.sh(&format!("nft -f {}", file.display()));
    let before = host.sh("nft list table inet mine");
    let (container, result) = zone.add("one", &Value::Null);
    for server in [SERVER, "fd01::1"] {
        soon(|| is_answered(&container, server));
    }
    assert!(!container.reaches(SERVER));
    zone.del(&container, &result);
    assert_eq!(host.sh("nft list table inet mine"), before);
}
