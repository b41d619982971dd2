//! Reading the configuration.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde_json::{Map, Value};
use weft_attach::conf::{self, IngressPolicy};
use weft_attach::{BridgePlan, LinkPlan, Settings, Sysctls};
use weft_cni::conf::{Fields, Problems};
use weft_cni::{CniError, IpFamily, Request};
use weft_firewall::policy;
use weft_firewall::ruleset::Masquerade;
use weft_kernel::bridge::PortOptions;
use weft_store::Isolation;

use crate::keys::{
    BRIDGE, BRIDGE_KEYS, CLEANUP, DISABLE_CONTAINER_INTERFACE, ENABLED, EXCLUDE, FORCE_ADDRESS,
    GROUP_FWD_MASK, HAIRPIN_MODE, ID, IP_MASQ, IPV6, IS_DEFAULT_GATEWAY, IS_GATEWAY, MACSPOOFCHK,
    MASQUERADE_KEYS, MAX_ID, MESH, MIN_ID, PARENT, PORT_ISOLATION, PRESERVE_DEFAULT_VLAN,
    PROMISC_MODE, TO, TRUNK_KEYS, UPLINK, VLAN, VLAN_TRUNK,
};

const DEFAULT_BRIDGE: &str = "cni0";

/// Reads the configuration; every problem is in the error.
pub(crate) fn read(request: &Request) -> Result<Settings, CniError> {
    let problems = Problems::default();
    let args = request.env.args()?;
    let fields = request.conf.fields(BRIDGE_KEYS, &problems);
    let flag = |key| fields.boolean(key).unwrap_or(false);
    let up = !flag(DISABLE_CONTAINER_INTERFACE);
    let bridge = bridge(request.conf.name.as_str(), &fields);
    let is_full = bridge.isolation == Isolation::Full;
    if is_full && request.conf.ipam().is_none() {
        problems.conflict("isolation: full needs ipam: what is allowed, is by address");
    }
    let settings = Settings {
        anti_spoof: fields.boolean(conf::ANTI_SPOOF).unwrap_or(is_full),
        link: LinkPlan::Bridge(bridge),
        ipam: conf::ipam(request, &args, &problems),
        masquerade: masquerade(&fields),
        mac_spoof_check: flag(MACSPOOFCHK),
        mac: conf::mac(request, &args, &fields),
        up,
        detection: conf::detection(&fields),
        sysctls: Sysctls::read(&fields, request),
        dns: request.conf.dns(&problems),
    };
    weft_ipam::refuse_mistyped(&fields);
    if !up && request.conf.ipam().is_some() {
        problems.conflict("disableContainerInterface: an interface that is down takes no ipam");
    }
    problems.into_result(request.conf.strict)?;
    Ok(settings)
}

fn bridge(network: &str, fields: &Fields<'_>) -> BridgePlan {
    let flag = |key| fields.boolean(key).unwrap_or(false);
    let name = conf::link_name(fields, BRIDGE).unwrap_or_else(|| DEFAULT_BRIDGE.to_owned());
    let (hairpin, promiscuous) = (flag(HAIRPIN_MODE), flag(PROMISC_MODE));
    if hairpin && promiscuous {
        fields
            .problems()
            .conflict("hairpinMode and promiscMode: cannot both be set");
    }
    let (isolation, ingress) = (conf::isolation(fields), conf::ingress_policy(fields));
    if isolation.is_some() && ingress.is_some() {
        fields
            .problems()
            .conflict("isolation and ingressPolicy: cannot both be set");
    }
    let isolation = isolation
        .or_else(|| ingress.map(IngressPolicy::isolation))
        .unwrap_or_default();
    let vlan = fields
        .number(VLAN, 0..=4094)
        .and_then(|id| u16::try_from(id).ok());
    let plan = BridgePlan {
        mtu: conf::mtu(fields),
        isolation,
        mesh: fields.string(MESH).map(str::to_owned),
        parent: fields.string(PARENT).map(str::to_owned),
        policy: policy(network, fields),
        ignores_foreign_firewall: flag(conf::IGNORE_FOREIGN_FIREWALL),
        alone: isolation == Isolation::Full || ingress == Some(IngressPolicy::Isolated),
        // In full mode everything passes the host.
        is_gateway: flag(IS_GATEWAY) || flag(IS_DEFAULT_GATEWAY) || isolation == Isolation::Full,
        is_default_gateway: flag(IS_DEFAULT_GATEWAY),
        force_address: flag(FORCE_ADDRESS),
        promiscuous,
        port: PortOptions {
            // By its published port a container asks itself.
            hairpin: hairpin || isolation == Isolation::Full,
            isolated: flag(PORT_ISOLATION),
            ..PortOptions::default()
        },
        vlan: vlan.filter(|id| *id > 0),
        trunk: trunk(fields),
        preserve_default_vlan: flag(PRESERVE_DEFAULT_VLAN),
        group_forward_mask: group_forward_mask(fields),
        uplink: conf::link_name(fields, UPLINK),
        overlay: None,
        cleanup: flag(CLEANUP),
        name,
    };
    if (plan.mesh.is_some() || plan.parent.is_some()) && plan.isolation != Isolation::Mesh {
        fields
            .problems()
            .conflict("mesh and parent: need isolation mesh");
    }
    if plan.policy.is_some() && plan.isolation.is_none() {
        fields
            .problems()
            .conflict("policy: needs isolation full, peer or mesh: everything is open without");
    }
    if plan.uplink.is_some() && !plan.isolation.is_none() {
        fields
            .problems()
            .conflict("uplink and isolation: frames to the uplink would pass by the firewall");
    }
    if plan.is_gateway && plan.gateway_link().len() > 15 {
        let link = plan.gateway_link();
        fields.problems().conflict(format!(
            "bridge: {link:?}, the VLAN's gateway, is longer than 15 bytes"
        ));
    }
    plan
}

