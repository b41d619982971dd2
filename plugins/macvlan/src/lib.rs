//! weft-macvlan: containers with a MAC of their own on an interface of the host.
//!
//! Takes the configuration of the reference plugin `macvlan`, with its defaults, and Weft's own
//! keys besides; [`MACVLAN_KEYS`] lists both. The work is done by `weft-attach`.

use weft_attach::{ChildPlan, HostAccess, InterfacePlugin, LinkPlan, Settings, Sysctls, conf};
use weft_cni::conf::{Fields, KeySpec, Problems};
use weft_cni::{CniError, Request};
use weft_kernel::child::{ChildKind, MacvlanMode};

/// The plugin.
pub const MACVLAN: InterfacePlugin = InterfacePlugin {
    name: "weft-macvlan",
    read,
};

/// Keys of the plugin's configuration.
pub const MACVLAN_KEYS: &[KeySpec] = &[
    conf::MASTER,
    KeySpec::new(
        "mode",
        "string",
        "bridge",
        "bridge: containers reach each other; private: they do not; vepa: only if the switch sends their frames back; passthru: one container, with the master's MAC",
    ),
    conf::CHILD_MTU,
    KeySpec::new(
        "mac",
        "MAC address",
        "derived",
        "the container's MAC; also CNI_ARGS MAC, args.cni.mac, runtimeConfig.mac",
    ),
    conf::LINK_IN_CONTAINER,
    KeySpec::new(
        "bcqueuelen",
        "number",
        "1000",
        "how many broadcast frames may wait to be copied to the containers",
    ),
    KeySpec::new(
        "vlan",
        "number",
        "none",
        "the master's frames with this tag, 1 to 4094; Weft makes the interface for them, and removes it with the last container",
    ),
    conf::HOST_ACCESS,
    conf::NO_ISOLATION,
    conf::DETECTION,
    conf::SYSCTL,
];

fn read(request: &Request) -> Result<Settings, CniError> {
    let problems = Problems::default();
    let args = request.env.args()?;
    let fields = request.conf.fields(MACVLAN_KEYS, &problems);
    let settings = Settings {
        link: LinkPlan::Child(child(&fields)),
        ipam: conf::ipam(request, &args, &problems),
        masquerade: None,
        mac_spoof_check: false,
        anti_spoof: false,
        mac: conf::mac(request, &args, &fields),
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

fn child(fields: &Fields<'_>) -> ChildPlan {
    const MODES: &str = "must be bridge, private, vepa or passthru";
    let mode = conf::word(fields, "mode", MODES).unwrap_or(MacvlanMode::Bridge);
    let vlan = fields
        .number("vlan", 0..=4094)
        .and_then(|id| u16::try_from(id).ok())
        .filter(|id| *id > 0);
    let plan = ChildPlan {
        kind: ChildKind::Macvlan {
            mode,
            broadcast_queue: fields
                .number("bcqueuelen", 0..=u32::MAX)
                .filter(|length| *length > 0),
        },
        master: conf::link_name(fields, "master"),
        link_in_container: fields.boolean("linkInContainer").unwrap_or(false),
        mtu: conf::mtu(fields),
        vlan,
        host_access: conf::host_access(fields),
    };
    if plan.host_access != HostAccess::None && mode != MacvlanMode::Bridge {
        fields
            .problems()
            .conflict(format!("hostAccess: needs mode bridge, not {mode}"));
    }
    conf::refuse_in_container(&plan, fields);
    plan
}
