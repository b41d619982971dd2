//! Growth with the number of leases.

use serde_json::Value;
use weft_cni::AttachmentId;
use weft_store::{Holder, LeaseRequest, Pool, Range, StoreError};
use weft_testkit::{Call, Host, Suite};

use crate::measure::{median, timed};
use crate::report::Report;

pub(crate) fn many(report: &mut Report, count: u32, rounds: usize) {
    for suite in [Suite::reference(), Suite::weft()] {
        let name = if suite.is_weft() {
            "weft-ipam"
        } else {
            "host-local"
        };
        let host = Host::new();
        let conf = suite.ipam_conf("bench", "10.64.0.0/12", host.dir());
        let call = |verb: &str, id: &str| {
            let call = Call::new(&suite, verb, &conf)
                .id(id)
                .netns("/none".as_ref())
                .ifname("eth0");
            timed(&call, &host).0.wall
        };
        // The reference's 60,000 take half a second each: fewer rounds say as much.
        let rounds = if suite.is_weft() {
            rounds
        } else {
            rounds.min(5)
        };
        let cycle = |round: usize| {
            let id = format!("c{round}");
            (call("ADD", &id), call("DEL", &id))
        };
        cycle(0);
        let empty: Vec<(f64, f64)> = (0..rounds).map(cycle).collect();
        fill(&suite, &host, &conf, count);
        let full: Vec<(f64, f64)> = (0..rounds).map(cycle).collect();
        let budget = suite.is_weft().then_some(1.1);
        let (before, after) = (
            median(empty.iter().map(|c| c.0)),
            median(full.iter().map(|c| c.0)),
        );
        report.row(
            &format!("{name} ADD: empty, {count} leases, ms"),
            before,
            after,
            budget,
        );
        let (before, after) = (
            median(empty.iter().map(|c| c.1)),
            median(full.iter().map(|c| c.1)),
        );
        report.row(
            &format!("{name} DEL: empty, {count} leases, ms"),
            before,
            after,
            budget,
        );
    }
}

fn fill(suite: &Suite, host: &Host, conf: &Value, count: u32) {
    if !suite.is_weft() {
        let dir = host.dir().join("networks/bench");
        for n in 0..count {
            let address = std::net::Ipv4Addr::from(0x0a40_1000 + n);
            std::fs::write(dir.join(address.to_string()), format!("filler{n}\r\neth0")).unwrap();
        }
        return;
    }
    let name = conf["name"].as_str().unwrap();
    let pool = Pool {
        name: name.to_owned(),
        cool_down: 0,
    };
    let ranges = [Range::new("10.64.0.0/12".parse().unwrap(), None, None, None, &[]).unwrap()];
    let holder = |n: u32| AttachmentId {
        network: name.try_into().unwrap(),
        container_id: format!("filler{n}").as_str().try_into().unwrap(),
        ifname: "eth0".try_into().unwrap(),
    };
    host.store()
        .write(|transaction| {
            for n in 0..count {
                transaction.lease(
                    &pool,
                    &ranges,
                    LeaseRequest::Any,
                    Holder::anywhere(&holder(n)),
                )?;
            }
            Ok::<_, StoreError>(())
        })
        .unwrap();
}
