//! Reading the configuration.

use ipnetwork::IpNetwork;
use serde_json::{Map, Value, json};
use weft_api::daemon::OverlayLine;
use weft_attach::{BridgePlan, LinkPlan, Mtu, OverlayPlan, Settings, Sysctls, conf};
use weft_cni::conf::{Fields, NetConf, Problems};
use weft_cni::{CniError, Request};
use weft_firewall::policy;
use weft_firewall::ruleset::Masquerade;
use weft_kernel::bridge::PortOptions;
use weft_store::Isolation;

use crate::{IP_MASQ, OVERLAY_KEYS, network};

const ROUTED: &str = "routed";

/// Reads the configuration; every problem is in the error.
pub(crate) fn read(request: &Request) -> Result<Settings, CniError> {
    let problems = Problems::default();
    let args = request.env.args()?;
    let fields = request.conf.fields(OVERLAY_KEYS, &problems);
    let isolation = conf::isolation(&fields).unwrap_or_default();
    let policy = allowed(request.conf.name.as_str(), &fields);
    if policy.is_some() && isolation.is_none() {
        problems.conflict("policy: needs isolation full or peer: everything is open without");
    }
    let Some(name) = network::named(&fields) else {
        return Err(problems
            .into_result(request.conf.strict)
            .err()
            .unwrap_or_else(|| missing(request)));
    };
    let overlay = network::find(request, &name)?;
    if isolation == Isolation::Full && overlay.mode != ROUTED {
        problems.conflict(
            "isolation: full is for an overlay of mode routed: with l2, frames of neighbours on other hosts do not pass this \
             host's firewall",
        );
    }
    let with_addresses = with_ipam(request, &overlay, &problems)?;
    let settings = Settings {
        anti_spoof: fields
            .boolean(conf::ANTI_SPOOF)
            .unwrap_or(isolation == Isolation::Full),
        ipam: conf::ipam(&with_addresses, &args, &problems),
        masquerade: masquerade(&fields, &overlay),
        mac_spoof_check: false,
        mac: conf::mac(request, &args, &fields),
        up: true,
        detection: conf::detection(&fields),
        sysctls: Sysctls::read(&fields, request),
        dns: request.conf.dns(&problems),
        link: LinkPlan::Bridge(bridge(&overlay, isolation, policy, &fields)),
    };
    weft_ipam::refuse_mistyped(&fields);
    problems.into_result(request.conf.strict)?;
    Ok(settings)
}

fn missing(request: &Request) -> CniError {
    let text = format!("network {}: overlay: missing", request.conf.name.as_str());
    CniError::new(weft_cni::Code::InvalidConfig, text)
}

/// The network's own rules, checked. Containers of other hosts have no elements here, so that a rule that means them by
/// what they are would not hold.
fn allowed(network: &str, fields: &Fields<'_>) -> Option<Map<String, Value>> {
    let rules = fields.map(conf::POLICY)?;
    policy::check_network(network, rules, fields.problems());
    for direction in rules.values() {
        let each = direction.as_array().into_iter().flatten();
        for selector in each
            .flat_map(|rule| [rule.get("from"), rule.get("to")])
            .flatten()
        {
            for key in ["label", "network"] {
                if selector.get(key).is_some() {
                    fields.problems().conflict(format!(
                        "policy: {key}: means containers of this host alone, and the network has others: name addresses (cidr)"
                    ));
                }
            }
        }
    }
    Some(rules.clone())
}

