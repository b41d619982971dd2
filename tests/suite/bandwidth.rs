//! weft-bandwidth: how fast, how many, and nothing left.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use serde_json::{Value, json};
use weft_testkit::{Call, Container, HostState, Suite};

use crate::bridge::Net;
use crate::isolation::network;
use crate::services::{Server, bound};

fn bandwidth(keys: &Value, prev: &Value) -> Value {
    let mut conf = json!({"cniVersion": "1.0.0", "name": "net1", "type": "weft-bandwidth",
        "prevResult": prev});
    for (key, value) in keys.as_object().unwrap() {
        conf[key] = value.clone();
    }
    conf
}

/// What nf_tables lets through at once is a second's worth and the burst.
const BYTES: usize = 3_000_000;

/// How long it takes until so many bytes have arrived.
fn transfer(from: &Container, to: &Container, address: &str) -> Duration {
    let address: SocketAddr = address.parse().unwrap();
    let listener = to.run(|| bound(|| TcpListener::bind(address)));
    thread::scope(|scope| {
        let receiver = scope.spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            all.len()
        });
        let mut stream = from.run(|| TcpStream::connect(address).unwrap());
        let begun = Instant::now();
        stream.write_all(&vec![7; BYTES]).unwrap();
        drop(stream);
        assert_eq!(receiver.join().unwrap(), BYTES);
        begun.elapsed()
    })
}

/// A transfer that nothing limits: the first of some that has the processors to itself, else the quickest.
fn free(transfer: &dyn Fn() -> Duration) -> Duration {
    let mut best = transfer();
    for _ in 0..20 {
        if best < Duration::from_millis(300) {
            break;
        }
        best = best.min(transfer());
    }
    best
}

/// Eight megabits a second: a megabyte.
const RATE: u64 = 8_000_000;

#[track_caller]
fn is_limited(slow: Duration, free: Duration) {
    // What the burst lets through at once does not count.
    assert!(slow > Duration::from_millis(1100), "{slow:?}");
    assert!(slow > free * 2, "{slow:?}, the control {free:?}");
}

#[test]
fn each_direction_has_its_rate() {
    let net = Net::new();
    let conf = network(&net, 1, &json!({}));
    let ((a, result), (b, _)) = (net.add(&conf), net.add(&conf));
    let to_a = || transfer(&b, &a, "10.1.0.2:9000");
    let from_a = || transfer(&a, &b, "10.1.0.3:9000");
    let before = HostState::of(&net.host);
    for (key, is_ingress) in [("ingressRate", true), ("egressRate", false)] {
        let limits = bandwidth(&json!({key: RATE}), &result);
        net.call("ADD", &limits, &a).ok();
        net.call("CHECK", &limits, &a).ok();
        let (limited, open) = if is_ingress {
            (to_a(), free(&from_a))
        } else {
            (from_a(), free(&to_a))
        };
        is_limited(limited, open);
        net.call("DEL", &limits, &a).ok();
        net.call("DEL", &limits, &a).ok();
        assert!(
            free(&to_a).max(free(&from_a)) * 2 < limited,
            "the limit is still there"
        );
    }
    before.assert_same(&net.host, "limits came and went");
}

/// What containerd and CRI-O send for lack of a number is no burst of half a gigabyte.
#[test]
fn a_burst_is_sane() {
    let net = Net::new();
    let (a, result) = net.add(&network(&net, 1, &json!({})));
    let asked = json!({"ingressRate": 8000, "runtimeConfig": {"bandwidth": {"IngressRate": RATE,
        "IngressBurst": 4_294_967_295_u64, "egressRate": 80_000_000_000_u64}}});
    let limits = bandwidth(&asked, &result);
    net.call("ADD", &limits, &a).ok();
    let port = result["interfaces"][1]["name"].as_str().unwrap();
    let queue = net.host.sh(&format!("tc qdisc show dev {port}"));
    assert!(queue.contains("rate 8Mbit burst 50000b"), "{queue}");
    let queue = a.sh("tc qdisc show dev eth0");
    assert!(queue.contains("rate 80Gbit"), "{queue}");
    net.call("CHECK", &limits, &a).ok();
    net.host.sh(&format!("tc qdisc del dev {port} root"));
    let error = net.call("CHECK", &limits, &a).error();
    assert!(error["msg"].as_str().unwrap().contains(port), "{error}");
    net.call("DEL", &limits, &a).ok();
}

