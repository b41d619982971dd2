//! Bytes a second between containers of two networks, by the host: open, and closed with ten
//! thousand members of the rule that lets them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weft_testkit::{Call, Container, Host, Suite};

use crate::measure::median;
use crate::report::Report;

/// Short turns, and many: what disturbs the machine disturbs both sides.
const SECONDS: f64 = 0.5;
const TURNS: usize = 6;

struct Pair {
    host: Host,
    client: Container,
    server: Container,
}

impl Pair {
    fn new(keys: &Value) -> Self {
        let suite = Suite::weft();
        let host = Host::new();
        let dir = host.policy_dir();
        std::fs::create_dir_all(&dir).unwrap();
        let rule = "[[allow]]\nfrom = { network = \"net1\" }\nto = { network = \"net2\" }\n\
                    ports = [\"tcp/9000\"]\n";
        std::fs::write(dir.join("rules.toml"), rule).unwrap();
        let [client, server] = [1, 2].map(|number| {
            let subnet = format!("10.{number}.0.0/16");
            let mut conf = suite.network_conf(&format!("net{number}"), &subnet, host.dir());
            conf["bridge"] = format!("wtest{number}").into();
            for (key, value) in keys.as_object().unwrap() {
                conf[key] = value.clone();
            }
            let container = host.container();
            let call = Call::new(&suite, "ADD", &conf).container(&container);
            call.on(&host).ok();
            container
        });
        Self {
            host,
            client,
            server,
        }
    }

    /// Everybody else whom the rule means.
    fn with_members(self, count: u32) -> Self {
        let host = &self.host;
        let sets = host.sh("nft list sets inet | awk '/set sel_.*_4/ {print $2}'");
        for set in sets.split_whitespace() {
            let all: Vec<String> = (0..count)
                .map(|n| format!("10.200.{}.{}", n / 256, n % 256))
                .collect();
            let file = host.dir().join("members.nft");
            let text = format!("add element inet weft {set} {{ {} }}\n", all.join(", "));
            std::fs::write(&file, text).unwrap();
            host.sh(&format!("nft -f {}", file.display()));
        }
        assert!(!sets.is_empty());
        self
    }

    /// Megabytes a second.
    fn measure(&self) -> f64 {
        let address: SocketAddr = "10.2.0.2:9000".parse().unwrap();
        let listener = self.server.run(|| TcpListener::bind(address).unwrap());
        std::thread::scope(|scope| {
            let receiver = scope.spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut buffer = vec![0; 1 << 18];
                let (mut total, start) = (0_usize, Instant::now());
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    total += length;
                }
                total as f64 / start.elapsed().as_secs_f64() / 1e6
            });
            let mut stream = self
                .client
                .run(|| TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap());
            let buffer = vec![7; 1 << 18];
            let start = Instant::now();
            while start.elapsed().as_secs_f64() < SECONDS {
                stream.write_all(&buffer).unwrap();
            }
            drop(stream);
            receiver.join().unwrap()
        })
    }
}

pub(crate) fn closed_and_open(report: &mut Report, rounds: usize) {
    let sides = [
        Pair::new(&json!({})),
        Pair::new(&json!({"isolation": "full"})).with_members(10_000),
    ];
    for side in &sides {
        side.measure();
    }
    let mut rates: [Vec<f64>; 2] = Default::default();
    for turn in 0..rounds * TURNS {
        // Who goes first changes, because the second finds the machine warmer.
        for index in [turn % 2, 1 - turn % 2] {
            rates[index].push(sides[index].measure());
        }
    }
    let [open, closed] = rates.map(median);
    // The other way round than times: more is better.
    report.row(
        "throughput open / closed, 10000 members, MB/s",
        closed,
        open,
        Some(1.0 / 0.95),
    );
}
