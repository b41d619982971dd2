//! From configuration to plan.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde_json::Value;
use weft_attach::ipam::{DelegateIpam, IpamConfig, OWN_TYPE};
use weft_attach::{BridgePlan, ContainerPlan, Ipam, Masquerade, Mtu, Plan, config_digest};
use weft_cni::args::CniArgs;
use weft_cni::conf::{Fields, Problems};
use weft_cni::result::Dns;
use weft_cni::{CniError, IfName, Request};
use weft_kernel::Mac;
use weft_kernel::address::DuplicateDetection;
use weft_kernel::bridge::PortOptions;

use crate::NAME;
use crate::keys::{BRIDGE_KEYS, MASQUERADE_KEYS, TRUNK_KEYS};

const DEFAULT_BRIDGE: &str = "cni0";
const MAC: &str = "must be a unicast MAC address";

/// The configuration, understood.
pub(crate) struct Settings {
    pub(crate) bridge: BridgePlan,
    pub(crate) ipam: Ipam,
    pub(crate) masquerade: Option<Masquerade>,
    pub(crate) mac_spoof_check: bool,
    mac: Option<Mac>,
    up: bool,
    detection: DuplicateDetection,
    dns: Dns,
}

/// Reads the configuration; every problem is in the error.
pub(crate) fn read(request: &Request) -> Result<Settings, CniError> {
    let problems = Problems::default();
    let args = request.env.args()?;
    let fields = request.conf.fields(BRIDGE_KEYS, &problems);
    let flag = |key| fields.boolean(key).unwrap_or(false);
    let up = !flag("disableContainerInterface");
    let settings = Settings {
        bridge: bridge(&fields),
        ipam: ipam(request, &args, &problems),
        masquerade: masquerade(&fields),
        mac_spoof_check: flag("macspoofchk"),
        mac: mac(request, &args, &fields),
        up,
        detection: match flag("enabledad") {
            true => DuplicateDetection::Run,
            false => DuplicateDetection::Skip,
        },
        dns: request.conf.dns(&problems),
    };
    weft_attach::ipam::refuse_mistyped(&fields);
    if !up && request.conf.ipam().is_some() {
        problems.conflict("disableContainerInterface: an interface that is down takes no ipam");
    }
    problems.into_result(request.conf.strict)?;
    Ok(settings)
}

/// The plan of an ADD.
pub(crate) fn plan(request: &Request) -> Result<Plan, CniError> {
    let id = request.attachment_id()?;
    let settings = read(request)?;
    Ok(Plan {
        id,
        plugin: NAME,
        version: request.conf.version,
        bridge: settings.bridge,
        container: ContainerPlan {
            netns: request.env.get("CNI_NETNS").unwrap_or_default().to_owned(),
            netns_override: request.env.netns_override(),
            mac: settings.mac,
            up: settings.up,
            detection: settings.detection,
        },
        ipam: settings.ipam,
        masquerade: settings.masquerade,
        mac_spoof_check: settings.mac_spoof_check,
        dns: settings.dns,
        config_digest: config_digest(&request.input),
    })
}

fn bridge(fields: &Fields<'_>) -> BridgePlan {
    let flag = |key| fields.boolean(key).unwrap_or(false);
    let name = link_name(fields, "bridge").unwrap_or_else(|| DEFAULT_BRIDGE.to_owned());
    let (hairpin, promiscuous) = (flag("hairpinMode"), flag("promiscMode"));
    if hairpin && promiscuous {
        fields
            .problems()
            .conflict("hairpinMode and promiscMode: cannot both be set");
    }
    let vlan = fields
        .number("vlan", 0..=4094)
        .and_then(|id| u16::try_from(id).ok());
    let plan = BridgePlan {
        mtu: mtu(fields),
        is_gateway: flag("isGateway") || flag("isDefaultGateway"),
        is_default_gateway: flag("isDefaultGateway"),
        force_address: flag("forceAddress"),
        promiscuous,
        port: PortOptions {
            hairpin,
            isolated: flag("portIsolation"),
        },
        vlan: vlan.filter(|id| *id > 0),
        trunk: trunk(fields),
        preserve_default_vlan: flag("preserveDefaultVlan"),
        group_forward_mask: group_forward_mask(fields),
        uplink: link_name(fields, "uplink"),
        cleanup: flag("cleanup"),
        name,
    };
    if plan.is_gateway && plan.gateway_link().len() > 15 {
        let link = plan.gateway_link();
        fields.problems().conflict(format!(
            "bridge: {link:?}, the VLAN's gateway, is longer than 15 bytes"
        ));
    }
    plan
}

fn link_name(fields: &Fields<'_>, key: &str) -> Option<String> {
    let text = fields.string(key)?;
    match IfName::try_from(text) {
        Ok(name) => Some(name.to_string()),
        Err(error) => {
            fields.invalid(key, &format!("{text:?}"), error.rule);
            None
        }
    }
}

