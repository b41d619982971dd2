//! Items 85 to 94: GC.

use serde_json::{Value, json};
use weft_testkit::{Call, Container, HostState};

use crate::{Item, NotApplicable, World};

const VALID: &str = "cni.dev/valid-attachments";
const OLD: &str = "cni.dev/attachments";

fn conf(w: &World) -> Value {
    w.conf_with(&json!({"cniVersion": "1.1.0", "ipMasq": true}))
}

fn entry(container: &Container) -> Value {
    json!({"containerID": container.id(), "ifname": "eth0"})
}

fn gc(w: &World, keys: &Value) {
    let mut conf = conf(w);
    for (key, value) in keys.as_object().unwrap() {
        conf[key] = value.clone();
    }
    let outcome = w.verb("GC", &conf);
    outcome.ok();
    assert_eq!(outcome.stdout, "");
}

fn collects(w: &World) -> Result<(), NotApplicable> {
    let warm = w.host.container();
    w.add(&conf(w), &warm);
    let before = HostState::of(&w.host);
    let (one, two) = (w.host.container(), w.host.container());
    w.add(&conf(w), &one);
    w.add(&conf(w), &two);
    gc(w, &json!({VALID: [entry(&warm)], OLD: [entry(&warm)]}));
    before.assert_same(&w.host, "GC of two stale attachments");
    assert_eq!(w.leases(), 1);
    Ok(())
}

fn spares(w: &World) -> Result<(), NotApplicable> {
    let (mine, other) = (w.host.container(), w.host.container());
    w.add(&conf(w), &mine);
    let mut second = w.suite.network_conf("second", "10.2.0.0/24", w.host.dir());
    second["bridge"] = "wtest1".into();
    w.add(&second, &other);
    let before = HostState::of(&w.host);
    gc(w, &json!({VALID: [entry(&mine)]}));
    before.assert_same(&w.host, "GC that lists everything");
    assert!(mine.reaches("10.1.0.1") && other.reaches("10.2.0.1"));
    Ok(())
}

fn either_key(w: &World) -> Result<(), NotApplicable> {
    for key in [VALID, OLD] {
        let (keep, stale) = (w.host.container(), w.host.container());
        w.add(&conf(w), &keep);
        w.add(&conf(w), &stale);
        gc(w, &json!({key: [entry(&keep)]}));
        assert_eq!(w.leases(), 1, "{key}");
        assert!(keep.succeeds("ip link show eth0") && !stale.succeeds("ip link show eth0"));
    }
    Ok(())
}

fn empty_and_null(w: &World) -> Result<(), NotApplicable> {
    for list in [json!([]), json!(null)] {
        let container = w.host.container();
        w.add(&conf(w), &container);
        gc(w, &json!({VALID: list}));
        assert_eq!(w.leases(), 0);
    }
    Ok(())
}

