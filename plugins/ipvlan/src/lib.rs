//! weft-ipvlan: containers that share the MAC of an interface of the host.
//!
//! Takes the configuration of the reference plugin `ipvlan`, with its defaults, and Weft's own keys
//! besides; `IPVLAN_KEYS` lists both.

// A new kind of link, addition or shared object must be handled everywhere.
#![warn(clippy::wildcard_enum_match_arm)]

use weft_attach::{
    ChildPlan, Given, HostAccess, InterfacePlugin, Ipam, LinkPlan, Settings, Sysctls, conf,
};
use weft_cni::conf::{Fields, KeySpec, Problems};
use weft_cni::{CniError, CniResult, Declaration, Request};
use weft_kernel::child::{ChildKind, IpvlanFlag, IpvlanMode};

/// What `weft-ipvlan` is called, takes and does.
pub const IPVLAN: InterfacePlugin = InterfacePlugin {
    declaration: Declaration {
        name: "weft-ipvlan",
        other_names: &["ipvlan"],
        intro: "Interfaces that share the MAC of an interface of the host. The keys and defaults \
            of the reference plugin `ipvlan`, and more. Without `ipam` addresses and routes \
            are those of the plugin before.",
        keys: IPVLAN_KEYS,
        objects: &[],
    },
    read,
};

const MASTER: KeySpec = KeySpec {
    doc: "the interface that the containers' sit on; by default the only one of the result of the plugin before, or that with the default route",
    ..conf::MASTER
};
const MODE: KeySpec = KeySpec::new(
    "mode",
    "string",
    "l2",
    "l2: the master is a switch; l3: the host routes, and there is no ARP or neighbour discovery; l3s: the same, seen by the host's netfilter",
);
const FLAG: KeySpec = KeySpec::new(
    "flag",
    "string",
    "bridge",
    "bridge: containers reach each other; private: they do not; vepa: only if the switch sends their frames back",
);

/// Keys of the plugin's configuration.
pub(crate) const IPVLAN_KEYS: &[KeySpec] = &[
    MASTER,
    MODE,
    FLAG,
    conf::CHILD_MTU,
    conf::LINK_IN_CONTAINER,
    conf::HOST_ACCESS,
    conf::NO_ISOLATION,
    conf::DETECTION,
    conf::SYSCTL,
];

fn read(request: &Request) -> Result<Settings, CniError> {
    let problems = Problems::default();
    let args = request.env.args()?;
    let fields = request.conf.fields(IPVLAN_KEYS, &problems);
    // Only an ADD has the result of the plugin before: CHECK has that of them all.
    let is_add = request.env.get("CNI_COMMAND") == Some("ADD");
    let before = request.conf.prev_result()?.filter(|_| is_add);
    let settings = Settings {
        link: LinkPlan::Child(child(&fields, before.as_ref())),
        ipam: addresses(conf::ipam(request, &args, &problems), before),
        masquerade: None,
        mac_spoof_check: false,
        anti_spoof: false,
        mac: None,
        up: true,
        detection: conf::detection(&fields),
        sysctls: Sysctls::read(&fields, request),
        dns: request.conf.dns(&problems),
    };
    weft_ipam::refuse_mistyped(&fields);
    conf::refuse_isolation(&fields);
    problems.into_result(request.conf.strict)?;
    Ok(settings)
}

/// IPAM's, else those of the plugin before.
fn addresses(ipam: Ipam, before: Option<CniResult>) -> Ipam {
    match (ipam, before) {
        (Ipam::None, Some(before)) if !before.ips.is_empty() => Ipam::Given(Given {
            ips: before.ips,
            routes: before.routes,
            dns: before.dns,
        }),
        (ipam, _) => ipam,
    }
}

fn child(fields: &Fields<'_>, before: Option<&CniResult>) -> ChildPlan {
    const FLAGS: &str = "must be bridge, private or vepa";
    let mode = conf::word(fields, MODE, "must be l2, l3 or l3s").unwrap_or(IpvlanMode::L2);
    let flag = conf::word(fields, FLAG, FLAGS).unwrap_or(IpvlanFlag::Bridge);
    let plan = ChildPlan {
        kind: ChildKind::Ipvlan { mode, flag },
        master: conf::link_name(fields, MASTER).or_else(|| master_before(fields, before)),
        link_in_container: fields.boolean(conf::LINK_IN_CONTAINER).unwrap_or(false),
        mtu: conf::mtu(fields),
        vlan: None,
        host_access: conf::host_access(fields),
    };
    if plan.host_access != HostAccess::None && flag != IpvlanFlag::Bridge {
        fields
            .problems()
            .conflict(format!("hostAccess: needs flag bridge, not {flag}"));
    }
    conf::refuse_in_container(&plan, fields);
    plan
}

/// The interface that the plugin before made, if there is just one.
fn master_before(fields: &Fields<'_>, before: Option<&CniResult>) -> Option<String> {
    match &before?.interfaces[..] {
        [one] if !one.name.is_empty() => Some(one.name.clone()),
        several => {
            fields.problems().conflict(format!(
                "master: not set, and the result of the plugin before has {} interfaces instead of 1",
                several.len()
            ));
            None
        }
    }
}
