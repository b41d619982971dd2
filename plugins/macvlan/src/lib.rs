//! weft-macvlan: containers with a MAC of their own on an interface of the host.
//!
//! Takes the configuration of the reference plugin `macvlan`, with its defaults, and Weft's own
//! keys besides; `MACVLAN_KEYS` lists both.

// A new kind of link, addition or shared object must be handled everywhere.
#![warn(clippy::wildcard_enum_match_arm)]

use weft_attach::{ChildPlan, HostAccess, InterfacePlugin, LinkPlan, Settings, Sysctls, conf};
use weft_cni::conf::{Fields, KeySpec, Problems};
use weft_cni::{CniError, Declaration, Request};
use weft_kernel::child::{ChildKind, MacvlanMode};

/// What `weft-macvlan` is called, takes and does.
pub const MACVLAN: InterfacePlugin = InterfacePlugin {
    declaration: Declaration {
        name: "weft-macvlan",
        other_names: &["macvlan"],
        intro: "Interfaces with a MAC of their own on an interface of the host. The keys and \
            defaults of the reference plugin `macvlan`, and more.",
        keys: MACVLAN_KEYS,
        objects: &[],
    },
    read,
};

const MODE: KeySpec = KeySpec::new(
    "mode",
    "string",
    "bridge",
    "bridge: containers reach each other; private: they do not; vepa: only if the switch sends their frames back; passthru: one container, with the master's MAC",
);
const BCQUEUELEN: KeySpec = KeySpec::new(
    "bcqueuelen",
    "number",
    "1000",
    "how many broadcast frames may wait to be copied to the containers",
);
const VLAN: KeySpec = KeySpec::new(
    "vlan",
    "number",
    "none",
    "the master's frames with this tag, 1 to 4094; Weft makes an interface for them, and removes it with the last container",
);

/// Keys of the plugin's configuration.
pub(crate) const MACVLAN_KEYS: &[KeySpec] = &[
    conf::MASTER,
    MODE,
    conf::CHILD_MTU,
    conf::MAC,
    conf::LINK_IN_CONTAINER,
    BCQUEUELEN,
    VLAN,
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
    weft_ipam::refuse_mistyped(&fields);
    conf::refuse_isolation(&fields);
    problems.into_result(request.conf.strict)?;
    Ok(settings)
}

fn child(fields: &Fields<'_>) -> ChildPlan {
    const MODES: &str = "must be bridge, private, vepa or passthru";
    let mode = conf::word(fields, MODE, MODES).unwrap_or(MacvlanMode::Bridge);
    let vlan = fields
        .number(VLAN, 0..=4094)
        .and_then(|id| u16::try_from(id).ok())
        .filter(|id| *id > 0);
    let plan = ChildPlan {
        kind: ChildKind::Macvlan {
            mode,
            broadcast_queue: fields
                .number(BCQUEUELEN, 0..=u32::MAX)
                .filter(|length| *length > 0),
        },
        master: conf::link_name(fields, conf::MASTER),
        link_in_container: fields.boolean(conf::LINK_IN_CONTAINER).unwrap_or(false),
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