/// The network's own rules, checked.
fn policy(network: &str, fields: &Fields<'_>) -> Option<Map<String, Value>> {
    let policy = fields.map(conf::POLICY)?;
    policy::check_network(network, policy, fields.problems());
    Some(policy.clone())
}

fn group_forward_mask(fields: &Fields<'_>) -> Option<u16> {
    /// BR_GROUPFWD_RESTRICTED (linux/if_bridge.h): the kernel never forwards these.
    const RESTRICTED: u32 = 7;
    let mask = fields.number(GROUP_FWD_MASK, 0..=65_535)?;
    if mask & RESTRICTED != 0 {
        fields.invalid(GROUP_FWD_MASK, &mask, "must not have the bits 0, 1 and 2");
        return None;
    }
    u16::try_from(mask).ok()
}

fn trunk(fields: &Fields<'_>) -> Vec<u16> {
    let mut ids = Vec::new();
    for entry in fields.objects(VLAN_TRUNK, &[TRUNK_KEYS]) {
        let number = |key| {
            entry
                .number(key, 1..=4094)
                .and_then(|id| u16::try_from(id).ok())
        };
        let (id, min, max) = (number(ID), number(MIN_ID), number(MAX_ID));
        match (id, min, max) {
            (_, Some(min), Some(max)) if min > max => {
                entry.invalid(MIN_ID, &min, "must not be greater than maxID");
            }
            (_, Some(min), Some(max)) => ids.extend(min..=max),
            (_, Some(min), None) => entry.invalid(MIN_ID, &min, "must come with maxID"),
            (_, None, Some(max)) => entry.invalid(MAX_ID, &max, "must come with minID"),
            (Some(_), None, None) => {}
            (None, None, None) => entry.invalid(ID, &"", "must be given, or minID and maxID"),
        }
        ids.extend(id);
    }
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn masquerade(fields: &Fields<'_>) -> Option<Masquerade> {
    if !fields.value(IP_MASQ).is_some_and(Value::is_object) {
        let is_on = fields.boolean(IP_MASQ).unwrap_or(false);
        return is_on.then(Masquerade::default);
    }
    let object = fields.object(IP_MASQ, &[MASQUERADE_KEYS])?;
    let to: Vec<IpAddr> = match object.value(TO) {
        Some(Value::Array(_)) => object.parsed_list(TO, "must be an IP address"),
        _ => object
            .parsed(TO, "must be an IP address")
            .into_iter()
            .collect(),
    };
    for family in IpFamily::ALL {
        if to.iter().filter(|ip| family.has(**ip)).count() > 1 {
            object.invalid(TO, &"", "must have one address per family at most");
        }
    }
    let exclude: Vec<IpNetwork> = object.parsed_list(EXCLUDE, "must be an address or a prefix");
    let ipv4_only = !object.boolean(IPV6).unwrap_or(true);
    let is_on = object.boolean(ENABLED).unwrap_or(true);
    is_on.then_some(Masquerade {
        exclude,
        to,
        ipv4_only,
    })
}