fn bridge(
    overlay: &OverlayLine,
    isolation: Isolation,
    policy: Option<Map<String, Value>>,
    fields: &Fields<'_>,
) -> BridgePlan {
    let is_full = isolation == Isolation::Full;
    BridgePlan {
        name: overlay.bridge.clone(),
        mtu: Mtu::Auto,
        is_gateway: true,
        is_default_gateway: true,
        force_address: false,
        promiscuous: false,
        port: PortOptions {
            hairpin: is_full,
            ..PortOptions::default()
        },
        vlan: None,
        trunk: Vec::new(),
        preserve_default_vlan: false,
        group_forward_mask: None,
        uplink: None,
        isolation,
        mesh: None,
        parent: None,
        policy,
        ignores_foreign_firewall: fields
            .boolean(conf::IGNORE_FOREIGN_FIREWALL)
            .unwrap_or(false),
        alone: is_full,
        cleanup: false,
        overlay: Some(OverlayPlan {
            device: (overlay.mode == ROUTED).then(|| overlay.name.clone()),
        }),
    }
}

/// What is in the overlay sees containers' own addresses.
fn masquerade(fields: &Fields<'_>, overlay: &OverlayLine) -> Option<Masquerade> {
    let is_on = fields.boolean(IP_MASQ).unwrap_or(false);
    let inside = overlay.networks.iter().chain(&overlay.addresses);
    let network = |text: &String| {
        let one: IpNetwork = text.parse().ok()?;
        IpNetwork::new(one.network(), one.prefix()).ok()
    };
    is_on.then(|| Masquerade {
        exclude: inside.filter_map(network).collect(),
        ..Masquerade::default()
    })
}

/// The request with addresses of this host's part, unless it names others.
fn with_ipam(
    request: &Request,
    overlay: &OverlayLine,
    problems: &Problems,
) -> Result<Request, CniError> {
    let unchanged = || Request {
        env: request.env.clone(),
        conf: request.conf.clone(),
        input: request.input.clone(),
    };
    if request.conf.ipam().is_some() {
        return Ok(unchanged());
    }
    let own: Vec<IpNetwork> = overlay
        .addresses
        .iter()
        .filter_map(|one| one.parse().ok())
        .collect();
    let parts: Vec<IpNetwork> = overlay
        .containers
        .iter()
        .filter_map(|one| one.parse().ok())
        .collect();
    let mut ranges = Vec::new();
    for address in own {
        let network = IpNetwork::new(address.network(), address.prefix());
        let Ok(subnet) = network else { continue };
        let (text, gateway) = (subnet.to_string(), address.ip().to_string());
        let whole = json!({"subnet": text, "gateway": gateway});
        let set: Vec<Value> = match overlay.mode == ROUTED {
            true => vec![whole],
            false => parts
                .iter()
                .filter(|part| subnet.contains(part.ip()))
                .map(|part| {
                    let (first, last) = ends(part);
                    json!({"subnet": text, "gateway": gateway, "rangeStart": first, "rangeEnd": last})
                })
                .collect(),
        };
        if !set.is_empty() {
            ranges.push(Value::Array(set));
        }
    }
    if ranges.is_empty() {
        problems.conflict(format!(
            "ipam: overlay {} names no addresses for containers of this host: give it `containers` in weft.toml, or this \
             network `ipam`",
            overlay.name
        ));
        return Ok(unchanged());
    }
    let mut input: Value = serde_json::from_slice(&request.input).unwrap_or_default();
    if let Some(object) = input.as_object_mut() {
        let ipam = json!({"type": "weft-ipam", "ranges": ranges});
        object.insert("ipam".to_owned(), ipam);
    }
    let bytes = serde_json::to_vec(&input).unwrap_or_default();
    Ok(Request {
        conf: NetConf::parse(&bytes)?,
        ..unchanged()
    })
}

/// The first and the last address of a part.
fn ends(part: &IpNetwork) -> (String, String) {
    let (first, last) = match part {
        IpNetwork::V4(v4) => (v4.network().to_string(), v4.broadcast().to_string()),
        IpNetwork::V6(v6) => {
            let host = !0_u128 >> u32::from(v6.prefix());
            let bits = if v6.prefix() == 128 { 0 } else { host };
            let last = std::net::Ipv6Addr::from(u128::from(v6.network()) | bits);
            (v6.network().to_string(), last.to_string())
        }
    };
    (first, last)
}
