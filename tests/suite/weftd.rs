//! The daemon itself: replaced, killed, stopped, told something wrong; and what it puts back.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weft_dns::kind::A;
use weft_testkit::Container;

use crate::commands::{ok, weft};
use crate::daemon::{Daemon, ask, query, signal, soon};
use crate::dns::{SERVER, Zone};

fn is_found(container: &Container, name: &str) -> bool {
    ask(container, SERVER, name, A).is_some_and(|one| one.code == 0)
}

/// Asks without a pause until told to stop: how many questions, how many of them without an answer.
fn questions(container: &Container, name: &str, is_over: &AtomicBool) -> (u32, u32) {
    container.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        socket.connect((SERVER, 53)).unwrap();
        let mut message = query(name, A);
        let mut answer = [0; 512];
        let (mut asked, mut lost) = (0_u32, 0_u32);
        while !is_over.load(Ordering::Relaxed) {
            let number = u16::try_from(asked % 65_536).unwrap();
            message[..2].copy_from_slice(&number.to_be_bytes());
            asked += 1;
            let sent = socket.send(&message);
            let is_answered = sent.is_ok()
                && socket.recv(&mut answer).is_ok()
                && answer[..2] == message[..2]
                && answer[3] & 0xf == 0;
            lost += u32::from(!is_answered);
        }
        (asked, lost)
    })
}

#[test]
fn a_restart_loses_no_question() {
    let zone = Zone::new(&json!({}));
    let daemon = Daemon::supervised(&zone.net.suite, &zone.net.host);
    let (web, _result) = zone.add("web", &Value::Null);
    soon(|| is_found(&web, "web"));
    let is_over = AtomicBool::new(false);
    let (asked, lost) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| questions(&web, "web", &is_over));
        for _ in 0..5 {
            let before = daemon.root();
            daemon.restart();
            soon(|| daemon.root() != before && daemon.answering().len() == 1);
            std::thread::sleep(Duration::from_millis(200));
        }
        is_over.store(true, Ordering::Relaxed);
        asking.join().unwrap()
    });
    println!("{asked} questions during five restarts, {lost} lost");
    assert!(asked >= 1000, "only {asked}");
    assert_eq!(lost, 0, "of {asked}");
}

