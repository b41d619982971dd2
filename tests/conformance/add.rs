//! Items 38 to 59: ADD.

use serde_json::{Value, json};
use weft_testkit::{Call, HostState};

use crate::{Item, NotApplicable, World};

/// A plugin in a directory of its own, for delegation: a shell script.
fn fake_plugin(w: &World, name: &str, script: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let dir = w.host.dir().join("fake");
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join(name);
    std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:{}", w.suite.bin_dir.display(), dir.display())
}

fn delegating(w: &World, plugin: &str) -> Value {
    w.conf_with(&json!({"ipam": {"type": plugin}, "isDefaultGateway": false, "isGateway": true}))
}

fn up_in_netns(w: &World) -> Result<(), NotApplicable> {
    let container = w.host.container();
    w.add(&w.conf(), &container);
    let link = container.sh("ip -o link show eth0");
    assert!(link.contains("UP"), "{link}");
    if w.bridge_only().is_ok() {
        let port = w.host.sh("ip -o link show type veth");
        assert!(port.contains("master wtest0"), "{port}");
    }
    Ok(())
}

fn name_taken(w: &World) -> Result<(), NotApplicable> {
    let container = w.host.container();
    container.sh("ip link add eth0 type veth peer name other && ip addr add 10.9.9.9/32 dev eth0");
    let before = container.sh("ip -o addr; ip -o link");
    let host_before = HostState::of(&w.host);
    assert!(!w.call("ADD", &w.conf(), &container).is_success());
    assert_eq!(container.sh("ip -o addr; ip -o link"), before);
    if w.suite.is_weft() {
        host_before.assert_same(&w.host, "ADD with the name taken");
    }
    assert_eq!(w.leases(), 0);
    Ok(())
}

fn interfaces_listed(w: &World) -> Result<(), NotApplicable> {
    let container = w.host.container();
    let result = w.add(&w.conf(), &container);
    let interfaces = result["interfaces"].as_array().unwrap();
    let names: Vec<&str> = interfaces
        .iter()
        .map(|i| i["name"].as_str().unwrap())
        .collect();
    if w.bridge_only().is_ok() {
        let ports = w.host.sh("ip -o link show master wtest0");
        let port = ports.split(": ").nth(1).unwrap();
        let port = port.split('@').next().unwrap();
        assert!(
            names.contains(&port) && names.contains(&"wtest0"),
            "{names:?} {port}"
        );
    } else {
        assert_eq!(names, ["eth0"]);
    }
    for interface in interfaces {
        let sandbox = interface["sandbox"].as_str().unwrap_or("");
        let expected = if interface["name"] == "eth0" {
            container.path().to_str().unwrap()
        } else {
            ""
        };
        assert_eq!(sandbox, expected, "{interface}");
    }
    Ok(())
}

fn macs_are_true(w: &World) -> Result<(), NotApplicable> {
    for _ in 0..4 {
        let container = w.host.container();
        let result = w.add(&w.conf_of(&w.newest()), &container);
        for interface in result["interfaces"].as_array().unwrap() {
            let name = interface["name"].as_str().unwrap();
            let command = format!("ip -o link show dev {name}");
            let actual = match name {
                "eth0" => container.sh(&command),
                _ => w.host.sh(&command),
            };
            let mac = interface["mac"].as_str().unwrap();
            assert!(actual.contains(mac), "{interface} is {actual}");
            if let Some(mtu) = interface["mtu"].as_u64() {
                assert!(
                    actual.contains(&format!("mtu {mtu} ")),
                    "{interface} is {actual}"
                );
            }
        }
    }
    Ok(())
}

fn shapes(w: &World) -> Result<(), NotApplicable> {
    let newest = w.newest();
    let versions = [
        "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0",
    ];
    for version in versions
        .into_iter()
        .filter(|version| *version <= newest.as_str())
    {
        let container = w.host.container();
        let mut conf = w.conf_of(version);
        conf["ipam"]["routes"] = json!([{"dst": "10.77.0.0/16", "priority": 50, "mtu": 1400}]);
        let result = w.add(&conf, &container);
        assert_eq!(result["cniVersion"], version);
        let (old, middle) = (version < "0.3.0", version < "1.0.0");
        assert_eq!(result["ip4"].is_object(), old, "{version}: {result}");
        assert_eq!(result["interfaces"].is_array(), !old, "{version}: {result}");
        if !old {
            assert_eq!(
                result["ips"][0]["version"] == "4",
                middle,
                "{version}: {result}"
            );
        }
        if version != "1.1.0" {
            let text = result.to_string();
            assert!(
                !text.contains("\"mtu\"") && !text.contains("priority"),
                "{version}: {text}"
            );
        }
    }
    Ok(())
}

