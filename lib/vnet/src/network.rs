//! Networks as people see them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnetwork::IpNetwork;
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use weft_store::{AddressRecord, AttachmentRecord, LinkRecord};

use crate::catalogue::NetworkFile;
use crate::driver::DriverType;
use crate::isolation::IsolationMode;
use crate::state::NetworkState;

/// A network: a configuration that runtimes read, and what Weft knows of it besides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VirtualNetwork {
    /// SHA-256 of the name in hexadecimal digits, as Podman has it.
    pub id: String,
    /// Unique on the host.
    pub name: String,
    /// The first IPv4 subnet, else the first IPv6 one. None where another IPAM plugin decides, and for the host's
    /// network.
    pub cidr: Option<IpNetwork>,
    /// The gateway in it.
    pub gateway: Option<IpAddr>,
    /// The first IPv6 subnet, beside an IPv4 one.
    pub cidr_v6: Option<IpNetwork>,
    /// The gateway in it.
    pub gateway_v6: Option<IpAddr>,
    /// The kind.
    pub driver_type: DriverType,
    /// How closed it is.
    pub isolation_mode: IsolationMode,
    /// Networks of isolation mesh with the same word reach each other.
    pub mesh: Option<String>,
    /// It and the network of this name reach each other.
    pub parent: Option<String>,
    /// Further keys of its interface plugin.
    pub options: BTreeMap<String, Value>,
    /// Words of its maker's.
    pub labels: BTreeMap<String, String>,
    /// When it was made.
    #[serde(serialize_with = "rfc3339")]
    pub created_at: SystemTime,
    /// When it was last changed.
    #[serde(serialize_with = "rfc3339")]
    pub updated_at: SystemTime,
    /// The plugins that a new endpoint passes, in order.
    pub plugins: Vec<String>,
    /// The configuration; none if the network is known by its endpoints alone, because its runtime reads another
    /// directory or the file is gone.
    pub file: Option<PathBuf>,
    /// Weft has made it: else it was written by hand or by another program.
    pub is_managed: bool,
}

pub(crate) fn rfc3339<S: serde::Serializer>(
    time: &SystemTime,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_seconds(*time))
}

/// The id of a name.
pub(crate) fn id_of(name: &str) -> String {
    hex(&Sha256::digest(name.as_bytes()))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Keys that are not options: they have a field of their own, or follow from others.
const NO_OPTIONS: [&str; 9] = [
    "type",
    "name",
    "cniVersion",
    "ipam",
    "capabilities",
    "args",
    "isolation",
    "mesh",
    "parent",
];

impl VirtualNetwork {
    pub(crate) fn new(file: &NetworkFile, state: Option<NetworkState>) -> Self {
        let empty = Map::new();
        let first = file.list.plugins.first().unwrap_or(&empty);
        let text = |key: &str| first.get(key).and_then(Value::as_str).map(str::to_owned);
        let subnets = file.subnets();
        let of_family = |is_v4: bool| subnets.iter().find(|one| one.prefix.is_ipv4() == is_v4);
        let (v4, v6) = (of_family(true), of_family(false));
        let main = v4.or(v6);
        let second = v6.filter(|_| v4.is_some());
        let is_managed = state.is_some();
        let state = state.unwrap_or_else(|| NetworkState {
            file: String::new(),
            labels: labels_of_podman(&file.list.text),
            created_at: file.modified,
            updated_at: file.modified,
        });
        let types = file.list.plugins.iter();
        let types = types.filter_map(|plugin| plugin.get("type")?.as_str());
        let options = first.iter();
        let options = options.filter(|(key, _)| !NO_OPTIONS.contains(&key.as_str()));
        Self {
            id: id_of(&file.list.name),
            name: file.list.name.clone(),
            cidr: main.map(|one| one.prefix),
            gateway: main.and_then(|one| one.gateway),
            cidr_v6: second.map(|one| one.prefix),
            gateway_v6: second.and_then(|one| one.gateway),
            driver_type: DriverType::of_plugin(&text("type").unwrap_or_default()),
            isolation_mode: text("isolation")
                .and_then(|mode| mode.parse().ok())
                .unwrap_or(IsolationMode::None),
            mesh: text("mesh"),
            parent: text("parent"),
            options: options
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            labels: state.labels,
            created_at: state.created_at,
            updated_at: state.updated_at.max(file.modified),
            plugins: types.map(str::to_owned).collect(),
            file: Some(file.path.clone()),
            is_managed,
        }
    }
}

impl VirtualNetwork {
    /// What the endpoints of a network say of it; none without any.
    pub(crate) fn of_records(records: &[&AttachmentRecord]) -> Option<Self> {
        let oldest = records.iter().min_by_key(|record| record.created_at)?;
        let name = oldest.id.network.to_string();
        let created_at = UNIX_EPOCH + Duration::from_secs(oldest.created_at);
        let addresses = || records.iter().flat_map(|record| &record.addresses);
        let of_family = |is_v4: bool| addresses().find(|one| one.address.is_ipv4() == is_v4);
        let (v4, v6) = (of_family(true), of_family(false));
        let subnet = |one: &AddressRecord| {
            let whole = one.in_subnet();
            IpNetwork::new(whole.network(), whole.prefix()).ok()
        };
        let main = v4.or(v6);
        let second = v6.filter(|_| v4.is_some());
        let driver_type = match &oldest.link {
            LinkRecord::Foreign => DriverType::Other("another suite's".to_owned()),
            LinkRecord::Port { .. }
            | LinkRecord::OnParent { .. }
            | LinkRecord::Moved { .. }
            | LinkRecord::Host { .. } => DriverType::of_plugin(&oldest.plugin),
        };
        let isolation = oldest.isolation.to_string();
        Some(Self {
            id: id_of(&name),
            name,
            cidr: main.and_then(subnet),
            gateway: main.and_then(|one| one.gateway),
            cidr_v6: second.and_then(subnet),
            gateway_v6: second.and_then(|one| one.gateway),
            driver_type,
            isolation_mode: isolation.parse().unwrap_or(IsolationMode::None),
            mesh: None,
            parent: None,
            options: BTreeMap::new(),
            labels: BTreeMap::new(),
            created_at,
            updated_at: created_at,
            plugins: vec![oldest.plugin.clone()],
            file: None,
            is_managed: false,
        })
    }
}

/// Podman's CNI backend keeps a network's labels in `args` of its configuration.
fn labels_of_podman(text: &str) -> BTreeMap<String, String> {
    const KEY: &str = "podman_labels";
    let list = text
        .contains(KEY)
        .then(|| serde_json::from_str::<Value>(text));
    let list = list.and_then(Result::ok).unwrap_or_default();
    let labels = list.get("args").and_then(|args| args.get(KEY)?.as_object());
    let pairs = labels.into_iter().flatten();
    pairs
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}
