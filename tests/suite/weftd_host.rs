//! weftd and the host it is on: its command line, its rights, the host's resolver and routes, others at port 53.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use serde_json::{Value, json};
use weft_dns::kind::A;
use weft_testkit::{Container, Suite};

use crate::commands::{ok, weft};
use crate::daemon::{Daemon, ask, soon};
use crate::dns::{SERVER, Zone};
use crate::dns_places::Macvlan;

fn is_found(container: &Container, server: &str, name: &str) -> bool {
    ask(container, server, name, A).is_some_and(|one| one.code == 0)
}

#[test]
fn its_configuration_is_checked_without_running_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("weft.toml");
    let weftd = |words: &[&str]| -> Output {
        let mut command = Command::new(Suite::weft().bin_dir.join("weftd"));
        command.args(words).env("WEFT_CONFIG", &file);
        command.output().unwrap()
    };
    let text = |output: &Output| {
        let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
        String::from_utf8(both).unwrap()
    };
    let absent = weftd(&["config", "check"]);
    assert!(
        absent.status.success() && text(&absent).contains("is not there"),
        "{absent:?}"
    );
    // What it says of itself is understood, with every key in force.
    let default = weftd(&["config", "default"]);
    assert!(default.status.success());
    let keys = text(&default)
        .replace("# domain", "domain")
        .replace("# ttl", "ttl");
    std::fs::write(&file, keys).unwrap();
    let checked = weftd(&["config", "check"]);
    assert!(checked.status.success(), "{checked:?}");
    for (wrong, says) in [
        ("[dns]\nttl = \"soon\"\n", &["weft.toml", "ttl"][..]),
        ("[dns]\nttl = 5\ntll = 6\n", &["weft.toml", "tll", "3"]),
        (
            "[dns]\nupstreams = [\"nowhere\"]\n",
            &["weft.toml", "nowhere"],
        ),
        ("[dns\n", &["weft.toml", "1"]),
    ] {
        std::fs::write(&file, wrong).unwrap();
        let refused = weftd(&["config", "check"]);
        let said = text(&refused);
        assert!(!refused.status.success(), "{wrong}: {said}");
        assert!(
            says.iter().all(|word| said.contains(word)),
            "{wrong}: {said}"
        );
    }
}

/// With no more rights than its unit leaves it.
#[test]
fn the_rights_of_its_unit_are_enough() {
    let unit = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../contrib/systemd/weftd.service"
    );
    let unit = std::fs::read_to_string(unit).unwrap();
    let mut lines = unit.lines();
    let rights = lines
        .find_map(|line| line.strip_prefix("CapabilityBoundingSet="))
        .unwrap();
    let rights: Vec<String> = rights
        .split(' ')
        .map(|name| name.to_lowercase().replace("cap_", "+"))
        .collect();
    let net = Macvlan::new(&json!({}));
    let (suite, host) = (&net.lan.suite, &net.lan.host);
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--bounding-set=-all,{}", rights.join(",")))
        .args(["--inh-caps=-all", "--no-new-privs"]);
    let _daemon = Daemon::by(command, suite, host);
    // It opens sockets in namespaces, and puts the ruleset back.
    let ((web, _), (_db, _)) = (net.add("web"), net.add("db"));
    soon(|| is_found(&web, "127.0.0.11", "db"));
    let mut masqueraded = suite.network_conf("nat", "10.1.0.0/24", host.dir());
    masqueraded["ipMasq"] = json!(true);
    let container = host.container();
    let call = weft_testkit::Call::new(suite, "ADD", &masqueraded).container(&container);
    call.on(host).ok();
    host.sh("nft flush ruleset");
    soon(|| weft(suite, host, &["firewall", "diff"]).status.success());
}

/// systemd-resolved is told the way to Weft's names; here its command line is another program.
#[test]
fn the_hosts_resolver_is_told() {
    let zone = Zone::new(&json!({"domainName": "prox.example"}));
    let (suite, host) = (&zone.net.suite, &zone.net.host);
    std::fs::write(
        host.dir().join("weft.toml"),
        "[dns]\nhost_resolver = true\n",
    )
    .unwrap();
    let said = host.dir().join("said");
    let program = host.dir().join("programs/resolvectl");
    std::fs::create_dir(program.parent().unwrap()).unwrap();
    let script = format!("#!/bin/sh\necho \"$@\" >>{}\n", said.display());
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = Command::new("env");
    command.arg(format!(
        "PATH={}:/usr/bin:/bin",
        program.parent().unwrap().display()
    ));
    let _daemon = Daemon::by(command, suite, host);
    let (_web, _result) = zone.add("web", &Value::Null);
    let words = || std::fs::read_to_string(&said).unwrap_or_default();
    soon(|| words().contains("domain "));
    assert_eq!(
        words(),
        "dns wtest0 10.1.0.1 fd01::1\ndomain wtest0 ~weft.internal ~prox.example\n"
    );
}

/// The kernel removes routes with the address that they have as their source.
#[test]
fn the_hosts_way_to_containers_is_mended() {
    let net = Macvlan::new(&json!({"hostAccess": true}));
    let host = &net.lan.host;
    let (_web, _) = net.add("web");
    let _daemon = Daemon::start(&net.lan.suite, host);
    let routes = || host.sh("ip route show 192.168.60.100");
    let before = routes();
    assert!(before.contains("weft-eth1"), "{before}");
    host.sh("ip -4 addr flush dev eth1 && ip addr add 192.168.60.77/24 dev eth1");
    soon(|| routes().contains("src 192.168.60.77"));
    assert!(host.succeeds("ping -n -c 1 -W 2 192.168.60.100"));
}

/// Another server that has the port, and a daemon that is not there, are told of with what to do.
#[test]
fn what_keeps_names_away_is_told() {
    let zone = Zone::new(&json!({"domainName": "office.local"}));
    let (suite, host) = (&zone.net.suite, &zone.net.host);
    let doctor = || {
        let output = weft(suite, host, &["doctor"]);
        (
            output.status.success(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let (web, result) = zone.add("web", &Value::Null);
    let (is_well, said) = doctor();
    assert!(
        !is_well
            && said.contains("weftd does not run, and 1 interfaces")
            && said.contains("office.local"),
        "{said}"
    );
    let other = host.run(|| std::net::UdpSocket::bind((SERVER, 53)).unwrap());
    let daemon = Daemon::start(suite, host);
    soon(|| doctor().1.contains("port 53 of 10.1.0.1 cannot be had"));
    let status = weft(suite, host, &["status"]);
    let text = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(
        !status.status.success() && text.contains("port 53 of 10.1.0.1"),
        "{text}"
    );
    drop(other);
    drop(daemon);
    let _daemon = Daemon::start(suite, host);
    soon(|| is_found(&web, SERVER, "web"));
    zone.del(&web, &result);
    assert!(ok(&weft(suite, host, &["doctor"])).contains("nothing found"));
}