/// An interface on a parent has no end on the host.
#[test]
fn a_macvlan_is_limited_too() {
    let net = Net::new();
    let suite = Suite::weft().with(weft_testkit::Driver::Macvlan);
    suite.prepare(&net.host);
    let conf = suite.network_conf("net1", "10.1.0.0/24", net.host.dir());
    let ((a, result), (b, _)) = (net.add(&conf), net.add(&conf));
    let to_a = || transfer(&b, &a, "10.1.0.2:9000");
    let from_a = || transfer(&a, &b, "10.1.0.3:9000");
    let open = free(&to_a).max(free(&from_a));
    let limits = bandwidth(&json!({"ingressRate": RATE, "egressRate": RATE}), &result);
    net.call("ADD", &limits, &a).ok();
    net.call("CHECK", &limits, &a).ok();
    is_limited(to_a(), open);
    is_limited(from_a(), open);
    net.call("DEL", &limits, &a).ok();
    assert!(
        !a.succeeds("nft list ruleset | grep -q weft") && !a.succeeds("tc qdisc | grep -q tbf")
    );
    let flood = bandwidth(&json!({"limits": {"packetsPerSecond": 100}}), &result);
    let error = net.call("ADD", &flood, &a).error();
    assert!(error["msg"].as_str().unwrap().contains("bridge"), "{error}");
}

/// How many of many packets of one connection, which nobody answers, arrive at port 9001.
pub(crate) fn flood(from: &Container, to: &Container, address: &str) -> usize {
    flood_at(from, to.run(flooded), address)
}

fn flooded() -> UdpSocket {
    bound(|| UdpSocket::bind("0.0.0.0:9001"))
}

fn flood_at(from: &Container, receiver: UdpSocket, address: &str) -> usize {
    let address: SocketAddr = format!("{address}:9001").parse().unwrap();
    receiver
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    // The usual buffer holds a few hundred.
    setsockopt(&receiver, RcvBufForce, &(8 << 20)).unwrap();
    let sender = from.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    let arrived = AtomicUsize::new(0);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = [0; 64];
            // The sender may have to wait for a processor: silence says nothing before it has ended.
            loop {
                let was_over = is_over.load(Ordering::SeqCst);
                if receiver.recv(&mut buffer).is_ok() {
                    arrived.fetch_add(1, Ordering::Relaxed);
                } else if was_over {
                    break;
                }
            }
        });
        for sent in 1..=2000 {
            let _ = sender.send_to(b"x", address);
            // What waits for a processor is a queue of a thousand at most: what comes then is lost, and nobody's
            // limit.
            let start = Instant::now();
            while sent % 100 == 0
                && arrived.load(Ordering::Relaxed) < sent
                && start.elapsed() < Duration::from_millis(20)
            {
                thread::sleep(Duration::from_micros(100));
            }
        }
        is_over.store(true, Ordering::SeqCst);
    });
    arrived.into_inner()
}

/// How many of some connections, begun at once, there are after so many seconds.
fn connect(from: &Container, address: SocketAddr, count: usize, seconds: u64) -> Vec<TcpStream> {
    let patience = Duration::from_secs(seconds);
    let one = || TcpStream::connect_timeout(&address, patience).ok();
    from.run(|| {
        thread::scope(|scope| {
            let all: Vec<_> = (0..count).map(|_| scope.spawn(one)).collect();
            let made = all.into_iter().filter_map(|one| one.join().unwrap());
            made.collect()
        })
    })
}

