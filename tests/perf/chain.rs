//! A list of plugins as `podman network create` writes it: bridge with masquerade, portmap, firewall,
//! tuning. One published port a container.

use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::{Value, json};
use weft_testkit::{Call, Container, Host, Suite};

use crate::measure::{leave, median, millis, timed_here};
use crate::report::Report;

static PORT: AtomicU16 = AtomicU16::new(10_000);

/// One suite's list on a host of its own.
struct Chain {
    suite: Suite,
    host: Host,
    bridge: Value,
}

/// A container with what its plugins have to be told.
struct Attached {
    container: Container,
    port: u16,
    prev: Value,
}

impl Chain {
    fn new(suite: Suite, keys: &Value) -> Self {
        let host = Host::new();
        suite.prepare(&host);
        let mut bridge = suite.network_conf("bench", "10.100.0.0/16", host.dir());
        bridge["ipMasq"] = true.into();
        for (key, value) in keys.as_object().unwrap() {
            bridge[key] = value.clone();
        }
        Self {
            suite,
            host,
            bridge,
        }
    }

    fn both() -> [Self; 2] {
        [Suite::reference(), Suite::weft()].map(|suite| Self::new(suite, &json!({})))
    }

    fn attached(&self) -> Attached {
        Attached {
            container: self.host.container(),
            port: PORT.fetch_add(1, Ordering::Relaxed),
            prev: Value::Null,
        }
    }

    fn confs(&self, one: &Attached) -> [Value; 4] {
        let chained = |kind: &str| {
            let prefix = if self.suite.is_weft() { "weft-" } else { "" };
            json!({"cniVersion": "1.0.0", "name": "bench", "type": format!("{prefix}{kind}")})
        };
        let mut portmap = chained("portmap");
        portmap["runtimeConfig"] = json!({"portMappings": [{"hostPort": one.port, "containerPort": 80, "protocol": "tcp"}]});
        let mut firewall = chained("firewall");
        firewall["backend"] = "iptables".into();
        firewall["ingressPolicy"] = "same-bridge".into();
        [self.bridge.clone(), portmap, firewall, chained("tuning")]
    }

    /// Runs the list, on DEL backwards; milliseconds.
    fn run(&self, verb: &str, one: &mut Attached) -> f64 {
        self.host.run(|| self.run_here(verb, one))
    }

    /// As [`run`](Self::run), for a thread that is in the host's namespace.
    fn run_here(&self, verb: &str, one: &mut Attached) -> f64 {
        let mut confs = self.confs(one);
        if verb == "DEL" {
            confs.reverse();
        }
        let mut wall = 0.0;
        for mut conf in confs {
            if !one.prev.is_null() {
                conf["prevResult"] = one.prev.clone();
            }
            let call = Call::new(&self.suite, verb, &conf).container(&one.container);
            let (cost, output) = timed_here(&call, &self.host);
            wall += cost.wall;
            let text = String::from_utf8_lossy(&output);
            assert!(!text.contains("\"code\""), "{verb} of {conf}: {text}");
            if verb == "ADD" {
                one.prev = serde_json::from_slice(&output).unwrap();
            }
        }
        wall
    }
}

/// One after the other, both sides in turn.
pub(crate) fn one_by_one(report: &mut Report, rounds: usize) {
    let sides = Chain::both();
    let mut walls: [[Vec<f64>; 2]; 2] = Default::default();
    for round in 0..=rounds {
        for (side, walls) in sides.iter().zip(&mut walls) {
            let mut one = side.attached();
            for (verb, list) in ["ADD", "DEL"].iter().zip(walls.iter_mut()) {
                let wall = side.run(verb, &mut one);
                // The first makes bridge, chains and store.
                if round > 0 {
                    list.push(wall);
                }
            }
            leave([one]);
        }
    }
    for (index, (verb, budget)) in [("ADD", 0.08), ("DEL", 0.18)].iter().enumerate() {
        let of = |side: usize| median(walls[side][index].iter().copied());
        report.row(&format!("chain {verb}, ms"), of(0), of(1), Some(*budget));
    }
}

/// A container that is restarted: DEL, and ADD at once, alone on the host and among others.
pub(crate) fn restart(report: &mut Report, rounds: usize) {
    const OTHERS: usize = 50;
    for others in [0, OTHERS] {
        let sides = Chain::both();
        let mut walls: [[Vec<f64>; 2]; 2] = Default::default();
        let among: Vec<Vec<Attached>> = sides
            .iter()
            .map(|side| {
                let mut all: Vec<Attached> = (0..others).map(|_| side.attached()).collect();
                for one in &mut all {
                    side.run("ADD", one);
                }
                all
            })
            .collect();
        for (side, walls) in sides.iter().zip(&mut walls) {
            let mut one = side.attached();
            side.run("ADD", &mut one);
            for _ in 0..rounds {
                walls[0].push(side.run("DEL", &mut one));
                one.prev = Value::Null;
                walls[1].push(side.run("ADD", &mut one));
            }
            side.run("DEL", &mut one);
            leave([one]);
        }
        for (side, mut all) in sides.iter().zip(among) {
            for one in &mut all {
                side.run("DEL", one);
            }
            leave(all);
        }
        for (index, verb) in ["DEL", "ADD at once"].iter().enumerate() {
            let of = |side: usize| median(walls[side][index].iter().copied());
            let what = format!("restart among {others}: chain {verb}, ms");
            report.row(&what, of(0), of(1), None);
        }
    }
}

fn all_at_once(side: &Chain, verb: &str, all: &mut [Attached]) -> f64 {
    let start = Instant::now();
    side.host.run(|| {
        std::thread::scope(|scope| {
            for one in all.iter_mut() {
                scope.spawn(move || side.run_here(verb, one));
            }
        });
    });
    millis(start.elapsed())
}

