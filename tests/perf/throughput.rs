//! Bytes a second between containers of two networks, by the host: open, and closed with ten
//! thousand members of the rule that lets them.

use serde_json::{Value, json};
use weft_testkit::{Call, Container, Host, Suite};

use crate::measure::{median, megabytes_a_second};
use crate::report::Report;

/// A second each, of one host and of the other.
const TURNS: usize = 4;

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

    fn measure(&self) -> f64 {
        megabytes_a_second(&self.client, &self.server, "10.2.0.2")
    }
}

/// The ratio is the median of the turns' own: two seconds that follow each other are alike, however little
/// the machine of now is that of a minute ago.
pub(crate) fn closed_and_open(report: &mut Report, rounds: usize) {
    let mut rates: [Vec<f64>; 2] = Default::default();
    for round in 0..rounds {
        // New ones each time: two hosts that are the same may still differ by where their memory is.
        let sides = [
            Pair::new(&json!({})),
            Pair::new(&json!({"isolation": "full"})).with_members(10_000),
        ];
        for side in &sides {
            side.measure();
        }
        for turn in round..round + TURNS {
            // Who goes first changes, because the second finds the machine warmer.
            for index in [turn % 2, 1 - turn % 2] {
                rates[index].push(sides[index].measure());
            }
        }
    }
    let [open, closed] = &rates;
    let ratios = open.iter().zip(closed).map(|(open, closed)| open / closed);
    let ratio = median(ratios);
    let [open, closed] = rates.map(median);
    // The other way round than times: more is better.
    report.row_of_ratio(
        "throughput open / closed, 10000 members, MB/s",
        (closed, open),
        ratio,
        Some(1.0 / 0.95),
    );
}
