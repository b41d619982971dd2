//! Names: what a question costs beside other name servers, what a change costs, and an ADD with the daemon.

use std::fmt::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use weft_api::daemon::{Poked, poke};
use weft_cni::AttachmentId;
use weft_store::{Addition, AttachmentRecord, NamesRecord, StoreError};
use weft_testkit::{Host, Suite};

use super::measure::{Side, median};
use super::report::Report;

const SERVER: &str = "10.100.0.1";
/// A container with this address asks.
const CLIENT: &str = "10.100.255.250";
const DOMAIN: &str = "bench.weft.internal";

/// A server, ended with the value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(host: &Host, command: &mut Command) -> Running {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Running(host.run(|| command.spawn().unwrap()))
}

fn weftd(suite: &Suite, host: &Host) -> Running {
    let mut command = Command::new("taskset");
    command
        .args(["-c", "0"])
        .arg(suite.bin_dir.join("weftd"))
        .arg("run")
        .env("WEFT_STATE_DIR", host.state_dir())
        .env("WEFT_DATA_DIR", host.data_dir())
        .env("WEFT_POLICY_DIR", host.policy_dir())
        .env("WEFT_PUBLIC_DIR", host.dir().join("public"))
        .env("WEFT_CONFIG", host.dir().join("weft.toml"));
    let running = start(host, &mut command);
    for _ in 0..500 {
        if poke(&host.state_dir(), Duration::from_secs(1)) == Poked::Known {
            return running;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("weftd does not answer");
}

fn record(number: usize, name: &str) -> AttachmentRecord {
    let address = match number {
        0 => CLIENT.to_owned(),
        _ => format!("10.100.{}.{}", number / 250, number % 250 + 2),
    };
    let id = AttachmentId {
        network: "bench".try_into().unwrap(),
        container_id: format!("{number:012x}{:052}", 0)
            .as_str()
            .try_into()
            .unwrap(),
        ifname: "eth0".try_into().unwrap(),
    };
    let mut record = AttachmentRecord::new(id, "weft-bridge");
    record.set_addition(Addition::Names(NamesRecord {
        names: vec![name.to_owned(), format!("alias-{number}")],
        servers: vec![SERVER.parse().unwrap()],
        addresses: vec![address.parse().unwrap()],
        ..NamesRecord::default()
    }));
    record
}

fn write(host: &Host, records: &[AttachmentRecord]) {
    for part in records.chunks(500) {
        let written = host.store().write(|transaction| {
            part.iter()
                .try_for_each(|one| transaction.replace_attachment(one))?;
            Ok::<_, StoreError>(())
        });
        written.unwrap();
    }
}

fn names(host: &Host, count: usize) {
    let all: Vec<_> = (0..count)
        .map(|number| record(number, &format!("web-{number}")))
        .collect();
    write(host, &all);
    host.sh(&format!(
        "ip link set lo up; ip addr add {SERVER}/16 dev lo; ip addr add {CLIENT}/16 dev lo"
    ));
}

/// User and system time of processes, in microseconds.
fn cpu(processes: &[u32]) -> f64 {
    // In ticks of a hundredth of a second; schedstat has nanoseconds.
    let of = |process: &u32| {
        let text = std::fs::read_to_string(format!("/proc/{process}/schedstat")).unwrap();
        text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1000.0
    };
    processes.iter().map(of).sum()
}

fn children(process: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap();
    text.split_whitespace()
        .map(|one| one.parse().unwrap())
        .collect()
}

/// Resident memory, in MB.
fn resident(process: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim()
        .trim_end_matches(" kB")
        .trim()
        .parse::<f64>()
        .unwrap()
        / 1000.0
}

/// Asks one server for some seconds: microseconds of its processor time for each answer.
fn ask(host: &Host, process: u32, (address, port): (&str, u16), questions: &Path) -> f64 {
    let seconds = "3";
    let before = cpu(&[process]);
    let output = host.run(|| {
        Command::new("taskset")
            .args(["-c", "1", "dnsperf", "-s", address, "-p", &port.to_string()])
            .args(["-a", if port == 53 { CLIENT } else { "127.0.0.1" }])
            .args(["-l", seconds, "-T", "1", "-c", "8", "-q", "200", "-d"])
            .arg(questions)
            .output()
            .expect("dnsperf")
    });
    let used = cpu(&[process]) - before;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text
        .lines()
        .find(|line| line.contains("Queries completed:"));
    let count = line.and_then(|line| line.split_whitespace().nth(2)?.parse::<f64>().ok());
    let codes = text
        .lines()
        .find(|line| line.contains("Response codes:"))
        .unwrap_or_default();
    assert!(
        codes.contains("NOERROR") && codes.contains("100.00%"),
        "{text}"
    );
    used / count.unwrap_or_else(|| panic!("{text}"))
}

/// The same questions to weftd, dnsmasq and unbound, in turn.
pub(crate) fn questions(report: &mut Report, rounds: usize) {
    const COUNT: usize = 500;
    let (suite, host) = (Suite::weft(), Host::new());
    names(&host, COUNT);
    let (mut hosts, mut data, mut asked) = (String::new(), String::new(), String::new());
    for number in 0..COUNT {
        let name = format!("web-{number}.{DOMAIN}");
        let address = record(number, "x").names().unwrap().addresses[0];
        let _ = writeln!(hosts, "{address} {name}");
        let _ = writeln!(data, "  local-data: \"{name}. 5 IN A {address}\"");
        let _ = writeln!(asked, "{name} A");
    }
    let file = |name: &str, text: &str| {
        let path = host.dir().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let asked = file("questions", &asked);
    let unbound = format!(
        "server:\n  interface: 127.0.0.1@5303\n  do-daemonize: no\n  chroot: \"\"\n  username: \"\"\n  pidfile: \"\"\n  \
         use-syslog: no\n  access-control: 127.0.0.0/8 allow\n  local-zone: \"{DOMAIN}.\" static\n{data}"
    );
    let (hosts, unbound) = (file("hosts", &hosts), file("unbound.conf", &unbound));
    let daemon = weftd(&suite, &host);
    let answering = children(daemon.0.id())[0];
    let mut command = Command::new("taskset");
    command.args([
        "-c",
        "0",
        "dnsmasq",
        "-k",
        "-u",
        "root",
        "-C",
        "/dev/null",
        "-p",
        "5301",
    ]);
    command.args([
        "--listen-address=127.0.0.1",
        "--bind-interfaces",
        "--no-resolv",
        "--no-hosts",
    ]);
    command.args(["--cache-size=1000", "--local-ttl=5", "--pid-file="]);
    let dnsmasq = start(
        &host,
        command.arg(format!("--addn-hosts={}", hosts.display())),
    );
    let mut command = Command::new("taskset");
    command
        .args(["-c", "0", "unbound", "-d", "-c"])
        .arg(&unbound);
    let unbound = start(&host, &mut command);
    std::thread::sleep(Duration::from_secs(1));
    let servers = [
        (answering, (SERVER, 53)),
        (dnsmasq.0.id(), ("127.0.0.1", 5301)),
        (unbound.0.id(), ("127.0.0.1", 5303)),
    ];
    let mut times: [Vec<f64>; 3] = Default::default();
    for _ in 0..rounds {
        for ((process, place), times) in servers.iter().zip(&mut times) {
            times.push(ask(&host, *process, *place, &asked));
        }
    }
    let [weftd, dnsmasq, unbound] = times.map(median);
    report.row(
        "a question: dnsmasq, weftd, us CPU",
        dnsmasq,
        weftd,
        Some(0.9),
    );
    report.row(
        "a question: unbound, weftd, us CPU",
        unbound,
        weftd,
        Some(1.0),
    );
}

/// What one container's coming or changing costs the daemon among many, and its memory.
pub(crate) fn changes(report: &mut Report, count: usize) {
    const CHANGES: usize = 200;
    let (suite, host) = (Suite::weft(), Host::new());
    names(&host, count);
    let daemon = weftd(&suite, &host);
    let root = daemon.0.id();
    let processes = [root, children(root)[0]];
    let before = processes.map(|one| cpu(&[one]));
    for number in 0..CHANGES {
        write(&host, &[record(number + 1, &format!("changed-{number}"))]);
        assert_eq!(
            poke(&host.state_dir(), Duration::from_secs(5)),
            Poked::Known
        );
    }
    let mut each = processes.map(|one| cpu(&[one]));
    for (after, before) in each.iter_mut().zip(before) {
        *after = (*after - before) / CHANGES as f64;
    }
    report.note(
        &format!("a change among {count} endpoints"),
        each[0] + each[1],
        "us CPU, aim 100",
    );
    report.note("of it in the part that answers", each[1], "us CPU");
    let [root, answering] = processes.map(resident);
    report.note(
        &format!("weftd with {count} endpoints: answering"),
        answering,
        "MB, aim 12",
    );
    report.note(
        &format!("weftd with {count} endpoints: root part"),
        root,
        "MB",
    );
}

/// An ADD of weft-bridge and weft-dns with the daemon against one without it.
pub(crate) fn attach(report: &mut Report, rounds: usize) {
    let side = Side::new(Suite::weft(), Host::new(), &json!({}));
    let dns = json!({"cniVersion": "1.0.0", "name": "bench", "type": "weft-dns"});
    let mut times: [Vec<f64>; 2] = Default::default();
    for round in 0..=rounds {
        for (is_up, times) in [false, true].into_iter().zip(&mut times) {
            let daemon = is_up.then(|| weftd(&side.suite, &side.host));
            let mut all = Vec::new();
            for _ in 0..10 {
                let container = side.host.container();
                let mut prev = Value::Null;
                let own = side.run("ADD", &container, &mut prev);
                let mut conf = dns.clone();
                conf["prevResult"] = prev.clone();
                let call = weft_testkit::Call::new(&side.suite, "ADD", &conf).container(&container);
                let (names, _) = super::measure::timed(&call, &side.host);
                all.push(own.wall + names.wall);
                side.run("DEL", &container, &mut prev);
            }
            drop(daemon);
            if round > 0 {
                times.push(median(all));
            }
        }
    }
    let [without, with] = times.map(median);
    report.row(
        "bridge and dns ADD: daemon down, up, ms",
        without,
        with,
        None,
    );
    report.note(
        "what the daemon adds to an ADD",
        with - without,
        "ms, aim 0.3",
    );
}
