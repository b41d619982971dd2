//! Items 77 to 84: CHECK.

use serde_json::{Value, json};
use weft_testkit::{Call, Container, Driver, HostState};

use crate::{Item, NotApplicable, World};

fn conf(w: &World) -> Value {
    let mut conf = w.conf_with(&json!({"ipMasq": true}));
    conf["ipam"]["routes"] = json!([{"dst": "10.70.0.0/16"}]);
    conf
}

/// CHECK must fail after something was broken.
fn fails_after(w: &World, what: &str, break_it: impl Fn(&Container, &Value)) {
    let container = w.host.container();
    let conf = conf(w);
    let result = w.add(&conf, &container);
    w.check(&conf, &result, &container).ok();
    break_it(&container, &result);
    let outcome = w.check(&conf, &result, &container);
    assert!(!outcome.is_success(), "CHECK passed although {what}");
    w.call("DEL", &conf, &container).ok();
}

fn port_of(result: &Value) -> String {
    result["interfaces"][1]["name"].as_str().unwrap().to_owned()
}

fn finds_differences(w: &World) -> Result<(), NotApplicable> {
    fails_after(w, "the interface is deleted", |c, _| {
        drop(c.sh("ip link del eth0"))
    });
    fails_after(w, "the interface is down", |c, _| {
        drop(c.sh("ip link set eth0 down"))
    });
    fails_after(w, "the address is removed", |c, _| {
        drop(c.sh("ip addr flush dev eth0"))
    });
    fails_after(w, "a route is removed", |c, _| {
        drop(c.sh("ip route del 10.70.0.0/16"))
    });
    if w.bridge_only().is_ok() {
        fails_after(w, "the port is off the bridge", |_, r| {
            w.host.sh(&format!("ip link set {} nomaster", port_of(r)));
        });
        fails_after(w, "the masquerade rules are gone", |_, _| {
            drop(w.host.sh("nft flush ruleset"))
        });
    }
    fails_after(w, "the lease is gone", |_, r| {
        if w.suite.is_weft() {
            let _ = std::fs::remove_file(w.host.store().path());
        } else {
            let _ = std::fs::remove_file(w.host.dir().join("networks/net").join(World::address(r)));
        }
    });
    Ok(())
}

fn tolerates_the_chain(w: &World) -> Result<(), NotApplicable> {
    let container = w.host.container();
    let conf = conf(w);
    let mut result = w.add(&conf, &container);
    container.sh("ip link set eth0 mtu 1400");
    // The MAC of an ipvlan is the master's, whatever the chain would like.
    if w.suite.driver != Driver::Ipvlan {
        container.sh("ip link set eth0 address 02:00:00:00:99:01");
        let all = result["interfaces"].as_array_mut().unwrap();
        let own = all.iter_mut().find(|one| one["name"] == "eth0").unwrap();
        own["mac"] = "02:00:00:00:99:01".into();
    }
    w.check(&conf, &result, &container).ok();
    Ok(())
}

fn gateway_compared(w: &World) -> Result<(), NotApplicable> {
    let container = w.host.container();
    let result = w.add(&w.conf(), &container);
    container.sh("ip route replace default via 10.1.0.200");
    assert!(!w.check(&w.conf(), &result, &container).is_success());
    Ok(())
}

fn delegate_checked(w: &World) -> Result<(), NotApplicable> {
    use std::os::unix::fs::PermissionsExt;
    let file = w.host.dir().join("checked");
    let log = w.host.dir().join("log");
    let script = format!(
        "#!/bin/sh\necho $CNI_COMMAND >> {}; [ $CNI_COMMAND = ADD ] && \
         echo '{{\"cniVersion\":\"1.0.0\",\"ips\":[{{\"address\":\"10.1.0.9/24\"}}]}}'; exit 0\n",
        log.display()
    );
    std::fs::write(&file, script).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", w.suite.bin_dir.display(), w.host.dir().display());
    let mut conf = w.conf_with(&json!({"ipam": {"type": "checked"}, "isDefaultGateway": false}));
    let container = w.host.container();
    let call = |command: &str, conf: &Value| {
        let call = Call::new(&w.suite, command, conf).container(&container);
        call.var("CNI_PATH", &path).on(&w.host)
    };
    conf["prevResult"] = call("ADD", &conf).ok();
    call("CHECK", &conf).ok();
    assert!(std::fs::read_to_string(&log).unwrap().contains("CHECK"));
    Ok(())
}

fn changes_nothing(w: &World) -> Result<(), NotApplicable> {
    let container = w.host.container();
    let conf = conf(w);
    let result = w.add(&conf, &container);
    let before = HostState::of(&w.host);
    w.check(&conf, &result, &container).ok();
    container.sh("ip addr flush dev eth0");
    w.check(&conf, &result, &container);
    before.assert_same(&w.host, "CHECK");
    Ok(())
}

fn all_differences(w: &World) -> Result<(), NotApplicable> {
    let container = w.host.container();
    let conf = conf(w);
    let result = w.add(&conf, &container);
    container.sh("ip addr flush dev eth0; ip link set eth0 mtu 1300; ip link set eth0 down");
    if w.bridge_only().is_ok() {
        w.host
            .sh(&format!("ip link set {} nomaster", port_of(&result)));
    }
    let error = w.check(&conf, &result, &container).error();
    let list: Vec<String> = serde_json::from_str(error["details"].as_str().unwrap_or_default())
        .unwrap_or_else(|_| panic!("details are no list: {error}"));
    assert!(list.len() >= 3, "{list:?}");
    Ok(())
}

pub(crate) const ITEMS: &[Item] = &[
    Item {
        number: "77",
        kind: 'M',
        title: "no prevResult: error",
        check: |w| {
            let container = w.host.container();
            w.add(&w.conf(), &container);
            w.call("CHECK", &w.conf(), &container).error();
            Ok(())
        },
    },
    Item {
        number: "78",
        kind: 'M',
        title: "passes right after ADD",
        check: |w| {
            for version in w.versions() {
                let container = w.host.container();
                let result = w.add(&w.conf_of(&version), &container);
                w.check(&w.conf_of(&version), &result, &container).ok();
            }
            Ok(())
        },
    },
    Item {
        number: "79",
        kind: 'M',
        title: "fails when something is missing",
        check: finds_differences,
    },
    Item {
        number: "80",
        kind: 'M',
        title: "passes when the chain changed MAC or MTU",
        check: tolerates_the_chain,
    },
    Item {
        number: "81",
        kind: 'S',
        title: "compares the default route's gateway",
        check: gateway_compared,
    },
    Item {
        number: "82",
        kind: 'M',
        title: "calls the delegate's CHECK",
        check: delegate_checked,
    },
    Item {
        number: "83",
        kind: 'M',
        title: "changes nothing",
        check: changes_nothing,
    },
    Item {
        number: "84",
        kind: 'B',
        title: "lists every difference in details",
        check: all_differences,
    },
];