fn absent_key(w: &World) -> Result<(), NotApplicable> {
    let (alive, mut dead) = (w.host.container(), w.host.container());
    w.add(&conf(w), &alive);
    w.add(&conf(w), &dead);
    dead.kill();
    // The namespace's end is the kernel's to carry out: its interfaces go a moment later.
    for _ in 0..500 {
        if w.bridge_only().is_err()
            || w.host.sh("ip -o link show master wtest0").lines().count() == 1
        {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    gc(w, &json!({}));
    assert!(alive.reaches("10.1.0.1"), "a live container was collected");
    assert_eq!(w.leases(), 1, "the dead one was not collected");
    Ok(())
}

fn forwarded(w: &World) -> Result<(), NotApplicable> {
    use std::os::unix::fs::PermissionsExt;
    let file = w.host.dir().join("collected");
    let log = w.host.dir().join("log");
    std::fs::write(
        &file,
        format!("#!/bin/sh\necho $CNI_COMMAND >> {}\n", log.display()),
    )
    .unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut conf = w.conf_with(&json!({"cniVersion": "1.1.0", "ipam": {"type": "collected"}}));
    conf[VALID] = json!([]);
    let path = format!("{}:{}", w.suite.bin_dir.display(), w.host.dir().display());
    Call::new(&w.suite, "GC", &conf)
        .var("CNI_PATH", &path)
        .on(&w.host)
        .ok();
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "GC\n");
    Ok(())
}

fn goes_on(w: &World) -> Result<(), NotApplicable> {
    let container = w.host.container();
    w.add(&conf(w), &container);
    let mut broken = w.conf_with(&json!({"cniVersion": "1.1.0", "ipam": {"type": "no-such-ipam"}}));
    broken[VALID] = json!([]);
    assert!(
        !w.verb("GC", &broken).is_success(),
        "a missing delegate was ignored"
    );
    assert!(
        !container.succeeds("ip link show eth0"),
        "nothing was collected"
    );
    Ok(())
}

fn beside_adds(w: &World) -> Result<(), NotApplicable> {
    let keep: Vec<Container> = (0..12).map(|_| w.host.container()).collect();
    let mut with_list = conf(w);
    with_list[VALID] = keep.iter().map(entry).collect::<Vec<_>>().into();
    std::thread::scope(|scope| {
        let adds: Vec<_> = keep
            .iter()
            .map(|container| scope.spawn(|| w.call("ADD", &conf(w), container).is_success()))
            .collect();
        for _ in 0..6 {
            w.verb("GC", &with_list).ok();
        }
        assert!(
            adds.into_iter().all(|add| add.join().unwrap()),
            "an ADD failed"
        );
    });
    for container in &keep {
        assert!(container.reaches("10.1.0.1"));
    }
    Ok(())
}

fn lost_record(w: &World) -> Result<(), NotApplicable> {
    let warm = w.host.container();
    w.add(&conf(w), &warm);
    w.del(&conf(w), &warm);
    let before = HostState::of(&w.host);
    let container = w.host.container();
    let result = w.add(&conf(w), &container);
    // The record is lost with its store; for the reference its lease file is.
    let _ = std::fs::remove_file(w.host.store().path());
    let _ = std::fs::remove_file(
        w.host
            .dir()
            .join("networks/net")
            .join(World::address(&result)),
    );
    gc(w, &json!({VALID: []}));
    let left = before.differences(&HostState::of(&w.host));
    let left: Vec<_> = left
        .iter()
        .filter(|line| !line.contains("weft network"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

pub(crate) const ITEMS: &[Item] = &[
    Item {
        number: "85",
        kind: 'M',
        title: "collects what is not listed",
        check: collects,
    },
    Item {
        number: "86",
        kind: 'M',
        title: "spares what is listed, and other networks",
        check: spares,
    },
    Item {
        number: "87",
        kind: 'M',
        title: "takes either key",
        check: either_key,
    },
    Item {
        number: "88",
        kind: 'R',
        title: "[] and null: nothing is valid",
        check: empty_and_null,
    },
    Item {
        number: "89",
        kind: 'B',
        title: "no key: only the dead are collected",
        check: absent_key,
    },
    Item {
        number: "90",
        kind: 'M',
        title: "forwards GC to delegates",
        check: forwarded,
    },
    Item {
        number: "91",
        kind: 'M',
        title: "goes on after an error and reports it",
        check: goes_on,
    },
    Item {
        number: "92",
        kind: 'M',
        title: "can be repeated",
        check: |w| {
            let container = w.host.container();
            w.add(&conf(w), &container);
            for _ in 0..3 {
                gc(w, &json!({VALID: []}));
            }
            assert_eq!(w.leases(), 0);
            Ok(())
        },
    },
    Item {
        number: "93",
        kind: 'M',
        title: "beside ADDs of another runtime",
        check: beside_adds,
    },
    Item {
        number: "94",
        kind: 'S',
        title: "collects what has lost its record",
        check: lost_record,
    },
];
