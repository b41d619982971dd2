//! What every interface plugin reads alike from its configuration.

use std::net::IpAddr;
use std::str::FromStr;

use serde_json::Value;
use weft_cni::args::CniArgs;
use weft_cni::conf::{Fields, KeySpec, Problems};
use weft_cni::{IfName, IpFamily, Mac, Request};
use weft_ipam::IpamConfig;
use weft_kernel::address::DuplicateDetection;
use weft_store::Isolation;

use crate::delegate::{DelegateIpam, is_own_type};
use crate::plan::{ChildPlan, HostAccess, Ipam, Mtu};
pub use crate::sysctls::SYSCTL;

/// The name of an interface of the host.
pub fn link_name(fields: &Fields<'_>, key: KeySpec) -> Option<String> {
    let text = fields.string(key).filter(|text| !text.is_empty())?;
    match IfName::try_from(text) {
        Ok(name) => Some(name.to_string()),
        Err(error) => {
            fields.invalid(key, &format!("{text:?}"), error.rule);
            None
        }
    }
}

/// `mtu`: a number of bytes, or "auto", or 0 for the same.
pub fn mtu(fields: &Fields<'_>) -> Mtu {
    if fields
        .value(CHILD_MTU)
        .and_then(Value::as_str)
        .is_some_and(|text| text == "auto")
    {
        return Mtu::Auto;
    }
    match fields.number(CHILD_MTU, 0..=65_535) {
        None | Some(0) => Mtu::Auto,
        // RFC 791: what every IPv4 link has to carry.
        Some(bytes) if bytes < 68 => {
            fields.invalid(CHILD_MTU, &bytes, "must be at least 68");
            Mtu::Auto
        }
        Some(bytes) => Mtu::Bytes(bytes),
    }
}

/// `enabledad`.
pub fn detection(fields: &Fields<'_>) -> DuplicateDetection {
    match fields.boolean(DETECTION) {
        Some(true) => DuplicateDetection::Run,
        _ => DuplicateDetection::Skip,
    }
}

/// The container's MAC: conf < `CNI_ARGS` < `args.cni` < `runtimeConfig`.
pub fn mac(request: &Request, args: &CniArgs, fields: &Fields<'_>) -> Option<Mac> {
    const MUST: &str = "must be a unicast MAC address";
    let environment = args.get("MAC").map(Value::from);
    let sources = [
        ("runtimeConfig.mac", request.conf.runtime_config("mac")),
        ("args.cni.mac", request.conf.args_cni("mac")),
        ("CNI_ARGS MAC", environment.as_ref()),
        (MAC.name, fields.value(MAC)),
    ];
    let is_given = |value: &&Value| value.as_str().is_none_or(|text| !text.is_empty());
    let (path, value) = sources
        .into_iter()
        .find_map(|(path, value)| Some((path, value.filter(is_given)?)))?;
    let parsed = value.as_str().and_then(|text| text.parse::<Mac>().ok());
    match parsed.filter(Mac::is_usable) {
        Some(mac) => Some(mac),
        None => {
            fields.problems().invalid(path, value, MUST);
            None
        }
    }
}

/// Where addresses come from.
pub fn ipam(request: &Request, args: &CniArgs, problems: &Problems) -> Ipam {
    match (request.conf.ipam(), request.conf.ipam_type()) {
        (None, _) => Ipam::None,
        (Some(_), Some(own)) if is_own_type(own, &request.env.plugin_path()) => {
            Ipam::Store(Box::new(IpamConfig::read(&request.conf, args, problems)))
        }
        (Some(_), Some(other)) => Ipam::Delegate(DelegateIpam::new(other, request)),
        (Some(_), None) => {
            problems.conflict("ipam.type: missing");
            Ipam::None
        }
    }
}

/// A value that is one of a few words.
pub fn word<T: FromStr<Err = ()>>(fields: &Fields<'_>, key: KeySpec, must: &str) -> Option<T> {
    let text = fields.string(key).filter(|text| !text.is_empty())?;
    let word = text.parse().ok();
    if word.is_none() {
        fields.invalid(key, &format!("{text:?}"), must);
    }
    word
}

/// `hostAccess`.
pub fn host_access(fields: &Fields<'_>) -> HostAccess {
    const MUST: &str = "must be true, false, an address, or an address per family";
    let list = match fields.value(HOST_ACCESS) {
        Some(Value::Array(_)) => fields.parsed_list::<IpAddr>(HOST_ACCESS, MUST),
        Some(Value::String(text)) if text.contains(['.', ':']) => {
            fields.parsed(HOST_ACCESS, MUST).into_iter().collect()
        }
        _ => {
            return match fields.boolean(HOST_ACCESS) {
                Some(true) => HostAccess::Parent,
                _ => HostAccess::None,
            };
        }
    };
    if list.is_empty() && fields.value(HOST_ACCESS).is_some_and(Value::is_array) {
        fields.invalid(
            HOST_ACCESS,
            &"[]",
            "must name an address, or be true or false",
        );
    }
    for ip in &list {
        if ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() {
            fields.invalid(HOST_ACCESS, ip, "must be an address that others can have");
        }
    }
    for family in IpFamily::ALL {
        if list.iter().filter(|ip| family.has(**ip)).count() > 1 {
            fields.invalid(HOST_ACCESS, &"", "must have one address per family at most");
        }
    }
    HostAccess::Addresses(list)
}

