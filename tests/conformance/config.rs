//! Items 30 to 37: configuration.

use serde_json::{Value, json};
use weft_testkit::{Call, Driver};

use crate::{Item, NotApplicable, World};

fn mac_of(w: &World, keys: &Value, args: &str) -> String {
    let container = w.host.container();
    let conf = w.conf_with(keys);
    let call = Call::new(&w.suite, "ADD", &conf)
        .container(&container)
        .var("CNI_ARGS", args);
    let result = call.on(&w.host).ok();
    let told = World::own_interface(&result)["mac"]
        .as_str()
        .unwrap()
        .to_owned();
    let actual = container.sh("ip -o link show eth0");
    assert!(actual.contains(&told), "{told} told, {actual}");
    told
}

fn precedence(w: &World) -> Result<(), NotApplicable> {
    if w.suite.driver != Driver::Ipvlan {
        let args = "MAC=02:00:00:00:00:01;IgnoreUnknown=1";
        let args_cni = json!({"cni": {"mac": "02:00:00:00:00:02"}});
        let runtime = json!({"mac": "02:00:00:00:00:03"});
        assert_eq!(mac_of(w, &json!({}), args), "02:00:00:00:00:01");
        let one = mac_of(w, &json!({"args": args_cni}), args);
        assert_eq!(one, "02:00:00:00:00:02");
        let all = json!({"args": args_cni, "runtimeConfig": runtime});
        assert_eq!(mac_of(w, &all, args), "02:00:00:00:00:03");
    }
    let ask = |keys: &Value, args: &str| {
        let container = w.host.container();
        let conf = w.conf_with(keys);
        let call = Call::new(&w.suite, "ADD", &conf)
            .container(&container)
            .var("CNI_ARGS", args);
        World::address(&call.on(&w.host).ok())
    };
    assert_eq!(ask(&json!({}), "IP=10.1.0.50"), "10.1.0.50");
    assert_eq!(
        ask(&json!({"runtimeConfig": {"ips": ["10.1.0.51/24"]}}), ""),
        "10.1.0.51"
    );
    assert_eq!(
        ask(&json!({"args": {"cni": {"ips": ["10.1.0.52"]}}}), ""),
        "10.1.0.52"
    );
    Ok(())
}

fn bad_values(w: &World) -> Result<(), NotApplicable> {
    let own = match w.suite.driver {
        Driver::Bridge => [
            (json!({"vlan": 5000}), "vlan", "5000"),
            (json!({"isGateway": "maybe"}), "isGateway", "maybe"),
        ],
        Driver::Macvlan | Driver::Ipvlan => [
            (json!({"mode": "l4"}), "mode", "l4"),
            (
                json!({"linkInContainer": "maybe"}),
                "linkInContainer",
                "maybe",
            ),
        ],
    };
    let [first, second] = own;
    for (keys, key, value) in [
        first,
        second,
        (json!({"mtu": -5}), "mtu", "-5"),
        (
            json!({"ipam": {"type": w.suite.ipam, "subnet": "10.1.0.0/33"}}),
            "subnet",
            "10.1.0.0/33",
        ),
    ] {
        let container = w.host.container();
        let error = w.call("ADD", &w.conf_with(&keys), &container).error();
        let (code, msg) = (
            error["code"].as_u64().unwrap(),
            error["msg"].as_str().unwrap(),
        );
        assert!(code == 2 || code == 7, "{error}");
        assert!(msg.contains(key) && msg.contains(value), "{error}");
    }
    Ok(())
}

fn accepted(w: &World, keys: &Value) {
    let container = w.host.container();
    w.add(&w.conf_with(keys), &container);
}

pub(crate) const ITEMS: &[Item] = &[
    Item {
        number: "30",
        kind: 'M',
        title: "unknown keys change nothing",
        check: |w| {
            accepted(w, &json!({"isGatway": true, "futureKey": {"a": [1]}}));
            Ok(())
        },
    },
    Item {
        number: "31",
        kind: 'R',
        title: "keys in any case",
        check: |w| {
            let container = w.host.container();
            if w.bridge_only().is_err() {
                let mut conf = w.conf_with(&json!({"Master": "lan0", "MTU": 1300}));
                conf.as_object_mut().unwrap().remove("master");
                w.add(&conf, &container);
                assert!(container.sh("ip link show eth0").contains("mtu 1300"));
                return Ok(());
            }
            let mut conf = w.conf_with(&json!({"ISDEFAULTGATEWAY": true, "Bridge": "wtest9"}));
            conf.as_object_mut().unwrap().remove("isDefaultGateway");
            conf.as_object_mut().unwrap().remove("bridge");
            let result = w.add(&conf, &container);
            assert_eq!(result["interfaces"][0]["name"], "wtest9");
            assert_eq!(result["routes"][0]["dst"], "0.0.0.0/0");
            Ok(())
        },
    },
    Item {
        number: "32",
        kind: 'R',
        title: "null and {} for known objects",
        check: |w| {
            accepted(
                w,
                &json!({"dns": {}, "args": null, "runtimeConfig": null, "prevResult": null,
                            "vlanTrunk": null, "mtu": null, "capabilities": null}),
            );
            let container = w.host.container();
            let conf = w.conf_with(&json!({"ipam": {}, "isDefaultGateway": false}));
            w.add(&conf, &container);
            Ok(())
        },
    },
    Item {
        number: "33",
        kind: 'M',
        title: "bad values: code 2 or 7 with key and value",
        check: bad_values,
    },
    Item {
        number: "34",
        kind: 'M',
        title: "capabilities in a request are ignored",
        check: |w| {
            accepted(
                w,
                &json!({"capabilities": {"portMappings": true, "mac": true}}),
            );
            Ok(())
        },
    },
    Item {
        number: "35",
        kind: 'M',
        title: "unknown runtimeConfig keys are ignored",
        check: |w| {
            accepted(
                w,
                &json!({"runtimeConfig": {"io.kubernetes.cri.pod-annotations": null,
                            "portMappings": [{"HostPort": 1}], "aliases": {"net": ["a"]}}}),
            );
            Ok(())
        },
    },
    Item {
        number: "36",
        kind: 'R',
        title: "precedence of mac and ips",
        check: precedence,
    },
    Item {
        number: "37",
        kind: 'R',
        title: "unknown cni.dev/ keys are ignored",
        check: |w| {
            accepted(w, &json!({"cni.dev/later": {"a": 1}}));
            if w.suite.is_weft() {
                accepted(w, &json!({"cni.dev/later": {"a": 1}, "strict": true}));
            }
            Ok(())
        },
    },
];
