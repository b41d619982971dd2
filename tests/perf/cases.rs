//! ADD, CHECK and DEL, one at a time and fifty at once.

use std::time::Instant;

use serde_json::{Value, json};
use weft_store::BackendKind;
use weft_testkit::{Call, Container, Driver, Feature, Host, Suite, has, system_calls};

use crate::measure::{Cost, Side, leave, median, millis, timed};
use crate::report::Report;

fn sides(driver: Driver, keys: &Value) -> [Side; 2] {
    [Suite::reference(), Suite::weft()]
        .map(|suite| Side::new(suite.with(driver), Host::new(), keys))
}

/// Ports published for one container, as many as `count`, in one call; each with a container of its
/// own. The reference makes a rule for each.
pub(crate) fn publish(report: &mut Report, count: u16, rounds: usize) {
    let mappings: Vec<Value> = (0..count)
        .map(|n| json!({"hostPort": 20_000 + n, "containerPort": 30_000 + n, "protocol": "tcp"}))
        .collect();
    let mut walls = [[0.0; 2]; 2];
    for (index, side) in sides(Driver::Bridge, &json!({})).iter().enumerate() {
        // A round of the reference with a thousand takes forty seconds.
        let (kind, rounds) = match side.suite.is_weft() {
            true => ("weft-portmap", rounds.max(15)),
            false => ("portmap", rounds),
        };
        let mut times: [Vec<f64>; 2] = Default::default();
        for round in 0..=rounds {
            let container = side.host.container();
            let mut prev = Value::Null;
            side.run("ADD", &container, &mut prev);
            let conf = json!({"cniVersion": "1.0.0", "name": "bench", "type": kind,
                "runtimeConfig": {"portMappings": mappings}, "prevResult": prev});
            for (verb, times) in ["ADD", "DEL"].iter().zip(&mut times) {
                let call = Call::new(&side.suite, verb, &conf).container(&container);
                let (cost, output) = timed(&call, &side.host);
                let text = String::from_utf8_lossy(&output);
                assert!(
                    !text.contains("\"code\""),
                    "{verb} of {count} ports: {text}"
                );
                // The first makes tables, chains and store.
                if round > 0 {
                    times.push(cost.wall);
                }
            }
            side.run("DEL", &container, &mut prev);
            leave([container]);
        }
        walls[index] = times.map(median);
    }
    for (index, verb) in ["ADD", "DEL"].iter().enumerate() {
        let what = format!("portmap {verb}, {count} ports, ms");
        report.row(&what, walls[0][index], walls[1][index], None);
    }
}

/// What the design allows an ADD and a DEL, and the CPU time of an ADD, as parts of the reference's.
#[derive(Clone, Copy)]
struct Budgets {
    add: f64,
    del: Option<f64>,
    cpu: f64,
}

/// Runs each verb `rounds` times on both sides, alternating, each time with a container of its own.
fn alternate(sides: &[Side; 2], rounds: usize) -> [[Vec<Cost>; 3]; 2] {
    let mut costs: [[Vec<Cost>; 3]; 2] = Default::default();
    // The first attachment makes bridge, store and chains: it is not what is compared.
    for side in sides {
        let container = side.host.container();
        let mut prev = Value::Null;
        for verb in ["ADD", "CHECK", "DEL"] {
            side.run(verb, &container, &mut prev);
        }
    }
    for _ in 0..rounds {
        for (index, side) in sides.iter().enumerate() {
            let container = side.host.container();
            let mut prev = Value::Null;
            for (verb, list) in ["ADD", "CHECK", "DEL"].iter().zip(&mut costs[index]) {
                list.push(side.run(verb, &container, &mut prev));
            }
        }
    }
    costs
}

pub(crate) fn one_by_one(report: &mut Report, rounds: usize) {
    const BRIDGE: Budgets = Budgets {
        add: 0.25,
        del: Some(1.0),
        cpu: 0.25,
    };
    row(report, rounds, Driver::Bridge, "bridge", &json!({}), BRIDGE);
    let masquerade = json!({"ipMasq": true});
    row(
        report,
        rounds,
        Driver::Bridge,
        "bridge ipMasq",
        &masquerade,
        BRIDGE,
    );
    on_a_parent(report, rounds);
}

/// The rows of the drivers that sit on a parent, as far as the kernel has them.
pub(crate) fn on_a_parent(report: &mut Report, rounds: usize) {
    const PARENT: Budgets = Budgets {
        add: 0.4,
        // The kernel makes it wait for the end of the link, whoever asks.
        del: None,
        cpu: 0.35,
    };
    row(
        report,
        rounds,
        Driver::Macvlan,
        "macvlan",
        &json!({}),
        PARENT,
    );
    if has(Feature::Ipvlan) {
        row(report, rounds, Driver::Ipvlan, "ipvlan", &json!({}), PARENT);
    } else {
        report.remark("ipvlan: this kernel has none; make bench-vm measures it");
    }
}

