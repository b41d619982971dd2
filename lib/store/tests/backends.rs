//! One suite for both backends: what the store promises, whatever is below it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;
use weft_cni::AttachmentId;
use weft_store::{
    AddressRecord, AttachmentRecord, BackendKind, Change, Holder, LeaseRequest, NetworkRecord,
    NftRecord, Pool, PortRecord, Position, Range, SharedObject, Store, StoreConfig, StoreError,
    Transaction,
};

const BACKENDS: [BackendKind; 2] = [BackendKind::Redb, BackendKind::Sled];

fn store(backend: BackendKind) -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(StoreConfig {
        dir: dir.path().join("state"),
        backend,
        lock_timeout: Duration::from_secs(20),
        boot_id: Some("this boot".into()),
    });
    (dir, store)
}

fn id(container: &str) -> AttachmentId {
    AttachmentId {
        network: "net".try_into().unwrap(),
        container_id: container.try_into().unwrap(),
        ifname: "eth0".try_into().unwrap(),
    }
}

fn pool() -> Pool {
    Pool {
        name: "net".into(),
        cool_down: 0,
    }
}

fn range(subnet: &str) -> Range {
    Range::new(subnet.parse().unwrap(), None, None, None, &[]).unwrap()
}

fn record(container: &str, address: IpAddr, shared: Vec<SharedObject>) -> AttachmentRecord {
    let mut record = AttachmentRecord::new(id(container), "test");
    record.created_at = 1;
    record.instance = 1;
    record.addresses = vec![AddressRecord {
        address: ipnetwork::IpNetwork::new(address, 24).unwrap(),
        gateway: None,
        pool: Some("net".into()),
        subnet_prefix: None,
    }];
    record.shared = shared;
    record
}

fn attach(store: &Store, container: &str, shared: &[SharedObject]) -> Result<IpAddr, StoreError> {
    store.write(|t| {
        let ranges = [range("10.0.0.0/29")];
        let address = t
            .lease(
                &pool(),
                &ranges,
                LeaseRequest::Any,
                Holder::anywhere(&id(container)),
            )?
            .address;
        t.insert_attachment(&record(container, address, shared.to_vec()))?;
        Ok(address)
    })
}

fn detach(store: &Store, container: &str) {
    store
        .write(|t| t.remove_attachment(&id(container)))
        .unwrap();
}

#[test]
fn what_one_transaction_writes_the_next_reads() {
    for backend in BACKENDS {
        let (_dir, store) = store(backend);
        let address = attach(&store, "a", &[]).unwrap();
        let found = store.read(|t| t.attachment(&id("a"))).unwrap().unwrap();
        assert_eq!(found, record("a", address, Vec::new()));
        assert!(store.read(|t| t.attachment(&id("b"))).unwrap().is_none());
    }
}

#[test]
fn a_failed_transaction_writes_nothing() {
    for backend in BACKENDS {
        let (_dir, store) = store(backend);
        attach(&store, "a", &[]).unwrap();
        let error = attach(&store, "a", &[]).unwrap_err();
        assert!(
            matches!(error, StoreError::AttachmentExists { .. }),
            "{error}"
        );
        assert_eq!(
            store.read(|t| t.leases()).unwrap().len(),
            1,
            "the second lease was kept"
        );
        assert!(store.read(|t| t.findings()).unwrap().is_empty());
    }
}

#[test]
fn reading_makes_nothing() {
    for backend in BACKENDS {
        let (dir, store) = store(backend);
        assert!(store.read(|t| t.attachments()).unwrap().is_empty());
        assert!(!dir.path().join("state").exists());
    }
}

#[test]
fn what_a_read_changes_is_forgotten() {
    for backend in BACKENDS {
        let (_dir, store) = store(backend);
        attach(&store, "a", &[]).unwrap();
        store.read(|t| t.remove_attachment(&id("a"))).unwrap();
        assert!(store.read(|t| t.attachment(&id("a"))).unwrap().is_some());
    }
}