fn layer_two_only(w: &World) -> Result<(), NotApplicable> {
    let keys = json!({"ipam": {}, "isDefaultGateway": false, "cniVersion": "0.3.0"});
    let container = w.host.container();
    let result = w.add(&w.conf_with(&keys), &container);
    assert!(
        result["ips"].as_array().is_none_or(Vec::is_empty),
        "{result}"
    );
    let old = w.conf_with(
        &json!({"ipam": {}, "isDefaultGateway": false, "cniVersion": "0.2.0",
                                  "bridge": "wtest7"}),
    );
    let container = w.host.container();
    let before = HostState::of(&w.host);
    assert!(!w.call("ADD", &old, &container).is_success());
    before.assert_same(&w.host, "a layer 2 ADD that 0.2.0 cannot express");
    assert!(!container.succeeds("ip link show eth0"));
    Ok(())
}

fn prev_result_passed_on(w: &World) -> Result<(), NotApplicable> {
    let container = w.host.container();
    let result = w.add(&w.conf(), &container);
    let conf = json!({"cniVersion": "1.0.0", "name": "net", "type": w.suite.loopback, "prevResult": result});
    let call = Call::new(&w.suite, "ADD", &conf)
        .container(&container)
        .ifname("lo");
    let passed = call.on(&w.host).ok();
    assert_eq!(passed["interfaces"], result["interfaces"]);
    assert_eq!(passed["ips"], result["ips"]);
    assert_eq!(passed["routes"], result["routes"]);
    Ok(())
}

fn add_twice(w: &World) -> Result<(), NotApplicable> {
    let container = w.host.container();
    w.add(&w.conf(), &container);
    // An IPv6 link-local address stops being tentative by itself.
    let inside = || {
        container
            .sh("ip -o addr; ip -o link")
            .replace(" tentative", "")
    };
    let before = (HostState::of(&w.host), inside());
    assert!(!w.call("ADD", &w.conf(), &container).is_success());
    before.0.assert_same(&w.host, "the second ADD");
    assert_eq!(inside(), before.1);
    assert_eq!(w.leases(), 1);
    Ok(())
}

fn delegate_failure(w: &World) -> Result<(), NotApplicable> {
    let log = w.host.dir().join("log");
    let script = format!(
        "echo $CNI_COMMAND >> {}; [ $CNI_COMMAND = DEL ] && exit 0; \
         echo '{{\"code\":11,\"msg\":\"not now\"}}'; exit 1",
        log.display()
    );
    let path = fake_plugin(w, "failing", &script);
    let container = w.host.container();
    let before = HostState::of(&w.host);
    let call = Call::new(&w.suite, "ADD", &delegating(w, "failing"));
    let error = call
        .container(&container)
        .var("CNI_PATH", &path)
        .on(&w.host)
        .error();
    assert_eq!(error["code"], 11, "{error}");
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "ADD\nDEL\n");
    assert!(!container.succeeds("ip link show eth0"), "eth0 is left");
    before.assert_same(&w.host, "a failed IPAM ADD");
    Ok(())
}

fn delegate_call(w: &World) -> Result<(), NotApplicable> {
    let dir = w.host.dir().display().to_string();
    let script = format!(
        "cat > {dir}/input; env > {dir}/env; echo from the delegate >&2; \
         echo '{{\"cniVersion\":\"1.0.0\",\"ips\":[{{\"address\":\"10.1.0.77/24\"}}]}}'"
    );
    let path = fake_plugin(w, "recording", &script);
    let container = w.host.container();
    let mut conf = delegating(w, "recording");
    conf["futureKey"] = json!([1, {"a": "b"}]);
    let call = Call::new(&w.suite, "ADD", &conf)
        .container(&container)
        .var("CNI_PATH", &path);
    let outcome = call.var("CNI_ARGS", "IgnoreUnknown=1;A=b").on(&w.host);
    assert_eq!(World::address(&outcome.ok()), "10.1.0.77");
    assert!(
        outcome.stderr.contains("from the delegate"),
        "{}",
        outcome.stderr
    );
    let input: Value =
        serde_json::from_str(&std::fs::read_to_string(format!("{dir}/input")).unwrap()).unwrap();
    assert_eq!(input, conf);
    let env = std::fs::read_to_string(format!("{dir}/env")).unwrap();
    for line in [
        "CNI_COMMAND=ADD",
        "CNI_IFNAME=eth0",
        "CNI_ARGS=IgnoreUnknown=1;A=b",
    ] {
        assert!(env.lines().any(|l| l == line), "no {line} in {env}");
    }
    Ok(())
}

