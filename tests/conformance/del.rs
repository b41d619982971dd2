//! Items 60 to 76: DEL.

use std::path::Path;

use serde_json::{Value, json};
use weft_testkit::{Call, Container, HostState};

use crate::{Item, NotApplicable, World};

/// The host after a warm-up: what outlives single containers is there.
struct Warm {
    conf: Value,
    before: HostState,
}

fn warm(w: &World) -> Warm {
    let conf = w.conf_with(&json!({"ipMasq": true}));
    let container = w.host.container();
    let mut with_result = conf.clone();
    with_result["prevResult"] = w.add(&conf, &container);
    w.call("DEL", &with_result, &container).ok();
    Warm {
        conf,
        before: HostState::of(&w.host),
    }
}

impl Warm {
    /// ADDs a container, DELs it in some way, and requires that nothing is left.
    fn del_by(&self, w: &World, way: impl Fn(&mut Container, &Value) -> Call) {
        let mut container = w.host.container();
        let result = w.add(&self.conf, &container);
        let call = way(&mut container, &result);
        let outcome = call.on(&w.host);
        assert!(outcome.is_success(), "{}", outcome.stdout);
        assert_eq!(outcome.stdout, "");
        settle(w, self);
        assert_eq!(w.leases(), 0, "the lease is left");
        self.before.assert_same(&w.host, "DEL");
    }

    fn call(&self, w: &World, container: &Container) -> Call {
        Call::new(&w.suite, "DEL", &self.conf).container(container)
    }
}