#[test]
fn shared_objects_are_idle_when_their_last_user_goes() {
    let bridge = SharedObject::Bridge { name: "br0".into() };
    let element = SharedObject::NftElement {
        element: NftRecord {
            set: "local4".into(),
            key: "00".into(),
            key_end: None,
            value: None,
        },
    };
    for backend in BACKENDS {
        let (_dir, store) = store(backend);
        attach(&store, "a", &[bridge.clone(), element.clone()]).unwrap();
        attach(&store, "b", std::slice::from_ref(&bridge)).unwrap();
        detach(&store, "a");
        let idle = store.read(|t| t.idle_objects()).unwrap();
        assert_eq!(idle, std::slice::from_ref(&element));
        detach(&store, "b");
        detach(&store, "b");
        assert_eq!(store.read(|t| t.idle_objects()).unwrap().len(), 2);
        // Somebody uses the bridge again before it was removed.
        attach(&store, "c", std::slice::from_ref(&bridge)).unwrap();
        let forget = |t: &mut Transaction<'_>| {
            t.forget_idle(&bridge)?;
            t.forget_idle(&element)
        };
        store.write(forget).unwrap();
        assert_eq!(store.read(|t| t.users_of(&bridge)).unwrap(), 1);
        assert_eq!(store.read(|t| t.shared_objects()).unwrap().len(), 1);
    }
}

#[test]
fn changes_are_read_from_a_position_on() {
    for backend in BACKENDS {
        let (_dir, store) = store(backend);
        assert_eq!(
            store.news_since(Position::default()).unwrap().changes,
            Some(Vec::new()),
            "there is no store yet"
        );
        attach(&store, "a", &[]).unwrap();
        let first = store.read(|t| t.position()).unwrap();
        attach(&store, "b", &[]).unwrap();
        detach(&store, "a");
        let network = NetworkRecord::default();
        store
            .write(|t| {
                t.put_network("net", &network)
                    .and_then(|()| t.put_network("net", &network))
            })
            .unwrap();
        store.write(|t| t.remove_network("net")).unwrap();
        let name = "net".to_owned();
        let news = store.news_since(first).unwrap();
        assert_eq!(
            news.changes.unwrap(),
            [
                Change::Attached { id: id("b") },
                Change::Detached { id: id("a") },
                Change::Network { name: name.clone() },
                Change::NetworkRemoved { name },
            ]
        );
        assert_eq!(news.position.sequence, first.sequence + 4);
        let none = store.news_since(news.position).unwrap();
        assert_eq!(
            (none.position, none.changes),
            (news.position, Some(Vec::new()))
        );
    }
}

#[test]
fn a_reader_that_fell_behind_is_told() {
    let (_dir, store) = store(BackendKind::Redb);
    attach(&store, "b", &[]).unwrap();
    let behind = store.read(|t| t.position()).unwrap();
    store
        .write(|t| {
            for _ in 0..4200 {
                t.insert_attachment(&record("a", [10, 0, 0, 9].into(), Vec::new()))?;
                t.remove_attachment(&id("a"))?;
            }
            Ok::<_, StoreError>(())
        })
        .unwrap();
    let news = store.news_since(behind).unwrap();
    assert_eq!(news.changes, None);
    let near = Position {
        sequence: news.position.sequence - 1,
        ..news.position
    };
    assert_eq!(store.news_since(near).unwrap().changes.unwrap().len(), 1);
}

#[test]
fn a_database_in_the_place_of_another_is_told_from_it() {
    let (_dir, store) = store(BackendKind::Redb);
    attach(&store, "a", &[]).unwrap();
    attach(&store, "b", &[]).unwrap();
    let seen = store.read(|t| t.position()).unwrap();
    store
        .replace(|t| {
            for container in ["c", "d", "e"] {
                t.insert_attachment(&record(container, [10, 0, 0, 9].into(), Vec::new()))?;
            }
            Ok::<_, StoreError>(())
        })
        .unwrap();
    let news = store.news_since(seen).unwrap();
    assert_eq!(news.changes, None, "its numbers are others");
    std::fs::remove_file(store.path()).unwrap();
    let _ = std::fs::remove_file(store.path().with_extension("redb.delta"));
    assert_eq!(store.news_since(news.position).unwrap().changes, None);
}