fn empty_delegate(w: &World) -> Result<(), NotApplicable> {
    let log = w.host.dir().join("log");
    let script = format!(
        "echo $CNI_COMMAND >> {}; echo '{{\"cniVersion\":\"1.0.0\"}}'",
        log.display()
    );
    let path = fake_plugin(w, "empty", &script);
    let container = w.host.container();
    let call = Call::new(&w.suite, "ADD", &delegating(w, "empty")).container(&container);
    assert!(!call.var("CNI_PATH", &path).on(&w.host).is_success());
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "ADD\nDEL\n");
    Ok(())
}

fn dual_stack(w: &World) -> Result<(), NotApplicable> {
    let container = w.host.container();
    let mut conf = w.conf();
    conf["ipam"]["ranges"] = json!([[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd01::/64"}]]);
    conf["ipam"]["routes"] = json!([{"dst": "10.50.0.0/16"}, {"dst": "fd50::/16"}]);
    let result = w.add(&conf, &container);
    assert_eq!(result["ips"].as_array().unwrap().len(), 2);
    let routes = container.sh("ip route; ip -6 route");
    for route in ["10.50.0.0/16 via 10.1.0.1", "fd50::/16 via fd01::1"] {
        assert!(routes.contains(route), "{routes}");
    }
    assert!(container.reaches("10.1.0.1") && container.reaches("fd01::1"));
    Ok(())
}

fn not_tentative(w: &World) -> Result<(), NotApplicable> {
    for _ in 0..3 {
        let container = w.host.container();
        let mut conf = w.conf();
        conf["ipam"]["ranges"] = json!([[{"subnet": "fd01::/64"}]]);
        let result = w.add(&conf, &container);
        let there = container.sh("ip -6 addr show dev eth0 scope global");
        assert!(
            there.contains(&World::address(&result)) && !there.contains("tentative"),
            "{there}"
        );
    }
    Ok(())
}

fn route_attributes(w: &World) -> Result<(), NotApplicable> {
    let container = w.host.container();
    let mut conf = w.conf_of(&w.newest());
    conf["ipam"]["routes"] = json!([
        {"dst": "10.60.0.0/16", "priority": 77, "table": 200, "mtu": 1300, "advmss": 1200},
        {"dst": "10.61.0.0/16", "scope": 253}
    ]);
    w.add(&conf, &container);
    let routes = container.sh("ip route show table 200; ip route show scope link");
    for part in [
        "10.60.0.0/16 via 10.1.0.1",
        "metric 77",
        "mtu 1300",
        "advmss 1200",
        "10.61.0.0/16 dev eth0",
    ] {
        assert!(routes.contains(part), "no {part} in {routes}");
    }
    Ok(())
}

fn concurrent_adds(w: &World) -> Result<(), NotApplicable> {
    let containers: Vec<_> = (0..40).map(|_| w.host.container()).collect();
    let conf = w.conf();
    let results: Vec<_> = std::thread::scope(|scope| {
        let conf = &conf;
        let start = |container| scope.spawn(move || w.call("ADD", conf, container));
        let running: Vec<_> = containers.iter().map(start).collect();
        running.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let mut addresses: Vec<String> = results.iter().map(|r| World::address(&r.ok())).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 40);
    Ok(())
}

fn killed_anywhere(w: &World) -> Result<(), NotApplicable> {
    let conf = w.conf();
    let warm = w.host.container();
    w.add(&conf, &warm);
    w.del(&conf, &warm);
    let before = HostState::of(&w.host);
    let container = w.host.container();
    let call = Call::new(&w.suite, "ADD", &conf).container(&container);
    let (outcome, calls) = weft_testkit::system_calls(&call, &w.host);
    outcome.ok();
    w.del(&conf, &container);
    // A sample; the crash tests take every one.
    for at in calls.iter().step_by(calls.len() / 12 + 1) {
        weft_testkit::kill_at(&call, &w.host, at);
        w.del(&conf, &container);
        let differences = before.differences(&HostState::of(&w.host));
        assert!(
            differences.is_empty(),
            "killed at {at:?}: {}",
            differences.join("\n")
        );
        assert!(
            !container.succeeds("ip link show eth0"),
            "killed at {at:?}: eth0 is left"
        );
    }
    Ok(())
}

fn others_untouched(w: &World) -> Result<(), NotApplicable> {
    w.bridge_only()?;
    let conf = w.conf_with(&json!({"ipMasq": true}));
    let (one, two) = (w.host.container(), w.host.container());
    let first = World::address(&w.add(&conf, &one));
    let before = w.rules_about(&first);
    assert!(!before.is_empty(), "no masquerade rule for {first}");
    w.add(&conf, &two);
    assert!(w.rules_about(&first).len() >= before.len());
    Ok(())
}

pub(crate) const ITEMS: &[Item] = &[
    Item {
        number: "38",
        kind: 'M',
        title: "the interface is there and up",
        check: up_in_netns,
    },
    Item {
        number: "39",
        kind: 'M',
        title: "name taken: error, nothing touched",
        check: name_taken,
    },
    Item {
        number: "40",
        kind: 'M',
        title: "result has the configuration's version",
        check: |w| {
            for version in w.versions() {
                let container = w.host.container();
                assert_eq!(
                    w.add(&w.conf_of(&version), &container)["cniVersion"],
                    *version
                );
            }
            Ok(())
        },
    },
    Item {
        number: "41",
        kind: 'M',
        title: "every interface is listed with its sandbox",
        check: interfaces_listed,
    },
    Item {
        number: "42",
        kind: 'M',
        title: "ips[].interface is an index",
        check: |w| {
            let container = w.host.container();
            let result = w.add(&w.conf(), &container);
            for ip in result["ips"].as_array().unwrap() {
                let index = usize::try_from(ip["interface"].as_u64().unwrap()).unwrap();
                assert_eq!(result["interfaces"][index]["name"], "eth0");
            }
            Ok(())
        },
    },
    Item {
        number: "43",
        kind: 'M',
        title: "MAC and MTU in the result are the kernel's",
        check: macs_are_true,
    },
    Item {
        number: "44",
        kind: 'M',
        title: "each version's own shape, nothing newer",
        check: shapes,
    },
    Item {
        number: "45",
        kind: 'M',
        title: "layer 2 only: from 0.3.0, else a clean error",
        check: layer_two_only,
    },
    Item {
        number: "46",
        kind: 'M',
        title: "prevResult is passed on",
        check: prev_result_passed_on,
    },
    Item {
        number: "47",
        kind: 'R',
        title: "no prevResult: no panic",
        check: |w| {
            let container = w.host.container();
            let conf = json!({"cniVersion": "1.0.0", "name": "net", "type": w.suite.loopback});
            Call::new(&w.suite, "ADD", &conf)
                .container(&container)
                .ifname("lo")
                .on(&w.host)
                .ok();
            Ok(())
        },
    },
    Item {
        number: "48",
        kind: 'M',
        title: "ADD twice: error, nothing changed",
        check: add_twice,
    },
    Item {
        number: "49",
        kind: 'S',
        title: "IPAM fails: IPAM DEL, nothing left",
        check: delegate_failure,
    },
    Item {
        number: "50",
        kind: 'M',
        title: "delegates only from CNI_PATH",
        check: |w| {
            let container = w.host.container();
            let call =
                Call::new(&w.suite, "ADD", &delegating(w, "no-such-plugin")).container(&container);
            let before = HostState::of(&w.host);
            assert!(!call.var("PATH", "/usr/bin").on(&w.host).is_success());
            before.assert_same(&w.host, "a missing delegate");
            Ok(())
        },
    },
    Item {
        number: "51",
        kind: 'M',
        title: "delegates get environment, configuration, standard error",
        check: delegate_call,
    },
    Item {
        number: "52",
        kind: 'S',
        title: "IPAM without addresses: error and IPAM DEL",
        check: empty_delegate,
    },
    Item {
        number: "53",
        kind: 'R',
        title: "several addresses, dual stack, gateways by family",
        check: dual_stack,
    },
    Item {
        number: "54",
        kind: 'R',
        title: "IPv6 address usable when ADD returns",
        check: not_tentative,
    },
    Item {
        number: "55",
        kind: 'R',
        title: "route priority, table, scope, mtu, advmss",
        check: route_attributes,
    },
    Item {
        number: "56",
        kind: 'M',
        title: "40 ADDs at once",
        check: concurrent_adds,
    },
    Item {
        number: "57",
        kind: 'B',
        title: "killed anywhere, one DEL leaves nothing",
        check: killed_anywhere,
    },
    Item {
        number: "58",
        kind: 'R',
        title: "host interface is called veth*",
        check: |w| {
            w.bridge_only()?;
            let container = w.host.container();
            let result = w.add(&w.conf(), &container);
            assert!(
                result["interfaces"][1]["name"]
                    .as_str()
                    .unwrap()
                    .starts_with("veth"),
                "{result}"
            );
            Ok(())
        },
    },
    Item {
        number: "59",
        kind: 'B',
        title: "one ADD leaves another's rules alone",
        check: others_untouched,
    },
];
