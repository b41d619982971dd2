//! Names of others: servers that are dead, slow, lying, cutting, failing, or ask back here; and what is remembered.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weft_dns::kind::{A, TXT};
use weft_testkit::{Container, Outside};

use crate::commands::{ok, weft};
use crate::daemon::{Daemon, Reply, ask, ask_by_stream, query, soon};
use crate::dns::{SERVER, Zone};

/// What a server does with a question: the messages that it sends, after a time.
type Behaviour = dyn Fn(&[u8]) -> (Duration, Vec<Vec<u8>>) + Send + Sync;

/// A server of others, on a machine outside; it ends with the value.
struct Server {
    asked: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
}

impl Server {
    fn start(machine: &Container, address: &str, behaviour: Box<Behaviour>) -> Self {
        let address = SocketAddr::new(address.parse().unwrap(), 53);
        let socket = machine.run(|| UdpSocket::bind(address).unwrap());
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let (asked, is_over) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (count, end) = (Arc::clone(&asked), Arc::clone(&is_over));
        std::thread::spawn(move || {
            let mut message = [0; 4096];
            while !end.load(Ordering::Relaxed) {
                let Ok((length, client)) = socket.recv_from(&mut message) else {
                    continue;
                };
                count.fetch_add(1, Ordering::Relaxed);
                let (time, answers) = behaviour(&message[..length]);
                std::thread::sleep(time);
                for answer in answers {
                    let _ = socket.send_to(&answer, client);
                }
            }
        });
        Self { asked, is_over }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// An answer with one address, which lives for this long.
fn answer(query: &[u8], address: [u8; 4], ttl: u8) -> Vec<u8> {
    let mut answer = query.to_vec();
    answer[2] |= 0x80;
    answer[3] = 0x80;
    answer[7] = 1;
    answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, ttl, 0, 4]);
    answer.extend(address);
    answer
}

fn with_code(query: &[u8], code: u8) -> Vec<u8> {
    let mut answer = query.to_vec();
    answer[2] |= 0x80;
    answer[3] = 0x80 | code;
    answer
}

const SOON: Duration = Duration::ZERO;

struct Place {
    zone: Zone,
    outside: Outside,
    _daemon: Daemon,
    web: Container,
}

impl Place {
    /// A container in a network that asks these servers.
    fn new(upstreams: &[&str], keys: &Value) -> Self {
        let mut all = keys.clone();
        all["upstreams"] = json!(upstreams);
        let zone = Zone::new(&all);
        let outside = Outside::join(&zone.net.host);
        for address in ["192.0.2.101/24", "192.0.2.102/24", "192.0.2.103/24"] {
            let link = outside
                .machine()
                .sh("ip -o link show type veth | cut -d: -f2 | cut -d@ -f1");
            outside
                .machine()
                .sh(&format!("ip addr add {address} dev {}", link.trim()));
        }
        let daemon = Daemon::start(&zone.net.suite, &zone.net.host);
        let (web, _) = zone.add("web", &Value::Null);
        soon(|| ask(&web, SERVER, "web", A).is_some_and(|one| one.code == 0));
        Self {
            zone,
            outside,
            _daemon: daemon,
            web,
        }
    }

    fn server(
        &self,
        address: &str,
        behaviour: impl Fn(&[u8]) -> (Duration, Vec<Vec<u8>>) + Send + Sync + 'static,
    ) -> Server {
        Server::start(self.outside.machine(), address, Box::new(behaviour))
    }

    /// An answer, and how long it took.
    fn ask(&self, name: &str) -> (Reply, Duration) {
        let start = Instant::now();
        let reply = ask(&self.web, SERVER, name, A).unwrap();
        (reply, start.elapsed())
    }

    fn weft(&self, arguments: &[&str]) -> String {
        ok(&weft(&self.zone.net.suite, &self.zone.net.host, arguments))
    }
}

const ONE: &str = "192.0.2.101";
const TWO: &str = "192.0.2.102";
const THREE: &str = "192.0.2.103";
/// Clients of glibc and musl wait five seconds.
const PATIENCE: Duration = Duration::from_millis(4800);

#[test]
fn a_dead_server_makes_way_for_the_next_one() {
    let place = Place::new(&["192.0.2.77", TWO], &json!({}));
    let two = place.server(TWO, |query| {
        (SOON, vec![answer(query, [198, 51, 100, 2], 0)])
    });
    let (first, time) = place.ask("a.example");
    assert_eq!(first.data, [198, 51, 100, 2]);
    assert!(time < Duration::from_secs(2), "{time:?}");
    let _ = place.ask("b.example");
    // By now it is known which one answers.
    let before = two.asked();
    let (_, time) = place.ask("c.example");
    assert!(time < Duration::from_millis(200), "{time:?}");
    assert_eq!(two.asked(), before + 1);
    let text = place.weft(&["dns", "upstreams"]);
    let line = |server: &str| text.lines().find(|line| line.starts_with(server)).unwrap();
    assert!(
        line("192.0.2.77").contains("down") && line(TWO).contains("up"),
        "{text}"
    );
}