#[test]
fn damage_is_told_apart_and_moved_aside() {
    for backend in BACKENDS {
        let (_dir, store) = store(backend);
        attach(&store, "a", &[]).unwrap();
        match backend {
            BackendKind::Redb => std::fs::write(store.path(), vec![7; 5000]).unwrap(),
            BackendKind::Sled => {
                std::fs::remove_dir_all(store.path()).unwrap();
                std::fs::write(store.path(), "not a directory").unwrap();
            }
        }
        let error = attach(&store, "b", &[]).unwrap_err();
        assert!(
            error.to_string().contains(store.path().to_str().unwrap()),
            "{error}"
        );
        let unwilling = || StoreError::Backend {
            path: store.path(),
            reason: "no".into(),
        };
        assert!(store.replace(|_| Err::<(), _>(unwilling())).is_err());
        assert!(
            attach(&store, "b", &[]).is_err(),
            "the old one is back in its place"
        );
        let aside = store.replace(|_| Ok::<_, StoreError>(())).unwrap().unwrap();
        assert!(aside.exists());
        assert!(attach(&store, "b", &[]).is_ok());
        assert!(store.read(|t| t.attachment(&id("a"))).unwrap().is_none());
    }
}

#[test]
fn changes_beside_a_database_go_with_it() {
    let (dir, store) = store(BackendKind::Redb);
    let changes = dir.path().join("state/store.redb.delta");
    // The first goes into the database.
    attach(&store, "a", &[]).unwrap();
    attach(&store, "b", &[]).unwrap();
    assert!(changes.exists());
    let aside = store
        .replace(|t| t.put_idle(&SharedObject::Ruleset))
        .unwrap()
        .unwrap();
    assert!(aside.with_extension("damaged-1.delta").exists() && !changes.exists());
    assert!(store.read(|t| t.attachments()).unwrap().is_empty());
    attach(&store, "c", &[]).unwrap();
    std::fs::write(&changes, "garbage").unwrap();
    let error = attach(&store, "d", &[]).unwrap_err();
    assert!(
        matches!(&error, StoreError::Damaged { path, .. } if *path == changes),
        "{error}"
    );
    let unwilling = || StoreError::Backend {
        path: store.path(),
        reason: "no".into(),
    };
    assert!(store.replace(|_| Err::<(), _>(unwilling())).is_err());
    assert_eq!(std::fs::read(&changes).unwrap(), b"garbage", "as it was");
    store.replace(|_| Ok::<_, StoreError>(())).unwrap().unwrap();
    attach(&store, "d", &[]).unwrap();
    assert_eq!(store.read(|t| t.attachments()).unwrap().len(), 1);
}

#[test]
fn a_database_of_before_is_gone_on_with() {
    let (_dir, store) = store(BackendKind::Redb);
    attach(&store, "a", &[]).unwrap();
    attach(&store, "b", &[]).unwrap();
    let copy = store.path().with_extension("copy");
    std::fs::copy(store.path(), &copy).unwrap();
    // Enough that the database is written to again, and more beside it.
    for n in 0..150 {
        detach(&store, "b");
        attach(
            &store,
            "b",
            &[SharedObject::Bridge {
                name: format!("bridge{n}"),
            }],
        )
        .unwrap();
    }
    let is_same = std::fs::read(&copy).unwrap() == std::fs::read(store.path()).unwrap();
    assert!(!is_same, "the control");
    std::fs::rename(copy, store.path()).unwrap();
    assert!(store.read(|t| t.attachment(&id("a"))).unwrap().is_some());
    let b = store.read(|t| t.attachment(&id("b"))).unwrap();
    assert!(
        b.is_none_or(|b| b.shared.is_empty()),
        "nothing of after the copy"
    );
    attach(&store, "c", &[]).unwrap();
    assert!(store.read(|t| t.findings()).unwrap().is_empty());
}