pub(crate) fn in_parallel(report: &mut Report) {
    const MANY: usize = 50;
    const ROUNDS: usize = 5;
    let sides = Chain::both();
    let mut times: [[Vec<f64>; 2]; 2] = Default::default();
    // The reference's first two would make its shared chains at once, and one of them fail.
    for side in &sides {
        let mut one = side.attached();
        side.run("ADD", &mut one);
        side.run("DEL", &mut one);
    }
    for _ in 0..ROUNDS {
        for (side, times) in sides.iter().zip(&mut times) {
            let mut all: Vec<Attached> = (0..MANY).map(|_| side.attached()).collect();
            for (verb, list) in ["ADD", "DEL"].iter().zip(times.iter_mut()) {
                list.push(all_at_once(side, verb, &mut all));
            }
            leave(all);
        }
    }
    for (index, (verb, budget)) in [("ADD", 0.15), ("DEL", 0.03)].iter().enumerate() {
        let of = |side: usize| median(times[side][index].iter().copied());
        let what = format!("{MANY} chain {verb} at once, ms");
        report.row(&what, of(0), of(1), Some(*budget));
    }
}

/// So many, eight at a time; the reference does a tenth, and its time is counted ten times.
pub(crate) fn many(report: &mut Report, count: usize) {
    const WORKERS: usize = 8;
    const PART: usize = 10;
    let mut walls = [[0.0; 2]; 2];
    for (side, walls) in Chain::both().iter().zip(&mut walls) {
        let factor = if side.suite.is_weft() { 1 } else { PART };
        let count = count / factor;
        let mut warm = side.attached();
        side.run("ADD", &mut warm);
        side.run("DEL", &mut warm);
        let all: Vec<std::sync::Mutex<Attached>> =
            (0..count).map(|_| side.attached().into()).collect();
        for (verb, wall) in ["ADD", "DEL"].iter().zip(walls) {
            let next = AtomicUsize::new(0);
            let start = Instant::now();
            let work = || {
                while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    side.run_here(verb, &mut one.lock().unwrap());
                }
            };
            side.host.run(|| {
                std::thread::scope(|scope| {
                    for _ in 0..WORKERS {
                        scope.spawn(work);
                    }
                });
            });
            *wall = start.elapsed().as_secs_f64() * factor as f64;
        }
    }
    for (index, verb) in ["ADD", "DEL"].iter().enumerate() {
        let what = format!("{count} chain {verb}, {WORKERS} at a time, s");
        report.row(&what, walls[0][index], walls[1][index], None);
    }
}

/// A closed container's ADD where the sets are empty, and where ten thousand others are in them.
pub(crate) fn among_elements(report: &mut Report, rounds: usize) {
    const OTHERS: u32 = 10_000;
    let keys = json!({"isolation": "full", "bridge": "wtest0"});
    let sides = [(); 2].map(|()| Chain::new(Suite::weft(), &keys));
    for side in &sides {
        let mut one = side.attached();
        side.run("ADD", &mut one);
        side.run("DEL", &mut one);
    }
    let file = sides[1].host.dir().join("elements.nft");
    std::fs::write(&file, others(OTHERS)).unwrap();
    sides[1].host.sh(&format!("nft -f {}", file.display()));
    let mut walls: [Vec<f64>; 2] = Default::default();
    for round in 0..2 * rounds {
        for index in [round % 2, 1 - round % 2] {
            let side = &sides[index];
            let mut one = side.attached();
            walls[index].push(side.run("ADD", &mut one));
            side.run("DEL", &mut one);
            leave([one]);
        }
    }
    let [empty, full] = walls.map(median);
    report.row(
        &format!("closed chain ADD among {OTHERS} endpoints, ms"),
        empty,
        full,
        Some(1.1),
    );
}

/// The elements of other endpoints, in every set that one has elements in.
fn others(count: u32) -> String {
    let mut text = String::new();
    let mut set = |table: &str, name: &str, element: &dyn Fn(u32) -> String| {
        let all: Vec<String> = (0..count).map(element).collect();
        text.push_str(&format!(
            "add element {table} {name} {{ {} }}\n",
            all.join(", ")
        ));
    };
    let ip = |n: u32| format!("10.200.{}.{}", n / 256, n % 256);
    let mac = |n: u32| format!("02:00:00:00:{:02x}:{:02x}", n / 256, n % 256);
    set("inet weft", "masq4", &ip);
    set("inet weft", "opened4", &|n| format!("{} . tcp . 80", ip(n)));
    set("inet weft", "self4", &|n| format!("{} . {}", ip(n), ip(n)));
    set("inet weft", "reflected4", &|n| {
        format!("{} . tcp . 80", ip(n))
    });
    set("inet weft", "published4", &|n| {
        format!("sctp . {} : {} . 80", n + 1, ip(n))
    });
    for name in ["ports", "bound_ports", "alone_ports"] {
        set("bridge weft", name, &|n| format!("\"other{n}\""));
    }
    set("bridge weft", "mirrored_ports", &|n| {
        format!("\"other{n}\" . \"other{n}\"")
    });
    set("bridge weft", "port_macs", &|n| {
        format!("\"other{n}\" . {}", mac(n))
    });
    set("bridge weft", "port_ipv4", &|n| {
        format!("\"other{n}\" . {}", ip(n))
    });
    set("bridge weft", "port_arp", &|n| {
        format!("\"other{n}\" . {} . {}", mac(n), ip(n))
    });
    set("bridge weft", "reached4", &|n| {
        format!("{} . tcp . 80", ip(n))
    });
    text
}