#[test]
fn without_any_server_there_is_an_answer_all_the_same() {
    let place = Place::new(&["192.0.2.77", "192.0.2.78"], &json!({}));
    let (failed, time) = place.ask("a.example");
    assert_eq!((failed.code, failed.is_authoritative), (2, false));
    assert!(time < PATIENCE, "{time:?}");
    // It says why, to those that understand: no reachable authority.
    let said = place.web.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(6)))
            .unwrap();
        let mut message = query("b.example", A);
        message[11] = 1;
        message.extend(b"\0\0\x29\x04\xd0\0\0\0\0\0\0");
        socket.send_to(&message, (SERVER, 53)).unwrap();
        let mut answer = vec![0; 512];
        let length = socket.recv(&mut answer).unwrap();
        answer.truncate(length);
        answer
    });
    assert!(said.ends_with(&[0, 15, 0, 2, 0, 22]), "{said:?}");
    let stderr = weft(
        &place.zone.net.suite,
        &place.zone.net.host,
        &["dns", "query", "c.example", "--from", "web"],
    );
    let text = String::from_utf8_lossy(&stderr.stdout);
    assert!(
        text.contains("SERVFAIL") && text.contains("weft dns upstreams"),
        "{text}"
    );
}

#[test]
fn a_slow_server_gets_company() {
    let place = Place::new(&[ONE, TWO], &json!({}));
    let _one = place.server(ONE, |query| {
        (
            Duration::from_millis(1500),
            vec![answer(query, [198, 51, 100, 1], 0)],
        )
    });
    let _two = place.server(TWO, |query| {
        (SOON, vec![answer(query, [198, 51, 100, 2], 0)])
    });
    let (found, time) = place.ask("a.example");
    assert_eq!(found.data, [198, 51, 100, 2]);
    assert!(time < Duration::from_millis(1400), "{time:?}");
}

#[test]
fn what_is_no_answer_to_the_question_is_passed_over() {
    let place = Place::new(&[ONE], &json!({}));
    let _one = place.server(ONE, |query| {
        let lie = answer(query, [203, 0, 113, 66], 60);
        let mut other_number = lie.clone();
        other_number[0] ^= 0xff;
        let mut other_name = lie.clone();
        other_name[13] ^= 1;
        let mut no_response = lie.clone();
        no_response[2] &= 0x7f;
        let truth = answer(query, [198, 51, 100, 1], 60);
        let lies = vec![
            other_number,
            other_name,
            no_response,
            lie[..9].to_vec(),
            truth,
        ];
        (SOON, lies)
    });
    assert_eq!(place.ask("a.example").0.data, [198, 51, 100, 1]);
    assert_eq!(
        place.ask("a.example").0.data,
        [198, 51, 100, 1],
        "from memory"
    );
}

#[test]
fn a_cut_answer_is_passed_on_and_asked_for_by_a_stream() {
    let place = Place::new(&[ONE], &json!({}));
    let one = place.server(ONE, |query| {
        let mut cut = with_code(query, 0);
        cut[2] |= 2;
        (SOON, vec![cut])
    });
    let address: IpAddr = ONE.parse().unwrap();
    let listener = place
        .outside
        .machine()
        .run(|| TcpListener::bind((address, 53)).unwrap());
    let streams = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut query = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut query).unwrap();
        let answer = answer(&query, [198, 51, 100, 9], 60);
        stream
            .write_all(&u16::try_from(answer.len()).unwrap().to_be_bytes())
            .unwrap();
        stream.write_all(&answer).unwrap();
    });
    assert!(place.ask("big.example").0.is_cut);
    assert!(
        place.ask("big.example").0.is_cut,
        "nothing that was cut is remembered"
    );
    assert_eq!(one.asked(), 2);
    let whole = ask_by_stream(&place.web, SERVER, "big.example", A);
    assert_eq!(whole.data, [198, 51, 100, 9]);
    streams.join().unwrap();
}

#[test]
fn a_failing_server_is_not_the_last_word() {
    let place = Place::new(&[ONE, TWO], &json!({}));
    let _one = place.server(ONE, |query| (SOON, vec![with_code(query, 2)]));
    let two = place.server(TWO, |query| {
        (SOON, vec![answer(query, [198, 51, 100, 2], 0)])
    });
    let (found, time) = place.ask("a.example");
    assert_eq!(found.data, [198, 51, 100, 2]);
    assert!(time < Duration::from_secs(1), "{time:?}");
    // If all of them refuse, that is the answer, not that none was reached.
    drop(two);
    std::thread::sleep(Duration::from_millis(100));
    let _two = place.server(TWO, |query| (SOON, vec![with_code(query, 5)]));
    let (refused, time) = place.ask("b.example");
    assert!([2, 5].contains(&refused.code), "{}", refused.code);
    assert!(time < PATIENCE, "{time:?}");
}