/// Ranges that change, shrink, grow or share a subnet lose no address.
#[test]
fn no_address_is_lost_when_ranges_change() {
    let of = |subnet: &str, start: &str, end: &str| {
        let ip = |text: &str| Some(text.parse().unwrap());
        Range::new(subnet.parse().unwrap(), ip(start), ip(end), None, &[]).unwrap()
    };
    let wide = [of("10.0.0.0/24", "10.0.0.2", "10.0.0.6")];
    let narrow = [of("10.0.0.0/24", "10.0.0.2", "10.0.0.3")];
    let other = [of("10.0.0.0/28", "10.0.0.2", "10.0.0.6")];
    let two = [
        of("10.0.0.0/24", "10.0.0.2", "10.0.0.3"),
        of("10.0.0.0/24", "10.0.0.5", "10.0.0.6"),
    ];
    let (_dir, store) = store(BackendKind::Redb);
    let fill_and_empty = |ranges: &[Range]| {
        let mut count = 0;
        loop {
            let name = format!("c{count}");
            let leased = store.write(|t| {
                let leased = t.lease(
                    &pool(),
                    ranges,
                    LeaseRequest::Any,
                    Holder::anywhere(&id(&name)),
                )?;
                t.insert_attachment(&record(&name, leased.address, Vec::new()))
            });
            if leased.is_err() {
                break;
            }
            count += 1;
        }
        (0..count)
            .rev()
            .for_each(|n| detach(&store, &format!("c{n}")));
        count
    };
    for (ranges, size) in [
        (&wide[..], 5),
        (&narrow, 2),
        (&wide, 5),
        (&other, 5),
        (&two, 4),
        (&wide, 5),
    ] {
        assert_eq!(fill_and_empty(ranges), size);
    }
    let excluding = [Range::new(
        "10.0.0.0/24".parse().unwrap(),
        Some("10.0.0.2".parse().unwrap()),
        Some("10.0.0.6".parse().unwrap()),
        None,
        &["10.0.0.4/32".parse().unwrap()],
    )
    .unwrap()];
    assert_eq!(fill_and_empty(&excluding), 4);
    assert_eq!(fill_and_empty(&wide), 5);
}

