//! `weft config check` on whole plugin chains and several files.

use serde_json::{Value, json};

use crate::networks::Vnet;

fn check(vnet: &Vnet, files: &[(&str, Value)]) -> (bool, String) {
    for (name, list) in files {
        std::fs::write(vnet.conf_dir().join(name), list.to_string()).unwrap();
    }
    let output = vnet.run(&["config", "check"]);
    for (name, _) in files {
        std::fs::remove_file(vnet.conf_dir().join(name)).unwrap();
    }
    (
        output.status.success(),
        String::from_utf8(output.stdout).unwrap(),
    )
}

fn list(name: &str, plugins: &Value) -> Value {
    json!({"cniVersion": "1.0.0", "name": name, "plugins": plugins})
}

fn bridge(bridge: &str, subnet: &str) -> Value {
    json!({"type": "weft-bridge", "bridge": bridge, "ipam": {"type": "weft-ipam", "subnet": subnet}})
}

#[test]
fn what_is_wrong_with_a_chain_is_named() {
    let vnet = Vnet::new();
    let own = || bridge("b0", "10.1.0.0/24");
    let portmap = || json!({"type": "weft-portmap", "capabilities": {"portMappings": true}});
    for (plugins, part) in [
        (
            json!([portmap(), own()]),
            "weft-portmap: is the first plugin",
        ),
        (
            json!([own(), own()]),
            "weft-bridge: makes an interface, as weft-bridge before it does",
        ),
        (
            json!([own(), portmap(), portmap()]),
            "weft-portmap: is there twice",
        ),
        (
            json!([own(), {"type": "weft-portmp"}]),
            "no plugin of this name",
        ),
        (
            json!([own(), {"type": "weft-portmap"}]),
            "publishes nothing without",
        ),
        (
            json!([own(), {"type": "weft-portmap", "capabilities": {"portmappings": true}}]),
            "did you mean \"portMappings\"",
        ),
        (
            json!([own(), {"type": "weft-tuning", "capabilities": {"portMappings": true}}]),
            "portMappings is for weft-portmap",
        ),
        (
            json!([{"type": "weft-bridge", "isolaton": "full"}]),
            "isolaton",
        ),
    ] {
        let (is_right, text) = check(&vnet, &[("a.conflist", list("a", &plugins))]);
        assert!(!is_right && text.contains(part), "{plugins}: {text}");
    }
    let (is_right, text) = check(
        &vnet,
        &[("a.conflist", list("a", &json!([own(), portmap()])))],
    );
    assert!(is_right, "{text}");
}

#[test]
fn files_are_compared_with_each_other() {
    let vnet = Vnet::new();
    let net = |name: &str, plugin: Value| list(name, &json!([plugin]));
    let both = |one: Value, two: Value| check(&vnet, &[("a.conflist", one), ("b.conflist", two)]);
    let (is_right, text) = both(
        net("a", bridge("b0", "10.1.0.0/16")),
        net("b", bridge("b1", "10.1.2.0/24")),
    );
    assert!(
        !is_right && text.contains("overlap") && text.contains("b.conflist"),
        "{text}"
    );
    let ranged = |name: &str, range: Value| {
        net(
            name,
            json!({"type": "weft-bridge", "bridge": "b0", "ipam": {"type": "weft-ipam", "ranges": [[range]]}}),
        )
    };
    let range = |start: &str, end: &str| json!({"subnet": "10.1.0.0/24", "rangeStart": start, "rangeEnd": end});
    let (is_right, text) = both(
        ranged("a", range("10.1.0.10", "10.1.0.20")),
        ranged("b", range("10.1.0.20", "10.1.0.30")),
    );
    assert!(!is_right && text.contains("both on b0"), "{text}");
    let (is_right, text) = both(
        ranged("a", range("10.1.0.10", "10.1.0.20")),
        ranged("b", range("10.1.0.21", "10.1.0.30")),
    );
    assert!(is_right, "{text}");
    let (is_right, text) = both(
        net("a", bridge("b0", "10.1.0.0/24")),
        net("a", bridge("b1", "10.2.0.0/24")),
    );
    assert!(
        !is_right && text.contains("only the first file counts"),
        "{text}"
    );
}