fn mtu(fields: &Fields<'_>) -> Mtu {
    if fields
        .value("mtu")
        .and_then(Value::as_str)
        .is_some_and(|text| text == "auto")
    {
        return Mtu::Auto;
    }
    match fields.number("mtu", 0..=65_535) {
        None | Some(0) => Mtu::Auto,
        // RFC 791: what every IPv4 link has to carry.
        Some(bytes) if bytes < 68 => {
            fields.invalid("mtu", &bytes, "must be at least 68");
            Mtu::Auto
        }
        Some(bytes) => Mtu::Bytes(bytes),
    }
}

fn group_forward_mask(fields: &Fields<'_>) -> Option<u16> {
    /// BR_GROUPFWD_RESTRICTED (linux/if_bridge.h): the kernel never forwards these.
    const RESTRICTED: u32 = 7;
    let mask = fields.number("groupFwdMask", 0..=65_535)?;
    if mask & RESTRICTED != 0 {
        fields.invalid("groupFwdMask", &mask, "must not have the bits 0, 1 and 2");
        return None;
    }
    u16::try_from(mask).ok()
}

fn trunk(fields: &Fields<'_>) -> Vec<u16> {
    let mut ids = Vec::new();
    for entry in fields.objects("vlanTrunk", &[TRUNK_KEYS]) {
        let number = |key| {
            entry
                .number(key, 1..=4094)
                .and_then(|id| u16::try_from(id).ok())
        };
        let (id, min, max) = (number("id"), number("minID"), number("maxID"));
        match (id, min, max) {
            (_, Some(min), Some(max)) if min > max => {
                entry.invalid("minID", &min, "must not be greater than maxID");
            }
            (_, Some(min), Some(max)) => ids.extend(min..=max),
            (_, Some(min), None) => entry.invalid("minID", &min, "must come with maxID"),
            (_, None, Some(max)) => entry.invalid("maxID", &max, "must come with minID"),
            (Some(_), None, None) => {}
            (None, None, None) => entry.invalid("id", &"", "must be given, or minID and maxID"),
        }
        ids.extend(id);
    }
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn masquerade(fields: &Fields<'_>) -> Option<Masquerade> {
    if !fields.value("ipMasq").is_some_and(Value::is_object) {
        let is_on = fields.boolean("ipMasq").unwrap_or(false);
        return is_on.then(Masquerade::default);
    }
    let object = fields.object("ipMasq", &[MASQUERADE_KEYS])?;
    let to: Vec<IpAddr> = match object.value("to") {
        Some(Value::Array(_)) => object.parsed_list("to", "must be an IP address"),
        _ => object
            .parsed("to", "must be an IP address")
            .into_iter()
            .collect(),
    };
    for is_ipv4 in [true, false] {
        if to.iter().filter(|ip| ip.is_ipv4() == is_ipv4).count() > 1 {
            object.invalid("to", &"", "must have one address per family at most");
        }
    }
    let exclude: Vec<IpNetwork> = object.parsed_list("exclude", "must be an address or a prefix");
    let ipv4_only = !object.boolean("ipv6").unwrap_or(true);
    let is_on = object.boolean("enabled").unwrap_or(true);
    is_on.then_some(Masquerade {
        exclude,
        to,
        ipv4_only,
    })
}

/// conf < `CNI_ARGS` < `args.cni` < `runtimeConfig`.
fn mac(request: &Request, args: &CniArgs, fields: &Fields<'_>) -> Option<Mac> {
    let conf = fields.value("mac");
    let environment = args.get("MAC").map(Value::from);
    let sources = [
        ("runtimeConfig.mac", request.conf.runtime_config("mac")),
        ("args.cni.mac", request.conf.args_cni("mac")),
        ("CNI_ARGS MAC", environment.as_ref()),
        ("mac", conf),
    ];
    let is_given = |value: &&Value| value.as_str().is_none_or(|text| !text.is_empty());
    let (path, value) = sources
        .into_iter()
        .find_map(|(path, value)| Some((path, value.filter(is_given)?)))?;
    let parsed = value.as_str().and_then(|text| text.parse::<Mac>().ok());
    match parsed.filter(Mac::is_usable) {
        Some(mac) => Some(mac),
        None => {
            fields.problems().invalid(path, value, MAC);
            None
        }
    }
}

fn ipam(request: &Request, args: &CniArgs, problems: &Problems) -> Ipam {
    match (request.conf.ipam(), request.conf.ipam_type()) {
        (None, _) => Ipam::None,
        (Some(_), Some(OWN_TYPE)) => {
            Ipam::Store(Box::new(IpamConfig::read(&request.conf, args, problems)))
        }
        (Some(_), Some(other)) => Ipam::Delegate(DelegateIpam::new(other, request)),
        (Some(_), None) => {
            problems.conflict("ipam.type: missing");
            Ipam::None
        }
    }
}