fn row(
    report: &mut Report,
    rounds: usize,
    driver: Driver,
    name: &str,
    keys: &Value,
    budgets: Budgets,
) {
    let walls = [Some(budgets.add), None, budgets.del];
    let sides = sides(driver, keys);
    let costs = alternate(&sides, rounds);
    for (index, verb) in ["ADD", "CHECK", "DEL"].iter().enumerate() {
        let wall = |side: usize| median(costs[side][index].iter().map(|cost| cost.wall));
        report.row(
            &format!("{name} {verb}, ms"),
            wall(0),
            wall(1),
            walls[index],
        );
    }
    for (index, verb) in ["ADD", "CHECK", "DEL"].iter().enumerate() {
        let mean = |side: usize| {
            let list = &costs[side][index];
            list.iter().map(|cost| cost.cpu).sum::<f64>() / list.len() as f64
        };
        let budget = (index == 0).then_some(budgets.cpu);
        report.row(&format!("{name} {verb}, CPU ms"), mean(0), mean(1), budget);
    }
    resources(report, name, &sides);
}

/// System calls, executions and peak memory of one ADD and one DEL.
fn resources(report: &mut Report, name: &str, sides: &[Side; 2]) {
    let mut counts = [[0.0; 2]; 2];
    let mut executions = [[0.0; 2]; 2];
    let mut memory = [0.0; 2];
    for (index, side) in sides.iter().enumerate() {
        let container = side.host.container();
        for (verb_index, verb) in ["ADD", "DEL"].iter().enumerate() {
            let call = Call::new(&side.suite, verb, &side.conf).container(&container);
            let (outcome, calls) = system_calls(&call, &side.host);
            outcome.ok();
            counts[index][verb_index] = calls.len() as f64;
            let is_exec = |call: &&weft_testkit::SystemCall| call.name == "execve";
            executions[index][verb_index] = calls.iter().filter(is_exec).count() as f64;
        }
        memory[index] = peak_memory(side);
    }
    for (index, verb) in ["ADD", "DEL"].iter().enumerate() {
        report.row(
            &format!("{name} {verb}, system calls"),
            counts[0][index],
            counts[1][index],
            None,
        );
        let budget = Some(1.0 / executions[0][index]);
        report.row(
            &format!("{name} {verb}, processes"),
            executions[0][index],
            executions[1][index],
            budget,
        );
    }
    report.row(
        &format!("{name} ADD, peak RSS MiB"),
        memory[0],
        memory[1],
        None,
    );
}

/// By GNU time, the peak of the process or of any it executed.
fn peak_memory(side: &Side) -> f64 {
    let container = side.host.container();
    let wrapper = ["/usr/bin/time", "-f", "%M"].map(str::to_owned).to_vec();
    let call = Call::new(&side.suite, "ADD", &side.conf)
        .container(&container)
        .under(wrapper);
    let outcome = call.on(&side.host);
    let kib = outcome
        .stderr
        .lines()
        .last()
        .and_then(|line| line.trim().parse::<f64>().ok());
    Call::new(&side.suite, "DEL", &side.conf)
        .container(&container)
        .on(&side.host);
    kib.unwrap_or(f64::NAN) / 1024.0
}

/// Runs a verb for all containers at once; how long until the last is done, in milliseconds.
pub(crate) fn all_at_once(
    side: &Side,
    verb: &str,
    containers: &[Container],
    prev: &mut [Value],
) -> f64 {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for (container, prev) in containers.iter().zip(prev.iter_mut()) {
            scope.spawn(move || side.run(verb, container, prev));
        }
    });
    millis(start.elapsed())
}

pub(crate) fn in_parallel(report: &mut Report) {
    const MANY: usize = 50;
    const ROUNDS: usize = 5;
    for (name, keys) in [
        ("bridge", json!({})),
        ("bridge ipMasq", json!({"ipMasq": true})),
    ] {
        let sides = sides(Driver::Bridge, &keys);
        let mut times: [[Vec<f64>; 2]; 2] = Default::default();
        for _ in 0..ROUNDS {
            for (index, side) in sides.iter().enumerate() {
                let containers: Vec<Container> = (0..MANY).map(|_| side.host.container()).collect();
                let mut prev = vec![Value::Null; MANY];
                times[index][0].push(all_at_once(side, "ADD", &containers, &mut prev));
                times[index][1].push(all_at_once(side, "DEL", &containers, &mut prev));
            }
        }
        for (index, verb) in ["ADD", "DEL"].iter().enumerate() {
            let of = |side: usize| median(times[side][index].iter().copied());
            let budget = (*verb == "DEL").then_some(0.5);
            report.row(
                &format!("{MANY} {name} {verb} at once, ms"),
                of(0),
                of(1),
                budget,
            );
        }
    }
}

/// The same work on both store backends, against the same reference.
pub(crate) fn backends(report: &mut Report, rounds: usize) {
    let reference = Side::new(Suite::reference(), Host::new(), &json!({}));
    for backend in [BackendKind::Redb, BackendKind::Sled] {
        let host = Host::with_backend(backend);
        let weft = Side::new(Suite::weft(), host, &json!({}));
        let again = Side::new(reference.suite.clone(), Host::new(), &json!({}));
        let costs = alternate(&[again, weft], rounds.min(30));
        for (index, verb) in ["ADD", "CHECK", "DEL"].iter().enumerate() {
            let of = |side: usize| median(costs[side][index].iter().map(|cost| cost.wall));
            report.row(
                &format!("{backend:?} store: bridge {verb}, ms"),
                of(0),
                of(1),
                None,
            );
        }
    }
}