/// Both parts are killed, again and again: each time there is an answer within a second.
#[test]
fn what_is_killed_answers_again_within_a_second() {
    let zone = Zone::new(&json!({}));
    let daemon = Daemon::supervised(&zone.net.suite, &zone.net.host);
    let (web, _result) = zone.add("web", &Value::Null);
    soon(|| is_found(&web, "web"));
    let mut slowest = Duration::ZERO;
    for round in 0..6 {
        let answering = daemon.answering();
        let victim = match round % 2 {
            0 => answering[0],
            _ => daemon.root().unwrap(),
        };
        signal(victim, "KILL");
        let start = Instant::now();
        // The question waits in the socket, which lives on.
        assert!(is_found(&web, "web"), "round {round}");
        slowest = slowest.max(start.elapsed());
        soon(|| {
            let now = daemon.answering();
            now.len() == 1 && now != answering
        });
    }
    println!("the slowest answer after a kill: {slowest:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}

#[test]
fn a_part_that_hangs_is_replaced() {
    let zone = Zone::new(&json!({}));
    let daemon = Daemon::start(&zone.net.suite, &zone.net.host);
    let (web, _result) = zone.add("web", &Value::Null);
    soon(|| is_found(&web, "web"));
    let stopped = daemon.answering();
    signal(stopped[0], "STOP");
    let deadline = Instant::now() + Duration::from_secs(40);
    while daemon.answering() == stopped {
        assert!(Instant::now() < deadline, "still there");
        std::thread::sleep(Duration::from_millis(50));
    }
    soon(|| is_found(&web, "web"));
}

#[test]
fn a_wrong_file_keeps_what_is_in_force() {
    let zone = Zone::new(&json!({}));
    let (suite, host) = (&zone.net.suite, &zone.net.host);
    let file = host.dir().join("weft.toml");
    std::fs::write(&file, "[dns]\nttl = 7\n").unwrap();
    let daemon = Daemon::start(suite, host);
    let (web, _result) = zone.add("web", &Value::Null);
    soon(|| is_found(&web, "web"));
    let ttl = || ask(&web, SERVER, "web", A).unwrap().ttl;
    assert_eq!(ttl(), 7);
    std::fs::write(&file, "[dns]\nttl = 9\n").unwrap();
    signal(daemon.root().unwrap(), "HUP");
    soon(|| ttl() == 9);
    std::fs::write(&file, "[dns]\nttl = 99999\n").unwrap();
    let refused = weft(suite, host, &["dns", "reload"]);
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && text.contains("[dns] ttl: 99999"),
        "{text}"
    );
    assert!(
        text.contains("weft.toml") && text.contains("stays in force"),
        "{text}"
    );
    assert_eq!(ttl(), 9);
    // As it was before, it is right again.
    std::fs::write(&file, "[dns]\nttl = 9\n").unwrap();
    ok(&weft(suite, host, &["dns", "reload"]));
    std::fs::write(
        &file,
        "[dns]\nttl = 11\n[[dns.records]]\nname = \"db\"\na = [\"10.9.9.9\"]\n",
    )
    .unwrap();
    ok(&weft(suite, host, &["dns", "reload"]));
    assert_eq!(
        (ttl(), ask(&web, SERVER, "db", A).unwrap().data),
        (11, vec![10, 9, 9, 9])
    );
}

/// An update replaces the file, and the part that answers ends before the daemon is started anew.
#[test]
fn a_part_is_started_though_the_program_has_been_replaced() {
    let zone = Zone::new(&json!({}));
    let (suite, host) = (&zone.net.suite, &zone.net.host);
    let program = host.dir().join("weftd");
    // By another process: what a test beside this one starts would hold the file open for writing.
    let original = suite.bin_dir.join("weftd");
    host.sh(&format!("cp {} {}", original.display(), program.display()));
    let daemon = Daemon::of_file(&program, host);
    let (web, _result) = zone.add("web", &Value::Null);
    soon(|| is_found(&web, "web"));
    std::fs::remove_file(&program).unwrap();
    let before = daemon.answering();
    signal(before[0], "KILL");
    soon(|| !daemon.answering().is_empty() && daemon.answering() != before);
    soon(|| is_found(&web, "web"));
}

#[test]
fn there_is_one_daemon_for_a_store() {
    let zone = Zone::new(&json!({}));
    let (suite, host) = (&zone.net.suite, &zone.net.host);
    let daemon = Daemon::start(suite, host);
    soon(|| !daemon.answering().is_empty());
    let mut second = Daemon::start(suite, host);
    let status = second.wait();
    assert!(!status.success());
    assert_eq!(daemon.answering().len(), 1);
}

#[test]
fn its_state_is_seen_by_those_that_may() {
    let zone = Zone::new(&json!({}));
    let (suite, host) = (&zone.net.suite, &zone.net.host);
    let daemon = Daemon::start(suite, host);
    let (web, result) = zone.add("web", &Value::Null);
    soon(|| is_found(&web, "web"));
    assert!(Daemon::get(host, "/healthz").contains("200 OK"));
    assert!(Daemon::get(host, "/readyz").ends_with("ready\n"));
    ask(&web, SERVER, "nobody.net.weft.internal", A).unwrap();
    let metrics = Daemon::get(host, "/metrics");
    for line in [
        "weft_dns_responses_total{network=\"net\",rcode=\"NXDOMAIN\",source=\"local\"} 1",
        "weft_dns_requests_total{network=\"net\",proto=\"udp\",type=\"A\"}",
        "weftd_ready 1",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let (_, body) = metrics.split_once("\r\n\r\n").unwrap();
    crate::operations::promtool(body);
    // The part that answers has no rights.
    let status = format!("/proc/{}/status", daemon.answering()[0]);
    let status = std::fs::read_to_string(status).unwrap();
    for line in [
        "CapEff:\t0000000000000000",
        "CapPrm:\t0000000000000000",
        "NoNewPrivs:\t1",
    ] {
        assert!(status.contains(line), "{status}");
    }
    // Others than the superuser get nothing, even with the socket in their hands.
    for socket in ["weftd.sock", "dns.sock"] {
        let path = host.state_dir().join(socket);
        let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600, "{socket}");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666))
            .unwrap();
        std::fs::set_permissions(
            host.state_dir(),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        let said = crate::daemon::as_nobody(&path, "\"cache\"\n");
        assert_eq!(said, "", "{socket}");
    }
    std::fs::set_permissions(
        host.state_dir(),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .unwrap();
    zone.del(&web, &result);
}

#[test]
fn a_ruleset_that_others_change_is_put_back() {
    let mut zone = Zone::new(&json!({}));
    zone.conf["ipMasq"] = json!(true);
    zone.conf["isolation"] = json!("peer");
    let host = &zone.net.host;
    let (_web, _result) = zone.add("web", &Value::Null);
    let is_right = || {
        weft(&zone.net.suite, host, &["firewall", "diff"])
            .status
            .success()
    };
    assert!(is_right());
    let _daemon = Daemon::start(&zone.net.suite, host);
    for change in [
        "nft flush ruleset",
        "nft delete table bridge weft",
        "nft flush set inet weft masq4",
    ] {
        host.sh(change);
        soon(is_right);
        assert_eq!(
            host.sh("nft list tables | grep -c weft").trim(),
            "2",
            "{change}"
        );
    }
}

/// No systemd runs here; what can be told of the unit without it is told.
#[test]
fn the_unit_is_sound() {
    let unit = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../contrib/systemd/weftd.service"
    );
    let text = std::fs::read_to_string(unit).unwrap();
    let program = weft_testkit::Suite::weft().bin_dir.join("weftd");
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("weftd.service");
    std::fs::write(
        &copy,
        text.replace("/usr/sbin/weftd", program.to_str().unwrap()),
    )
    .unwrap();
    let analyze = |words: &[&str]| {
        let mut command = std::process::Command::new("systemd-analyze");
        let output = command.args(words).arg(&copy).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    let (is_right, said) = analyze(&["verify", "--man=no"]);
    let own = said
        .lines()
        .filter(|line| line.contains("weftd.service"))
        .count();
    assert!(is_right && own == 0, "{said}");
    // The root part enters namespaces and changes rules, or it would be less.
    let (is_tight, said) = analyze(&["security", "--offline=true", "--threshold=42"]);
    assert!(is_tight, "{said}");
}
