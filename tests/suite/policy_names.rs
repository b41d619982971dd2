//! Whom a name means in `weft policy explain`.

use std::process::Output;

use serde_json::{Value, json};
use weft_testkit::{Call, Container};

use crate::bridge::Net;
use crate::commands::weft;
use crate::isolation::network;

fn pod(net: &Net, conf: &Value, id: &str, pod: &str) -> Container {
    let (namespace, name) = pod.split_once('/').unwrap();
    let container = net.host.container();
    Call::new(&net.suite, "ADD", conf)
        .container(&container)
        .id(id)
        .var(
            "CNI_ARGS",
            &format!("IgnoreUnknown=1;K8S_POD_NAME={name};K8S_POD_NAMESPACE={namespace}"),
        )
        .on(&net.host)
        .ok();
    container
}

fn explain(net: &Net, from: &str, to: &str) -> Output {
    weft(
        &net.suite,
        &net.host,
        &["policy", "explain", from, to, "tcp/80"],
    )
}

#[test]
fn an_exact_name_counts_before_the_beginning_of_an_id() {
    let net = Net::new();
    let conf = network(&net, 1, &json!({"isolation": "full"}));
    let _db = pod(&net, &conf, "0123", "one/db");
    let _other = pod(&net, &conf, "db45", "one/web");
    for name in ["db", "0123", "01", "one/db", "net1/db"] {
        let answer = explain(&net, "host", name);
        let text = String::from_utf8_lossy(&answer.stdout).into_owned();
        assert!(text.contains("10.1.0.2"), "{name}: {answer:?}");
    }
    let answer = String::from_utf8(explain(&net, "host", "db4").stdout).unwrap();
    assert!(
        answer.contains("10.1.0.3"),
        "the beginning of an id: {answer}"
    );
}

#[test]
fn pods_of_one_name_are_told_apart_by_their_namespaces() {
    let net = Net::new();
    let conf = network(&net, 1, &json!({"isolation": "full"}));
    let _one = pod(&net, &conf, "0123", "blue/db");
    let _two = pod(&net, &conf, "4567", "green/db");
    let refused = explain(&net, "host", "db");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success());
    assert!(
        said.contains("blue/db") && said.contains("green/db"),
        "{said}"
    );
    for (name, address) in [("blue/db", "10.1.0.2"), ("green/db", "10.1.0.3")] {
        let answer = explain(&net, "host", name);
        let text = String::from_utf8_lossy(&answer.stdout).into_owned();
        assert!(text.contains(address), "{name}: {answer:?}");
    }
}
