//! What the API says of containers, as values. Whatever it leaves out, or has another type than it should, counts as not
//! said.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnetwork::IpNetwork;
use serde_json::Value;
use weft_kernel::NetNs;
use weft_warp::{Container, Endpoint, NetnsPlace};

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.filter(|text| !text.is_empty())
}

fn labels(value: Option<&Value>) -> BTreeMap<String, String> {
    let all = value.and_then(Value::as_object).into_iter().flatten();
    all.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// Of an entry of `GET /containers/json`: its id, whether it runs, and what is said of it.
pub(super) fn listed(entry: &Value) -> Option<(String, bool, Container)> {
    let id = text(entry, "/Id")?.to_owned();
    let state = text(entry, "/State").unwrap_or_default();
    let is_running = matches!(state, "running" | "paused" | "restarting");
    let name = entry.pointer("/Names/0").and_then(Value::as_str);
    let container = Container {
        name: bare(name.unwrap_or(&id)),
        labels: labels(entry.get("Labels")),
        networks: networks(entry),
        ..Container::default()
    };
    Some((id, is_running, container))
}

/// Of the event `create`: name and labels are in one map.
pub(super) fn created(attributes: &Value) -> Container {
    let mut labels = labels(Some(attributes));
    let name = labels.remove("name").unwrap_or_default();
    labels.remove("image");
    Container {
        name: bare(&name),
        labels,
        ..Container::default()
    }
}

/// Of `GET /containers/ID/json`.
pub(super) fn inspected(value: &Value) -> Option<Container> {
    let state = value.get("State")?;
    let is_running = state.get("Running").and_then(Value::as_bool) == Some(true);
    let pid = (state.get("Pid").and_then(Value::as_i64))
        .and_then(|pid| i32::try_from(pid).ok())
        .filter(|pid| *pid > 0);
    let mode = text(value, "/HostConfig/NetworkMode").unwrap_or_default();
    let borrows = match mode.split_once(':') {
        Some(("container" | "ns", of)) => Some(of.to_owned()),
        _ => (mode == "host").then(|| "the host".to_owned()),
    };
    let key = text(value, "/NetworkSettings/SandboxKey").map(PathBuf::from);
    let netns = match (&borrows, is_running) {
        (None, true) => place(key.as_deref(), pid),
        _ => None,
    };
    Some(Container {
        name: bare(text(value, "/Name")?),
        labels: labels(value.pointer("/Config/Labels")),
        networks: networks(value),
        netns,
        borrows,
        published: published(value),
        pid,
        is_running,
        started_at: text(state, "/StartedAt").and_then(since_1970),
    })
}

/// Docker writes names with a slash.
fn bare(name: &str) -> String {
    name.strip_prefix('/').unwrap_or(name).to_owned()
}

fn networks(value: &Value) -> BTreeMap<String, Endpoint> {
    let all = value
        .pointer("/NetworkSettings/Networks")
        .and_then(Value::as_object);
    let endpoint = |one: &Value| {
        let address = |ip: &str, length: &str| {
            let ip: IpAddr = text(one, ip)?.parse().ok()?;
            let length = u8::try_from(one.get(length)?.as_u64()?).ok()?;
            IpNetwork::new(ip, length).ok().filter(|_| length > 0)
        };
        let router = |key: &str| text(one, key)?.parse::<IpAddr>().ok();
        Endpoint {
            addresses: [
                address("/IPAddress", "IPPrefixLen"),
                address("/GlobalIPv6Address", "GlobalIPv6PrefixLen"),
            ]
            .into_iter()
            .flatten()
            .collect(),
            gateways: [router("/Gateway"), router("/IPv6Gateway")]
                .into_iter()
                .flatten()
                .collect(),
            // Docker makes MACs of addresses: whoever has the address next has the MAC, too.
            mac: None,
            is_meeting: true,
            is_alone: false,
        }
    };
    all.into_iter()
        .flatten()
        .map(|(name, one)| (name.clone(), endpoint(one)))
        .collect()
}

/// Ports of the container that a port of the host leads to.
fn published(value: &Value) -> BTreeSet<(u8, u16)> {
    let all = value
        .pointer("/NetworkSettings/Ports")
        .and_then(Value::as_object);
    let port = |(name, bindings): (&String, &Value)| {
        bindings.as_array().filter(|list| !list.is_empty())?;
        let (port, protocol) = name.split_once('/')?;
        let protocol = match protocol {
            "tcp" => 6,
            "udp" => 17,
            "sctp" => 132,
            _ => return None,
        };
        Some((protocol, port.parse().ok()?))
    };
    all.into_iter().flatten().filter_map(port).collect()
}

/// The namespace at a path, or that of a process. A stopped container's path still names a file, which is none.
pub(super) fn place(path: Option<&Path>, pid: Option<i32>) -> Option<NetnsPlace> {
    let of_process = pid.map(|pid| PathBuf::from(format!("/proc/{pid}/ns/net")));
    let mut paths = path.map(Path::to_owned).into_iter().chain(of_process);
    paths.find_map(|path| at(&path))
}

/// The namespace at a path.
pub(super) fn at(path: &Path) -> Option<NetnsPlace> {
    let netns = NetNs::open(path).ok()?;
    let (dev, ino) = netns.identity();
    // That of the host is nobody's.
    let own = std::fs::metadata("/proc/self/ns/net").ok()?;
    let is_own = (own.dev(), own.ino()) == (dev, ino);
    (!is_own).then(|| NetnsPlace {
        path: path.to_owned(),
        dev,
        ino,
    })
}

/// RFC 3339, as Go writes it. Before 1970 there were no containers.
fn since_1970(text: &str) -> Option<Duration> {
    let format = time::format_description::well_known::Rfc3339;
    let then = time::OffsetDateTime::parse(text, &format).ok()?;
    let nanoseconds = u64::try_from(then.unix_timestamp_nanos()).ok()?;
    Some(Duration::from_nanos(nanoseconds)).filter(|at| !at.is_zero())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use serde_json::json;

    use super::*;

    /// As Docker 20.10 answers, shortened.
    fn docker() -> Value {
        json!({
            "Id": "5f", "Name": "/web",
            "State": {"Running": true, "Pid": 0, "StartedAt": "2026-11-29T08:00:00.5Z"},
            "Config": {"Labels": {"weft.warp.via": "warp-gw", "odd": 3}},
            "HostConfig": {"NetworkMode": "inner"},
            "NetworkSettings": {
                "SandboxKey": "/nonexistent",
                "Ports": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}], "53/udp": null, "x/y": [1]},
                "Networks": {
                    "inner": {"IPAddress": "172.18.0.2", "IPPrefixLen": 16, "Gateway": "172.18.0.1",
                        "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "IPv6Gateway": ""},
                    "odd": {"IPAddress": 7, "IPPrefixLen": "x"}
                }
            }
        })
    }

    #[test]
    fn what_is_said_becomes_facts() {
        let container = inspected(&docker()).unwrap();
        assert_eq!(container.name, "web");
        assert_eq!(container.labels.len(), 1);
        assert_eq!(container.published, BTreeSet::from([(6, 80)]));
        assert_eq!(
            container.started_at,
            Some(Duration::from_millis(1_795_939_200_500))
        );
        let inner = container.networks.get("inner").unwrap();
        assert_eq!(inner.addresses, ["172.18.0.2/16".parse().unwrap()]);
        assert!(container.networks.get("odd").unwrap().addresses.is_empty());
        assert_eq!((container.netns, container.borrows), (None, None));
        let listed =
            listed(&json!({"Id": "5f", "Names": ["/web"], "State": "running", "Labels": null}));
        let (id, is_running, container) = listed.unwrap();
        assert_eq!(
            (id.as_str(), is_running, container.name.as_str()),
            ("5f", true, "web")
        );
        // A label that is called as the container's own name is.
        let created = created(&json!({"name": "web", "image": "i", "weft.warp.via": "gw"}));
        assert_eq!((created.name.as_str(), created.labels.len()), ("web", 1));
    }

    #[test]
    fn who_has_no_namespace_of_its_own_says_whose_it_has() {
        for (mode, of) in [
            ("host", "the host"),
            ("container:5f", "5f"),
            ("ns:/run/x", "/run/x"),
        ] {
            let mut said = docker();
            *said.pointer_mut("/HostConfig/NetworkMode").unwrap() = mode.into();
            assert_eq!(inspected(&said).unwrap().borrows.as_deref(), Some(of));
        }
    }

    /// Whatever is missing or of another type: nothing ends, and nothing else is lost.
    #[test]
    fn odd_answers_are_lived_with() {
        fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
            found.push(at.to_owned());
            if let Value::Object(fields) = value {
                for (key, value) in fields {
                    pointers(value, &format!("{at}/{}", key.replace('/', "~1")), found);
                }
            }
        }
        let mut all = Vec::new();
        pointers(&docker(), "", &mut all);
        for pointer in &all {
            for odd in [
                Value::Null,
                json!(-1),
                json!("x"),
                json!([]),
                json!({}),
                json!(1e300),
            ] {
                let mut said = docker();
                *said.pointer_mut(pointer).unwrap() = odd;
                drop((inspected(&said), listed(&said), created(&said)));
            }
        }
        assert!(all.len() > 20);
    }
}