/// A master inside the container is none of the host's.
pub fn refuse_in_container(plan: &ChildPlan, fields: &Fields<'_>) {
    if !plan.link_in_container {
        return;
    }
    if plan.host_access != HostAccess::None {
        fields
            .problems()
            .conflict("hostAccess and linkInContainer: cannot both be set");
    }
    if plan.vlan.is_some() {
        fields
            .problems()
            .conflict("vlan and linkInContainer: cannot both be set");
    }
}

/// What `ingressPolicy` of the reference plugin `firewall` says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IngressPolicy {
    /// Every container may begin connections.
    #[default]
    Open,
    /// Not the containers of other closed networks.
    SameBridge,
    /// Neither those of the same network.
    Isolated,
}

impl IngressPolicy {
    /// How closed the network is.
    pub const fn isolation(self) -> Isolation {
        match self {
            Self::Open => Isolation::None,
            Self::SameBridge | Self::Isolated => Isolation::Apart,
        }
    }
}

impl FromStr for IngressPolicy {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "open" => Ok(Self::Open),
            "same-bridge" => Ok(Self::SameBridge),
            "isolated" => Ok(Self::Isolated),
            _ => Err(()),
        }
    }
}

/// `policy`.
pub const POLICY: KeySpec = KeySpec::new(
    "policy",
    "object",
    "",
    "what is allowed though the network is closed; see below",
);
/// `ignoreForeignFirewall`.
pub const IGNORE_FOREIGN_FIREWALL: KeySpec = KeySpec::new(
    "ignoreForeignFirewall",
    "boolean",
    "false",
    "STATUS does not report that another firewall drops the network's packets",
);
/// `ingressPolicy`.
pub fn ingress_policy(fields: &Fields<'_>) -> Option<IngressPolicy> {
    word(
        fields,
        INGRESS_POLICY,
        "must be open, same-bridge or isolated",
    )
}

/// Reads `isolation`; a word that is no mode is a problem, and none.
pub fn isolation(fields: &Fields<'_>) -> Option<Isolation> {
    word(fields, ISOLATION, "must be none, peer, mesh or full")
}

/// Refuses what only a bridge's frames, which pass the host, can be held to.
pub fn refuse_isolation(fields: &Fields<'_>) {
    for key in [
        ISOLATION.name,
        ANTI_SPOOF.name,
        "policy",
        INGRESS_POLICY.name,
    ] {
        let is_off = match fields.value(key) {
            None | Some(Value::Bool(false)) => true,
            Some(Value::String(text)) => matches!(text.as_str(), "" | "none" | "open" | "false"),
            Some(_) => false,
        };
        if !is_off {
            fields.invalid(
                key,
                &"",
                "cannot be held here: frames leave without passing the host's firewall; use \
                 weft-bridge, or a private mode",
            );
        }
    }
}

/// `isolation` where there can be none.
pub const NO_ISOLATION: KeySpec = KeySpec::new(
    "isolation",
    "string",
    "none",
    "refused unless `none`, as are `antiSpoof`, `policy` and `ingressPolicy`: frames leave without passing the host's firewall",
);
/// `isolation`.
pub const ISOLATION: KeySpec = KeySpec::new(
    "isolation",
    "string",
    "none",
    "from where connections to the containers may begin: `none`: from everywhere; `peer`: from containers of the same network; `mesh`: from those and from connected networks; `full`: only where a policy allows it. Published ports stay open, and the host reaches the containers. With `none` containers reach the host, otherwise only its name server (port 53)",
);
/// `ingressPolicy`.
pub const INGRESS_POLICY: KeySpec = KeySpec::new(
    "ingressPolicy",
    "string",
    "open",
    "as in the reference plugin `firewall`: `open`: every container reaches these; `same-bridge`: containers of other networks that have a policy or an isolation do not; `isolated`: those of the same network do not either",
);
/// `antiSpoof`.
pub const ANTI_SPOOF: KeySpec = KeySpec::new(
    "antiSpoof",
    "boolean",
    "false; true with isolation full",
    "drop frames whose source MAC, IPv4 or IPv6 address is not the container's, that claim another address by ARP or neighbour discovery, or that are of another protocol",
);
/// `master`.
pub const MASTER: KeySpec = KeySpec::new(
    "master",
    "string",
    "default route",
    "the interface that the containers' sit on; by default that with the default route",
);
/// `mtu` of an interface on a master.
pub const CHILD_MTU: KeySpec = KeySpec::new(
    "mtu",
    "number or \"auto\"",
    "auto",
    "MTU in bytes, the master's at most; auto (or 0): the master's",
);
/// `linkInContainer`.
pub const LINK_IN_CONTAINER: KeySpec = KeySpec::new(
    "linkInContainer",
    "boolean",
    "false",
    "the master is in the container's namespace",
);
/// `hostAccess`.
pub const HOST_ACCESS: KeySpec = KeySpec::new(
    "hostAccess",
    "boolean, address or list",
    "false",
    "host and containers reach each other: from the master's address, or from those given here, one per family",
);
/// `enabledad`.
pub const DETECTION: KeySpec = KeySpec::new(
    "enabledad",
    "boolean",
    "false",
    "wait for duplicate detection of IPv6 addresses",
);
/// `mac`: with [`mac`] read.
pub const MAC: KeySpec = KeySpec::new(
    "mac",
    "MAC address",
    "derived",
    "the container's MAC; also CNI_ARGS MAC, args.cni.mac, runtimeConfig.mac",
);
