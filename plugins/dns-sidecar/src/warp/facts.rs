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
