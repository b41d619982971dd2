//! Items 107 to 113: address management.

use serde_json::{Value, json};
use weft_testkit::{Call, Container, Outcome};

use crate::{Item, NotApplicable, World};

fn add(w: &World, conf: &Value, id: &str, args: &str) -> Outcome {
    let call = Call::new(&w.suite, "ADD", conf)
        .id(id)
        .netns("/dev/null".as_ref())
        .ifname("eth0");
    call.var("CNI_ARGS", args).on(&w.host)
}

fn del(w: &World, conf: &Value, id: &str) {
    Call::new(&w.suite, "DEL", conf)
        .id(id)
        .ifname("eth0")
        .on(&w.host)
        .ok();
}

fn requests(w: &World) -> Result<(), NotApplicable> {
    let conf = w.ipam_conf();
    assert_eq!(
        World::address(&add(w, &conf, "a", "IP=10.1.0.99").ok()),
        "10.1.0.99"
    );
    for refused in [
        "IP=10.1.0.99",
        "IP=10.1.0.1",
        "IP=10.2.0.5",
        "IP=10.1.0.255",
    ] {
        assert!(!add(w, &conf, "b", refused).is_success(), "{refused}");
    }
    assert_eq!(w.leases(), 1);
    Ok(())
}

fn all_or_nothing(w: &World) -> Result<(), NotApplicable> {
    let mut conf = w.ipam_conf();
    conf["ipam"]["ranges"] = json!([[{"subnet": "10.1.0.0/24"}], [{"subnet": "10.5.0.0/30"}]]);
    let first = add(w, &conf, "a", "").ok();
    assert_eq!(first["ips"].as_array().unwrap().len(), 2);
    assert!(
        !add(w, &conf, "b", "").is_success(),
        "the second range has one address"
    );
    assert_eq!(w.leases(), 2, "half an allocation is left");
    Ok(())
}

/// Four workers add and delete at once, some calls are killed; an address is never in two hands.
fn no_address_twice(w: &World) -> Result<(), NotApplicable> {
    use std::collections::BTreeMap;
    use std::sync::Mutex;
    let held: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());
    let conf = w.ipam_conf();
    let worker = |number: usize| {
        for round in 0..25 {
            let id = format!("w{number}-{round}");
            let outcome = add(w, &conf, &id, "");
            let address = World::address(&outcome.ok());
            let before = held.lock().unwrap().insert(address.clone(), id.clone());
            assert_eq!(before, None, "{address} is held twice");
            held.lock().unwrap().remove(&address);
            del(w, &conf, &id);
        }
    };
    std::thread::scope(|scope| {
        for number in 0..4 {
            scope.spawn(move || worker(number));
        }
    });
    assert_eq!(w.leases(), 0);
    Ok(())
}

/// An empty host and a full one are called in turn: what disturbs the machine meets both.
fn flat(w: &World) -> Result<(), NotApplicable> {
    let empty = World::new(&w.suite);
    let add_one = |w: &World, id: &str| {
        let mut conf = w.ipam_conf();
        conf["ipam"]["ranges"] = json!([[{"subnet": "10.64.0.0/12"}]]);
        let start = std::time::Instant::now();
        add(w, &conf, id, "").ok();
        start.elapsed()
    };
    // The first call makes the store; it is not what is compared.
    add_one(&empty, "first");
    add_one(w, "first");
    match w.suite.is_weft() {
        true => fill_store(w, 20_000),
        false => fill_directory(w, 20_000),
    }
    let turn = |round: u32| {
        let id = format!("c{round}");
        let none = add_one(&empty, &id).as_secs_f64();
        add_one(w, &id).as_secs_f64() / none
    };
    let mut ratios: Vec<f64> = (0..61).map(turn).collect();
    ratios.sort_by(f64::total_cmp);
    let median = ratios[ratios.len() / 2];
    assert!(
        median < 3.0,
        "with 20,000 leases {median:.1} times what it takes with none: {ratios:.1?}"
    );
    Ok(())
}

fn fill_store(w: &World, count: u32) {
    use weft_store::{Holder, LeaseRequest, Pool, Range};
    let pool = Pool {
        name: "net".into(),
        cool_down: 0,
    };
    let range = Range::new("10.64.0.0/12".parse().unwrap(), None, None, None, &[]).unwrap();
    let id = |n: u32| weft_cni::AttachmentId {
        network: "net".try_into().unwrap(),
        container_id: format!("filler{n}").as_str().try_into().unwrap(),
        ifname: "eth0".try_into().unwrap(),
    };
    let ranges = [range];
    w.host
        .store()
        .write(|transaction| {
            for n in 0..count {
                transaction.lease(&pool, &ranges, LeaseRequest::Any, Holder::anywhere(&id(n)))?;
            }
            Ok::<_, weft_store::StoreError>(())
        })
        .unwrap();
}

fn fill_directory(w: &World, count: u32) {
    let dir = w.host.dir().join("networks/net");
    for n in 0..count {
        let address = std::net::Ipv4Addr::from(0x0a40_0100 + n);
        std::fs::write(dir.join(address.to_string()), format!("filler{n}\r\neth0")).unwrap();
    }
}

fn torn_store(w: &World) -> Result<(), NotApplicable> {
    let conf = w.conf();
    let container: Container = w.host.container();
    w.add(&conf, &container);
    if w.suite.is_weft() {
        let path = w.host.store().path();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(std::fs::metadata(&path).unwrap().len() / 3)
            .unwrap();
        let error = w.call("ADD", &conf, &w.host.container()).error();
        assert!(
            error["msg"].as_str().unwrap().contains("store.redb"),
            "{error}"
        );
    } else {
        for entry in std::fs::read_dir(w.host.dir().join("networks/net"))
            .unwrap()
            .flatten()
        {
            std::fs::write(entry.path(), "").unwrap();
        }
    }
    w.del(&conf, &container);
    assert!(!container.succeeds("ip link show eth0"), "eth0 is left");
    if w.suite.is_weft() {
        w.host
            .store()
            .replace(|_| Ok::<_, weft_store::StoreError>(()))
            .unwrap();
    }
    assert_eq!(w.leases(), 0, "the lease is left for ever");
    Ok(())
}

pub(crate) const ITEMS: &[Item] = &[
    Item {
        number: "107",
        kind: 'M',
        title: "IPAM result without interfaces",
        check: |w| {
            let result = add(w, &w.ipam_conf(), "a", "").ok();
            assert!(result["interfaces"].is_null(), "{result}");
            assert!(result["ips"][0]["interface"].is_null(), "{result}");
            assert_eq!(result["ips"][0]["gateway"], "10.1.0.1");
            Ok(())
        },
    },
    Item {
        number: "108",
        kind: 'M',
        title: "ADD twice: never a second address",
        check: |w| {
            add(w, &w.ipam_conf(), "a", "").ok();
            add(w, &w.ipam_conf(), "a", "");
            assert_eq!(w.leases(), 1);
            Ok(())
        },
    },
    Item {
        number: "109",
        kind: 'M',
        title: "requested address or error; never the gateway",
        check: requests,
    },
    Item {
        number: "110",
        kind: 'M',
        title: "several ranges: all or nothing",
        check: all_or_nothing,
    },
    Item {
        number: "111",
        kind: 'M',
        title: "no address twice in parallel",
        check: no_address_twice,
    },
    Item {
        number: "112",
        kind: 'B',
        title: "no growth with the number of leases",
        check: flat,
    },
    Item {
        number: "113",
        kind: 'B',
        title: "a torn store blocks no DEL and leaks nothing",
        check: torn_store,
    },
];