#[test]
fn answers_are_remembered_for_as_long_as_they_say() {
    let place = Place::new(&[ONE], &json!({}));
    let one = place.server(ONE, |query| {
        let is_none = query[12..].starts_with(b"\x04none");
        let mut none = with_code(query, 3);
        // An SOA record: such answers live for two seconds.
        none[9] = 1;
        none.extend(
            b"\0\0\x06\0\x01\0\0\0\x3c\0\x16\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02",
        );
        (
            SOON,
            vec![if is_none {
                none
            } else {
                answer(query, [198, 51, 100, 1], 2)
            }],
        )
    });
    for name in ["a.example", "none.example"] {
        let before = one.asked();
        for _ in 0..3 {
            let _ = place.ask(name);
        }
        assert_eq!(one.asked(), before + 1, "{name}");
    }
    let cache = place.weft(&["dns", "cache"]);
    assert!(
        cache.contains("a.example") && cache.contains("NXDOMAIN"),
        "{cache}"
    );
    let explained = place.weft(&["dns", "query", "a.example", "--from", "web"]);
    assert!(
        explained.contains("memory") && explained.contains("198.51.100.1"),
        "{explained}"
    );
    std::thread::sleep(Duration::from_millis(2100));
    let before = one.asked();
    let _ = (place.ask("a.example"), place.ask("none.example"));
    assert_eq!(one.asked(), before + 2, "they have run out");
    assert!(place.weft(&["dns", "flush", "a.example"]).starts_with('1'));
    let _ = place.ask("a.example");
    assert_eq!(one.asked(), before + 3);
}

#[test]
fn domains_have_servers_of_their_own() {
    let zones = json!({"zones": {"corp.example": [TWO], "deep.corp.example": [THREE]}});
    let place = Place::new(&[ONE], &zones);
    let of = |last: u8| move |query: &[u8]| (SOON, vec![answer(query, [198, 51, 100, last], 60)]);
    let _servers = [
        place.server(ONE, of(1)),
        place.server(TWO, of(2)),
        place.server(THREE, of(3)),
    ];
    for (name, last) in [
        ("www.example", 1),
        ("corp.example", 2),
        ("a.b.corp.example", 2),
        ("x.deep.corp.example", 3),
        ("notcorp.example", 1),
    ] {
        assert_eq!(place.ask(name).0.data, [198, 51, 100, last], "{name}");
    }
}

/// One question of a kind at a time: many would be many chances for whoever forges answers.
#[test]
fn the_same_question_is_asked_once() {
    let place = Place::new(&[ONE], &json!({}));
    let one = place.server(ONE, |query| {
        let late = Duration::from_millis(150);
        (late, vec![answer(query, [198, 51, 100, 1], 60)])
    });
    place.web.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        for number in 0..20_u16 {
            let mut message = query("same.example", A);
            message[..2].copy_from_slice(&number.to_be_bytes());
            socket.send_to(&message, (SERVER, 53)).unwrap();
        }
        let mut numbers: Vec<u16> = (0..20)
            .map(|_| {
                let mut answer = [0; 512];
                let length = socket.recv(&mut answer).unwrap();
                assert_eq!(answer[length - 4..length], [198, 51, 100, 1]);
                u16::from_be_bytes([answer[0], answer[1]])
            })
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..20).collect::<Vec<u16>>(), "each its own");
    });
    // The probe for loops is one more, and one that comes late is asked once more.
    assert!(one.asked() <= 3, "{}", one.asked());
}

/// A container has all of 127.0.0.0/8 to ask from, and is one client.
#[test]
fn addresses_inside_count_together() {
    let net = crate::dns_places::Macvlan::new(&json!({}));
    let (suite, host) = (&net.lan.suite, &net.lan.host);
    let text = "[dns]\nmax_in_flight_per_client = 8\nupstreams = [\"192.168.60.250\"]\n";
    std::fs::write(host.dir().join("weft.toml"), text).unwrap();
    let _daemon = Daemon::start(suite, host);
    let (web, _) = net.add("web");
    const INSIDE: &str = "127.0.0.11";
    soon(|| ask(&web, INSIDE, "web", A).is_some_and(|one| one.code == 0));
    web.run(|| {
        for last in 1..=10 {
            let socket = UdpSocket::bind(("127.0.0.".to_owned() + &last.to_string(), 0)).unwrap();
            for number in 0..4 {
                let message = query(&format!("n{last}-{number}.example"), A);
                socket.send_to(&message, (INSIDE, 53)).unwrap();
            }
        }
    });
    soon(|| {
        let metrics = Daemon::get(host, "/metrics");
        let open = metrics
            .lines()
            .find_map(|line| line.strip_prefix("weft_dns_inflight "));
        open == Some("8")
    });
}

