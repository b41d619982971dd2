//! weft-ipvlan: containers that share the MAC of an interface of the host.
//!
//! Takes the configuration of the reference plugin `ipvlan`, with its defaults, and Weft's own keys
//! besides; [`IPVLAN_KEYS`] lists both. The work is done by `weft-attach`.

use weft_attach::{
    ChildPlan, Given, HostAccess, InterfacePlugin, Ipam, LinkPlan, Settings, Sysctls, conf,
};
use weft_cni::conf::{Fields, KeySpec, Problems};
use weft_cni::{CniError, CniResult, Request};
use weft_kernel::child::{ChildKind, IpvlanFlag, IpvlanMode};

/// The plugin.
pub const IPVLAN: InterfacePlugin = InterfacePlugin {
    name: "weft-ipvlan",
    read,
};

/// Keys of the plugin's configuration.
pub const IPVLAN_KEYS: &[KeySpec] = &[
    KeySpec::new(
        "master",
        "string",
        "default route",
        "the interface that the containers' sit on; by default the only one of the result of the plugin before, or that with the default route",
    ),
    KeySpec::new(
        "mode",
        "string",
        "l2",
        "l2: the master is a switch; l3: the host routes, and nobody asks for MAC addresses; l3s: the same, seen by the host's netfilter",
    ),
    KeySpec::new(
        "flag",
        "string",
        "bridge",
        "bridge: containers reach each other; private: they do not; vepa: only if the switch sends their frames back",
    ),
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
    weft_attach::ipam::refuse_mistyped(&fields);
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
    let mode = conf::word(fields, "mode", "must be l2, l3 or l3s").unwrap_or(IpvlanMode::L2);
    let flag = conf::word(fields, "flag", FLAGS).unwrap_or(IpvlanFlag::Bridge);
    let plan = ChildPlan {
        kind: ChildKind::Ipvlan { mode, flag },
        master: conf::link_name(fields, "master").or_else(|| master_before(fields, before)),
        link_in_container: fields.boolean("linkInContainer").unwrap_or(false),
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