/// That some passed, and no more than a rate allows: the kernel lets a second's worth pass before it counts
/// the burst, which is another, and whatever a slow machine gives them time for.
#[track_caller]
fn assert_few(passed: usize, a_second: usize, taken: Duration) {
    let seconds = 3 + usize::try_from(taken.as_secs()).unwrap();
    assert!(
        (1..=a_second * seconds).contains(&passed),
        "{passed} in {taken:?}"
    );
}

#[test]
fn floods_are_limited() {
    let net = Net::new();
    let conf = network(&net, 1, &json!({}));
    let ((a, result), (b, _)) = (net.add(&conf), net.add(&conf));
    let free = flood(&a, &b, "10.1.0.3");
    assert!(free > 1000, "the control: {free} arrived");
    let server = Server::tcp_on(&net.host, 9000, "host");
    let address: SocketAddr = "10.1.0.1:9000".parse().unwrap();
    assert_eq!(connect(&a, address, 40, 30).len(), 40, "the control");
    let limited = |limits: Value, test: &dyn Fn()| {
        let conf = bandwidth(&json!({ "limits": limits }), &result);
        net.call("ADD", &conf, &a).ok();
        net.call("CHECK", &conf, &a).ok();
        test();
        net.call("DEL", &conf, &a).ok();
    };
    limited(json!({"packetsPerSecond": 100}), &|| {
        let begun = Instant::now();
        let arrived = flood(&a, &b, "10.1.0.3");
        assert_few(arrived, 100, begun.elapsed());
        let other = flood(&b, &a, "10.1.0.2");
        assert!(other > 1000, "it is only its own: {other} arrived");
    });
    limited(json!({"newConnectionsPerSecond": 4}), &|| {
        let begun = Instant::now();
        let made = connect(&a, address, 40, 2).len();
        assert_few(made, 4, begun.elapsed());
        // Until one more may begin.
        thread::sleep(Duration::from_millis(1200));
        let arrived = flood_at(&a, net.host.run(flooded), "10.1.0.1");
        assert!(arrived > 1000, "of one connection: {arrived} arrived");
    });
    net.host.sh("conntrack -F 2>/dev/null");
    limited(json!({"connections": 5}), &|| {
        let held = connect(&a, address, 20, 2).len();
        assert!((1..=5).contains(&held), "{held} connections");
    });
    drop(server);
    assert!(flood(&a, &b, "10.1.0.3") > 1000, "the limits are gone");
}

#[test]
fn wrong_limits_change_nothing() {
    let net = Net::new();
    let (a, result) = net.add(&network(&net, 1, &json!({})));
    let before = HostState::of(&net.host);
    for keys in [
        json!({"ingressRate": "fast"}),
        json!({"ingressRate": -1}),
        json!({"ingressRate": 7}),
        json!({"egressBurst": 1000}),
        json!({"ingressRate": 8000, "unshapedSubnets": ["10.0.0.0/8"]}),
        json!({"limits": {"connections": 0}}),
        json!({"runtimeConfig": {"bandwidth": {"ingressRate": []}}}),
    ] {
        let outcome = net.call("ADD", &bandwidth(&keys, &result), &a);
        assert_eq!(outcome.code(), 7, "{keys}");
    }
    let mut without = bandwidth(&json!({"ingressRate": RATE}), &result);
    without.as_object_mut().unwrap().remove("prevResult");
    assert_eq!(net.call("ADD", &without, &a).code(), 7);
    let gone = bandwidth(&json!({"ingressRate": RATE}), &result);
    let ifname = Call::new(&net.suite, "ADD", &gone)
        .container(&a)
        .ifname("eth7")
        .on(&net.host);
    assert!(ifname.error()["msg"].as_str().unwrap().contains("eth7"));
    before.assert_same(&net.host, "wrong limits");
}
