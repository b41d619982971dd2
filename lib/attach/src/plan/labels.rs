//! What runtimes say about a container besides its id.

use std::collections::BTreeMap;

use serde_json::Value;
use weft_cni::{CniError, Request};

/// Its name: of the pod, which is what Podman gives as the container's.
///
/// # Errors
/// Code 4.
pub fn name(request: &Request) -> Result<Option<String>, CniError> {
    let args = request.env.args()?;
    let name = args.get("K8S_POD_NAME").filter(|name| !name.is_empty());
    Ok(name.map(str::to_owned))
}

/// Its labels: the pod's annotations; `args.cni.labels` (CONVENTIONS.md), which are stronger; and its
/// namespace, the strongest, for the author of a pod writes its annotations, and behind Multus `args` too.
///
/// # Errors
/// Code 4.
pub fn labels(request: &Request) -> Result<BTreeMap<String, String>, CniError> {
    const ANNOTATIONS: &str = "io.kubernetes.cri.pod-annotations";
    let mut labels = BTreeMap::new();
    let mut put = |key: &str, value: Option<&Value>| {
        if let Some(text) = value.and_then(Value::as_str) {
            labels.insert(key.to_owned(), text.to_owned());
        }
    };
    let annotations = request.conf.runtime_config(ANNOTATIONS);
    for (key, value) in annotations.and_then(Value::as_object).into_iter().flatten() {
        put(key, Some(value));
    }
    match request.conf.args_cni("labels") {
        Some(Value::Object(given)) => given.iter().for_each(|(key, value)| put(key, Some(value))),
        Some(Value::Array(given)) => {
            for one in given {
                let key = one.get("key").and_then(Value::as_str);
                put(key.unwrap_or_default(), one.get("value"));
            }
        }
        _ => {}
    }
    let args = request.env.args()?;
    if let Some(namespace) = args.get("K8S_POD_NAMESPACE") {
        labels.insert("namespace".to_owned(), namespace.to_string());
    }
    labels.remove("");
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn labels_of(args: &str, conf: Value) -> BTreeMap<String, String> {
        let mut whole = json!({"cniVersion": "1.0.0", "name": "net", "type": "weft-bridge"});
        for (key, value) in conf.as_object().unwrap() {
            whole[key] = value.clone();
        }
        let input = whole.to_string().into_bytes();
        let request = Request {
            env: weft_cni::env::Env::from_pairs([("CNI_ARGS", args)]),
            conf: weft_cni::conf::NetConf::parse(&input).unwrap(),
            input,
        };
        labels(&request).unwrap()
    }

    #[test]
    fn stronger_sources_win() {
        let annotations = json!({"io.kubernetes.cri.pod-annotations": {"app": "a", "tier": "t",
            "namespace": "another's"}});
        let conf = json!({"runtimeConfig": annotations,
            "args": {"cni": {"labels": [{"key": "app", "value": "b"}, {"key": "n", "value": 7}]}}});
        let labels = labels_of("IgnoreUnknown=1;K8S_POD_NAMESPACE=prod", conf);
        let expected = [("app", "b"), ("namespace", "prod"), ("tier", "t")];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(labels, BTreeMap::from(expected));
    }

    #[test]
    fn an_object_will_do() {
        let conf = json!({"args": {"cni": {"labels": {"app": "b", "": "x", "namespace": "own"}}}});
        let labels = labels_of("IgnoreUnknown=1;K8S_POD_NAMESPACE=prod", conf);
        assert_eq!(labels["app"], "b");
        assert_eq!(labels["namespace"], "prod", "the pod's own word is weaker");
        assert_eq!(labels.len(), 2);
    }
}