#[derive(Debug, Clone)]
enum Step {
    Attach(u8),
    Request(u8, u8),
    Detach(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0u8..12).prop_map(Step::Attach),
        (0u8..12, 0u8..16).prop_map(|(who, host)| Step::Request(who, host)),
        (0u8..12).prop_map(Step::Detach),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is asked for in whatever order: no address has two holders, none outside the range
    /// is given, none is lost, and a full range says so.
    #[test]
    fn leases_are_exclusive_and_complete(steps in steps()) {
        let (_dir, store) = store(BackendKind::Redb);
        let ranges = [range("10.0.0.0/28")];
        let capacity = usize::try_from(ranges[0].capacity()).unwrap();
        let mut held = std::collections::BTreeMap::new();
        for step in steps {
            let (who, request) = match step {
                Step::Detach(who) => {
                    detach(&store, &who.to_string());
                    held.remove(&who);
                    continue;
                }
                Step::Attach(who) => (who, LeaseRequest::Any),
                Step::Request(who, host) => (who, LeaseRequest::Exactly([10, 0, 0, host].into())),
            };
            let outcome: Result<IpAddr, StoreError> = store.write(|t| {
                t.refuse_duplicate(&id(&who.to_string()))?;
                let address = t.lease(&pool(), &ranges, request, Holder::anywhere(&id(&who.to_string())))?.address;
                t.insert_attachment(&record(&who.to_string(), address, Vec::new()))?;
                Ok(address)
            });
            match outcome {
                Ok(address) => {
                    prop_assert!(ranges[0].contains(address));
                    prop_assert!(!held.values().any(|other| *other == address), "{address} twice");
                    prop_assert!(held.insert(who, address).is_none());
                }
                Err(StoreError::AttachmentExists { .. }) => prop_assert!(held.contains_key(&who)),
                Err(StoreError::AddressTaken { address, .. }) => {
                    prop_assert!(held.values().any(|other| *other == address));
                }
                Err(StoreError::AddressUnusable { address, .. }) => {
                    prop_assert!(!ranges[0].contains(address));
                }
                Err(StoreError::Exhausted { .. }) => prop_assert_eq!(held.len(), capacity),
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
        prop_assert_eq!(store.read(|t| t.leases()).unwrap().len(), held.len());
        prop_assert!(store.read(|t| t.findings()).unwrap().is_empty());
    }
}

fn ports(protocol: u8, numbers: &[u16], host_ip: Option<&str>, address: &str) -> Vec<PortRecord> {
    let port = |number: &u16| PortRecord {
        protocol,
        host_port: *number,
        host_ip: host_ip.map(|ip| ip.parse().unwrap()),
        address: address.parse().unwrap(),
        container_port: 80,
    };
    numbers.iter().map(port).collect()
}

#[test]
fn ports_that_follow_each_other_are_claimed_one_by_one() {
    let run: Vec<u16> = (8080..=8090).collect();
    let around: Vec<u16> = (8000..=8200).collect();
    let (v4, v6) = ("10.0.0.2", "fd00::2");
    let held = [
        (ports(6, &[8079, 8091, 80, 9], None, v4), None),
        (ports(17, &run, None, v4), None),
        (ports(6, &run, None, v6), None),
        (ports(6, &[8080], None, v4), Some("8080/tcp")),
        (ports(6, &[8085], Some("192.0.2.1"), v4), Some("8085/tcp")),
        (ports(6, &[8090, 8091], None, v4), Some("8090/tcp")),
        (ports(6, &around, None, v4), Some("8080/tcp")),
    ];
    for backend in BACKENDS {
        for (others, conflict) in &held {
            let (_dir, store) = store(backend);
            let publish = |container: &str, ports: &[PortRecord]| {
                let mut record = AttachmentRecord::new(id(container), "test");
                record.set_addition(weft_store::Addition::Ports(ports.to_vec()));
                store.write(|t| t.replace_attachment(&record))
            };
            publish("other", others).unwrap();
            let outcome = publish("own", &ports(6, &run, None, v4));
            match conflict {
                None => outcome.unwrap(),
                Some(wanted) => match outcome.unwrap_err() {
                    StoreError::PortTaken { port, holder } => {
                        assert_eq!((port.as_str(), *holder), (*wanted, id("other")));
                    }
                    error => panic!("{error}"),
                },
            }
            // Again with others of its own, in any order, beside those that it gives back.
            publish("other", &[]).unwrap();
            publish("own", &ports(6, &run, None, v4)).unwrap();
            publish("own", &ports(6, &[8087, 8086, 9000, 8088], None, v4)).unwrap();
            publish("other", &ports(6, &[8085, 8089], None, v4)).unwrap();
            publish("other", &ports(6, &[8085, 8086], None, v4)).unwrap_err();
        }
    }
}

#[test]
fn who_wants_a_lock_alone_is_not_passed_for_ever() {
    use std::sync::atomic::{AtomicBool, Ordering};
    use weft_store::Sharing;
    let (_dir, store) = store(BackendKind::Redb);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for turn in 0..40 {
            let (store, is_over) = (&store, &is_over);
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(turn));
                while !is_over.load(Ordering::Relaxed) {
                    let _held = store.named_lock("links", Sharing::Shared).unwrap();
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
        }
        std::thread::sleep(Duration::from_millis(50));
        let started = std::time::Instant::now();
        let outcome = store.named_lock("links", Sharing::Exclusive);
        let waited = started.elapsed();
        is_over.store(true, Ordering::Relaxed);
        outcome.unwrap();
        // Passed, it waits until its time is up.
        assert!(waited < store.lock_timeout(), "{waited:?}");
    });
}

#[test]
fn who_stands_in_the_turnstile_is_not_the_holder() {
    use weft_store::Sharing;
    let (dir, patient) = store(BackendKind::Redb);
    let hasty = Store::new(StoreConfig {
        dir: dir.path().join("state"),
        backend: BackendKind::Redb,
        lock_timeout: Duration::from_millis(100),
        boot_id: None,
    });
    let held = patient.named_lock("links", Sharing::Shared).unwrap();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| patient.named_lock("links", Sharing::Exclusive));
        // It is passed until it closes the turnstile.
        let error = loop {
            match hasty.named_lock("links", Sharing::Shared) {
                Ok(passed) => drop(passed),
                Err(error) => break error,
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        assert!(
            error
                .to_string()
                .contains("/links.lock is locked by process"),
            "{error}"
        );
        drop(held);
        waits.join().unwrap().unwrap();
    });
    hasty.named_lock("links", Sharing::Shared).unwrap();
}