/// A namespace that was just dropped takes its interfaces along a moment later.
fn settle(w: &World, warm: &Warm) {
    for _ in 0..500 {
        if warm
            .before
            .differences(&HostState::of(&w.host))
            .iter()
            .all(|d| !d.contains("links"))
        {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn all_ways(w: &World) -> Result<(), NotApplicable> {
    let warm = warm(w);
    warm.del_by(w, |c, _| warm.call(w, c));
    warm.del_by(w, |c, _| warm.call(w, c).var("CNI_NETNS", ""));
    warm.del_by(w, |c, _| {
        let call = warm.call(w, c);
        c.kill();
        call
    });
    warm.del_by(w, |c, _| {
        c.sh("ip link del eth0");
        warm.call(w, c)
    });
    Ok(())
}

fn netns_missing(w: &World) -> Result<(), NotApplicable> {
    let warm = warm(w);
    warm.del_by(w, |c, _| {
        let call = warm.call(w, c);
        c.kill();
        call
    });
    Ok(())
}

fn never_added(w: &World) -> Result<(), NotApplicable> {
    let container = w.host.container();
    w.del(&w.conf(), &container);
    Ok(())
}

fn older_result(w: &World) -> Result<(), NotApplicable> {
    let warm = warm(w);
    warm.del_by(w, |c, result| {
        let address = result["ips"][0]["address"].clone();
        let mut conf = warm.conf.clone();
        conf["prevResult"] = json!({"cniVersion": "0.4.0", "interfaces": result["interfaces"],
            "ips": [{"version": "4", "interface": 2, "address": address}], "dns": {}});
        Call::new(&w.suite, "DEL", &conf).container(c)
    });
    Ok(())
}

pub(crate) fn other_interface_untouched(w: &World) -> Result<(), NotApplicable> {
    let conf = w.conf_with(&json!({"ipMasq": true, "isDefaultGateway": false, "isGateway": true}));
    let container = w.host.container();
    let first = World::address(&w.add(&conf, &container));
    let second = Call::new(&w.suite, "ADD", &conf)
        .container(&container)
        .ifname("eth1");
    let second_address = World::address(&second.on(&w.host).ok());
    let before = w.rules_about(&first);
    Call::new(&w.suite, "DEL", &conf)
        .container(&container)
        .ifname("eth1")
        .on(&w.host)
        .ok();
    assert!(container.succeeds("ip link show eth0") && container.reaches("10.1.0.1"));
    assert_eq!(
        w.rules_about(&first),
        before,
        "eth0 has lost its masquerade"
    );
    assert!(
        w.rules_about(&second_address).is_empty(),
        "eth1's masquerade is left"
    );
    assert_eq!(w.leases(), 1);
    Ok(())
}

fn late_del(w: &World) -> Result<(), NotApplicable> {
    let mut conf = w.conf_with(&json!({"ipMasq": true}));
    conf["ipam"]["ranges"] = json!([[{"subnet": "10.1.0.0/30"}]]);
    let (a, b) = (w.host.container(), w.host.container());
    let mut late = conf.clone();
    late["prevResult"] = w.add(&conf, &a);
    w.call("DEL", &late, &a).ok();
    let address = World::address(&w.add(&conf, &b));
    assert_eq!(address, "10.1.0.2", "the only address");
    let before = HostState::of(&w.host);
    w.call("DEL", &late, &a).ok();
    before.assert_same(&w.host, "a late DEL of the address's former holder");
    assert!(b.reaches("10.1.0.1"));
    Ok(())
}

fn changed_configuration(w: &World) -> Result<(), NotApplicable> {
    let warm = warm(w);
    warm.del_by(w, |c, _| {
        let mut conf = warm.conf.clone();
        conf["ipMasq"] = json!(false);
        conf["bridge"] = json!("other0");
        conf["ipam"] = json!({"type": w.suite.ipam, "dataDir": warm.conf["ipam"]["dataDir"]});
        Call::new(&w.suite, "DEL", &conf).container(c)
    });
    Ok(())
}

fn missing_ipam_binary(w: &World) -> Result<(), NotApplicable> {
    let conf = w.conf_with(&json!({"ipMasq": true}));
    let container = w.host.container();
    let address = World::address(&w.add(&conf, &container));
    let mut lost = conf;
    lost["ipam"]["type"] = "lost-ipam".into();
    assert!(
        !w.call("DEL", &lost, &container).is_success(),
        "a missing delegate was ignored"
    );
    assert!(!container.succeeds("ip link show eth0"), "eth0 is left");
    assert!(w.rules_about(&address).is_empty(), "masquerade is left");
    Ok(())
}

fn not_a_netns(w: &World) -> Result<(), NotApplicable> {
    let conf = w.conf();
    let file = w.host.dir().join("plain");
    std::fs::write(&file, "x").unwrap();
    let gone = w.host.dir().join("gone");
    for path in [file.as_path(), w.host.dir(), gone.as_path()] {
        Call::new(&w.suite, "DEL", &conf)
            .id("a")
            .netns(path)
            .ifname("eth0")
            .on(&w.host)
            .ok();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "x");
    assert!(!Path::new(&gone).exists());
    Ok(())
}

fn renamed_inside(w: &World) -> Result<(), NotApplicable> {
    let warm = warm(w);
    warm.del_by(w, |c, _| {
        c.sh("ip link set eth0 down && ip link set eth0 name moved0");
        warm.call(w, c)
    });
    Ok(())
}

fn done_when_it_returns(w: &World) -> Result<(), NotApplicable> {
    let conf = w.conf();
    let container = w.host.container();
    for _ in 0..5 {
        w.add(&conf, &container);
        w.del(&conf, &container);
        assert!(!container.succeeds("ip link show eth0"));
    }
    Ok(())
}

fn master_gone(w: &World) -> Result<(), NotApplicable> {
    let (conf, container) = (w.conf(), w.host.container());
    w.add(&conf, &container);
    w.lose_master()?;
    w.del(&conf, &container);
    assert_eq!(w.leases(), 0, "the address is still leased");
    Ok(())
}

pub(crate) const ITEMS: &[Item] = &[
    Item {
        number: "60",
        kind: 'M',
        title: "namespace gone: success",
        check: netns_missing,
    },
    Item {
        number: "61",
        kind: 'M',
        title: "CNI_NETNS empty: success",
        check: |w| {
            let warm = warm(w);
            warm.del_by(w, |c, _| warm.call(w, c).var("CNI_NETNS", ""));
            Ok(())
        },
    },
    Item {
        number: "62",
        kind: 'M',
        title: "interface gone: success",
        check: |w| {
            let warm = warm(w);
            warm.del_by(w, |c, _| {
                c.sh("ip link del eth0");
                warm.call(w, c)
            });
            Ok(())
        },
    },
    Item {
        number: "63",
        kind: 'M',
        title: "never added: success",
        check: never_added,
    },
    Item {
        number: "64",
        kind: 'M',
        title: "three times: success",
        check: |w| {
            let container = w.host.container();
            w.add(&w.conf(), &container);
            for _ in 0..3 {
                w.del(&w.conf(), &container);
            }
            Ok(())
        },
    },
    Item {
        number: "65",
        kind: 'M',
        title: "without prevResult: everything goes",
        check: |w| {
            let warm = warm(w);
            warm.del_by(w, |c, _| warm.call(w, c));
            Ok(())
        },
    },
    Item {
        number: "66",
        kind: 'M',
        title: "with an older version's prevResult",
        check: older_result,
    },
    Item {
        number: "67",
        kind: 'M',
        title: "all host state goes in all these cases",
        check: all_ways,
    },
    Item {
        number: "68",
        kind: 'M',
        title: "no output",
        check: |w| {
            let container = w.host.container();
            w.add(&w.conf(), &container);
            assert_eq!(w.call("DEL", &w.conf(), &container).stdout, "");
            Ok(())
        },
    },
    Item {
        number: "69",
        kind: 'M',
        title: "DEL of eth1 leaves eth0 intact",
        check: other_interface_untouched,
    },
    Item {
        number: "70",
        kind: 'B',
        title: "late DEL leaves the address's new holder intact",
        check: late_del,
    },
    Item {
        number: "71",
        kind: 'S',
        title: "DEL with a configuration that lost keys",
        check: changed_configuration,
    },
    Item {
        number: "72",
        kind: 'M',
        title: "master or device gone: success",
        check: master_gone,
    },
    Item {
        number: "73",
        kind: 'S',
        title: "IPAM binary missing: own things go, then an error",
        check: missing_ipam_binary,
    },
    Item {
        number: "74",
        kind: 'M',
        title: "path is no namespace: success, nothing made",
        check: not_a_netns,
    },
    Item {
        number: "75",
        kind: 'B',
        title: "interface renamed inside: found",
        check: renamed_inside,
    },
    Item {
        number: "76",
        kind: 'S',
        title: "everything is gone when DEL returns",
        check: done_when_it_returns,
    },
];