#[test]
fn a_client_has_only_so_many_questions_open() {
    let zone = Zone::new(&json!({"upstreams": ["192.0.2.77", "192.0.2.78"]}));
    let (suite, host) = (&zone.net.suite, &zone.net.host);
    std::fs::write(
        host.dir().join("weft.toml"),
        "[dns]\nmax_in_flight_per_client = 8\n",
    )
    .unwrap();
    let _outside = Outside::join(host);
    let _daemon = Daemon::start(suite, host);
    let (web, _) = zone.add("web", &Value::Null);
    let (db, _) = zone.add("db", &Value::Null);
    soon(|| ask(&web, SERVER, "db", A).is_some_and(|one| one.code == 0));
    web.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for number in 0..200 {
            let message = query(&format!("n{number}.example"), A);
            socket.send_to(&message, (SERVER, 53)).unwrap();
        }
    });
    // One more is refused at once, while the network's own names and other clients are answered.
    let start = Instant::now();
    assert_eq!(ask(&web, SERVER, "more.example", A).unwrap().code, 2);
    assert_eq!(ask(&web, SERVER, "db", A).unwrap().code, 0);
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(ask(&db, SERVER, "web", A).unwrap().code, 0);
    let metrics = Daemon::get(host, "/metrics");
    let dropped = metrics
        .lines()
        .find(|line| line.contains("reason=\"client_limit\""))
        .unwrap();
    let count: u32 = dropped.split(' ').next_back().unwrap().parse().unwrap();
    assert!((190..=193).contains(&count), "{dropped}");
}

/// A server of the host's that asks here what it is asked: it is left alone, and everything else goes on.
#[test]
fn a_server_that_asks_back_is_left_alone() {
    let zone = Zone::new(&json!({"upstreams": ["127.0.0.2"]}));
    let (suite, host) = (&zone.net.suite, &zone.net.host);
    let (web, _) = zone.add("web", &Value::Null);
    let dnsmasq = "dnsmasq -u root -C /dev/null --no-resolv --no-hosts --listen-address=127.0.0.2 \
        --bind-interfaces --server=10.1.0.1 --pid-file=";
    let pid_file = host.dir().join("dnsmasq.pid");
    host.sh(&format!(
        "ip link set lo up; {dnsmasq}{}",
        pid_file.display()
    ));
    let _daemon = Daemon::start(suite, host);
    soon(|| ask(&web, SERVER, "web", A).is_some_and(|one| one.code == 0));
    soon(|| ok(&weft(suite, host, &["dns", "upstreams"])).contains("looping"));
    let start = Instant::now();
    assert_eq!(ask(&web, SERVER, "a.example", A).unwrap().code, 2);
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(ask(&web, SERVER, "web", A).unwrap().code, 0);
    assert!(Daemon::get(host, "/metrics").contains("weft_dns_loops_detected_total 1"));
    host.sh(&format!("kill $(cat {})", pid_file.display()));
}

#[test]
fn questions_are_watched_and_explained() {
    let place = Place::new(
        &[ONE],
        &json!({"records": [{"name": "*.apps", "txt": ["blue"]}]}),
    );
    let _one = place.server(ONE, |query| {
        (SOON, vec![answer(query, [198, 51, 100, 1], 60)])
    });
    let (suite, host) = (&place.zone.net.suite, &place.zone.net.host);
    let watched = std::thread::scope(|scope| {
        let watching = scope.spawn(|| ok(&weft(suite, host, &["dns", "watch", "--count", "3"])));
        while !watching.is_finished() {
            let _ = (
                place.ask("a.example"),
                place.ask("web"),
                place.ask("no.net.weft.internal"),
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        watching.join().unwrap()
    });
    assert_eq!(watched.lines().count(), 3, "{watched}");
    assert!(
        watched.contains("net 10.1.0.2 web A NOERROR local"),
        "{watched}"
    );
    let text = place.weft(&[
        "dns",
        "query",
        "x.apps.net.weft.internal",
        "TXT",
        "--from",
        "web",
    ]);
    assert!(
        text.contains("IN TXT \"blue\"") && text.contains("Weft's own names"),
        "{text}"
    );
    assert_eq!(
        ask(&place.web, SERVER, "x.apps.net.weft.internal", TXT)
            .unwrap()
            .data,
        b"\x04blue"
    );
    let text = place.weft(&["dns", "query", "10.1.0.2", "--from", "web"]);
    assert!(text.contains("web.net.weft.internal."), "{text}");
    let unknown = weft(suite, host, &["dns", "query", "web", "--from", "nobody"]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("weft dns ls"));
}
