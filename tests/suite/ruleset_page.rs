//! docs/ruleset.nft is the ruleset of a host with the example policy.conflist and two containers.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use weft_testkit::{Container, Host, Suite};

use crate::commands::{ok, weft};

const INTRO: &str = "\
# The whole ruleset of an example host, as `weft firewall render` prints it. `make docs` writes this file, a test
# compares it. The network is conflist-examples/policy.conflist. The containers are front-1 (label app=front; port 8080
# of the host is its port 80) and db-1 (label app=db). The comment of an element is its owner: an attachment
# (network/container/interface) or a network. The chains are explained where they are made, in lib/firewall/src/ruleset.
";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The network, which takes labels from the pod's annotations.
fn install_network(host: &Host) {
    let path = root().join("conflist-examples/policy.conflist");
    let mut list: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    list["plugins"][0]["capabilities"] = json!({"io.kubernetes.cri.pod-annotations": true});
    std::fs::create_dir_all(host.dir().join("conf")).unwrap();
    std::fs::write(host.dir().join("conf/shop.conflist"), list.to_string()).unwrap();
}

fn add(suite: &Suite, host: &Host, id: &str, runtime_config: &Value) -> Container {
    let container = host.container();
    let netns = container.path().display().to_string();
    let cache = host.dir().join("cache").display().to_string();
    let arguments = runtime_config.to_string();
    let words = [
        "cni",
        "add",
        "weft-shop",
        &netns,
        "--container-id",
        id,
        "--cache-dir",
        &cache,
        "--cap-args",
        &arguments,
    ];
    ok(&weft(suite, host, &words));
    container
}

#[test]
fn the_page_is_what_render_prints() {
    let (suite, host) = (Suite::weft(), Host::new());
    install_network(&host);
    let annotations = |app: &str| json!({ "app": app });
    let front = json!({
        "io.kubernetes.cri.pod-annotations": annotations("front"),
        "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
    });
    let _front = add(&suite, &host, "front-1", &front);
    let db = json!({ "io.kubernetes.cri.pod-annotations": annotations("db") });
    let _db = add(&suite, &host, "db-1", &db);

    let now = ok(&weft(&suite, &host, &["firewall", "render"]));
    let now = format!("{INTRO}\n{now}");
    let page = root().join("docs/ruleset.nft");
    if std::env::var_os("WEFT_WRITE_DOCS").is_some() {
        std::fs::write(&page, now).unwrap();
        return;
    }
    let there = std::fs::read_to_string(&page).unwrap();
    let differing = there
        .lines()
        .zip(now.lines())
        .find(|(there, now)| there != now);
    assert!(
        there == now,
        "docs/ruleset.nft is out of date: run `make docs`: {differing:?}"
    );
}
