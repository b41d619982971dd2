//! Items 95 to 99: STATUS.

use std::time::Instant;

use serde_json::{Value, json};
use weft_testkit::{Call, HostState};

use crate::{Item, NotApplicable, World};

fn conf(w: &World) -> Value {
    w.conf_with(&json!({"cniVersion": "1.1.0", "ipMasq": true}))
}

fn not_ready(w: &World) -> Result<(), NotApplicable> {
    let (full, _containers) = w.exhaust();
    let mut status = full.clone();
    status["cniVersion"] = "1.1.0".into();
    assert_eq!(w.verb("STATUS", &status).code(), 50, "no free address");
    let late = w.host.container();
    assert!(!w.call("ADD", &full, &late).is_success());
    // What the next ADD mends, or the administrator in a moment, costs no node.
    w.host.sh(&format!("ip link set {} down", w.network_link()));
    let wide = conf(w);
    w.verb("STATUS", &wide).ok();
    w.host.sh(&format!("ip link set {} up", w.network_link()));
    w.bridge_only()?;
    w.host.sh("nft 'add table inet other; \
         add chain inet other forward { type filter hook forward priority 0; policy drop; }'");
    assert_eq!(w.verb("STATUS", &wide).code(), 51, "nothing gets out");
    w.host.sh("nft add rule inet other forward accept");
    w.verb("STATUS", &wide).ok();
    Ok(())
}

fn unreadable_store(w: &World) -> Result<(), NotApplicable> {
    if w.suite.is_weft() {
        std::fs::create_dir_all(w.host.state_dir()).unwrap();
        std::fs::write(w.host.store().path(), "not a database").unwrap();
        assert_eq!(w.verb("STATUS", &conf(w)).code(), 50);
        return Ok(());
    }
    let dir = w.host.dir().join("networks");
    std::fs::write(&dir, "not a directory").unwrap();
    assert_eq!(w.verb("STATUS", &conf(w)).code(), 50);
    Ok(())
}

fn delegate_asked(w: &World) -> Result<(), NotApplicable> {
    use std::os::unix::fs::PermissionsExt;
    let file = w.host.dir().join("asked");
    let script = "#!/bin/sh\necho '{\"code\":50,\"msg\":\"no more addresses\"}'; exit 1\n";
    std::fs::write(&file, script).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    let conf = w.conf_with(&json!({"cniVersion": "1.1.0", "ipam": {"type": "asked"}}));
    let path = format!("{}:{}", w.suite.bin_dir.display(), w.host.dir().display());
    let call = Call::new(&w.suite, "STATUS", &conf).var("CNI_PATH", &path);
    assert_eq!(call.on(&w.host).code(), 50);
    Ok(())
}

/// Runtimes ask every few seconds. VERSION does nothing at all: what it takes is what a process takes
/// here and now.
fn no_effects(w: &World) -> Result<(), NotApplicable> {
    let before = HostState::of(&w.host);
    let took = |verb: &str| {
        let start = Instant::now();
        w.verb(verb, &conf(w)).ok();
        start.elapsed().as_secs_f64()
    };
    // The fastest of many: others on the processors make any one call slow.
    let (mut status, mut version) = (f64::MAX, f64::MAX);
    for _ in 0..31 {
        status = status.min(took("STATUS"));
        version = version.min(took("VERSION"));
    }
    before.assert_same(&w.host, "STATUS");
    assert!(!w.host.state_dir().exists(), "STATUS has made a directory");
    let ratio = status / version;
    assert!(ratio < 5.0, "{ratio:.1} times VERSION");
    Ok(())
}

pub(crate) const ITEMS: &[Item] = &[
    Item {
        number: "95",
        kind: 'M',
        title: "ready: success",
        check: |w| {
            w.verb("STATUS", &conf(w)).ok();
            let container = w.host.container();
            w.add(&conf(w), &container);
            w.verb("STATUS", &conf(w)).ok();
            Ok(())
        },
    },
    Item {
        number: "96",
        kind: 'M',
        title: "50 when an ADD would fail, 51 when containers suffer",
        check: |w| {
            unreadable_store(&World::new(&w.suite))?;
            not_ready(w)
        },
    },
    Item {
        number: "97",
        kind: 'M',
        title: "asks delegates",
        check: delegate_asked,
    },
    Item {
        number: "98",
        kind: 'M',
        title: "no effects, and no more than a few times what VERSION takes",
        check: no_effects,
    },
    Item {
        number: "99",
        kind: 'M',
        title: "ADD is tried all the same",
        check: |w| {
            let container = w.host.container();
            w.add(&conf(w), &container);
            // A master that is down is refused by ADD itself, whatever STATUS has said.
            w.bridge_only()?;
            w.host.sh("ip link set wtest0 down");
            let next = w.host.container();
            w.add(&conf(w), &next);
            Ok(())
        },
    },
];
