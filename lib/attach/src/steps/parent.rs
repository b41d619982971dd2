//! The interface that containers' interfaces sit on.
//!
//! Why it is so: docs/decisions/interfaces.md.

use weft_kernel::NetNs;
use weft_kernel::child::{ChildKind, ChildLink, IpvlanFlag, IpvlanMode, MacvlanMode};
use weft_kernel::link::{self, Change, Link};
use weft_kernel::netlink::{Batch, RouteSocket};
use weft_node::names::vlan_link_name;
use weft_node::{Container, Host, Users, WeftError, default_route};
use weft_store::{SharedObject, Transaction};

use super::Created;
use crate::plan::{ChildPlan, Mtu};

/// The alias of a VLAN interface that Weft made: only such a one is ever removed.
const VLAN_ALIAS: &str = "weft vlan";

/// What is known of a parent before anything is done.
#[derive(Debug, Clone)]
pub(crate) struct Parent {
    /// The interface that the plan names, or with the default route.
    pub(crate) master: Link,
    /// The interface on it for one tag, by name; the link if it is there.
    pub(crate) vlan: Option<(String, Option<Link>)>,
}

impl Parent {
    /// The name of the interface that containers' interfaces sit on.
    pub(crate) fn name(&self) -> &str {
        match &self.vlan {
            Some((name, _)) => name,
            None => &self.master.name,
        }
    }

    /// That interface, if it is there.
    pub(crate) fn link(&self) -> Option<&Link> {
        match &self.vlan {
            Some((_, link)) => link.as_ref(),
            None => Some(&self.master),
        }
    }

    /// The MTU that an interface on it gets. A plan that wants more was refused.
    pub(crate) fn mtu(&self, plan: &ChildPlan) -> u32 {
        match plan.mtu {
            Mtu::Bytes(bytes) => bytes,
            Mtu::Auto => self.link().unwrap_or(&self.master).mtu,
        }
    }
}

fn conflict(key: &'static str, name: &str, why: impl Into<String>) -> WeftError {
    WeftError::Conflict {
        key,
        name: name.to_owned(),
        why: why.into(),
    }
}

/// The parent, if interfaces can be put on it.
pub(crate) fn look(
    host: &mut Host,
    inside: Option<&mut Container>,
    plan: &ChildPlan,
) -> Result<Parent, WeftError> {
    let socket = match inside {
        Some(inside) if plan.link_in_container => &mut inside.route,
        _ => host.route()?,
    };
    let master = match &plan.master {
        Some(name) => {
            link::find(socket, name)?.ok_or_else(|| conflict("master", name, "does not exist"))?
        }
        None => default_route::interface(socket)?.ok_or_else(|| {
            let why = "is not set, and there is no default route whose interface could be taken";
            conflict("master", "(none)", why)
        })?,
    };
    require_usable(&master, plan)?;
    let vlan = match plan.vlan {
        Some(id) => {
            let name = vlan_link_name(&master.name, id);
            let there = link::find(socket, &name)?;
            if let Some(there) = &there {
                require_vlan_of(there, &master, id)?;
            }
            Some((name, there))
        }
        None => None,
    };
    Ok(Parent { master, vlan })
}

fn require_usable(master: &Link, plan: &ChildPlan) -> Result<(), WeftError> {
    let name = &master.name;
    if master.is_loopback {
        return Err(conflict("master", name, "is the loopback interface"));
    }
    if let Some(index) = master.controller {
        let why = format!(
            "is a port of the interface with index {index}: use that one, or take it out first"
        );
        return Err(conflict("master", name, why));
    }
    match plan.mtu {
        Mtu::Bytes(bytes) if bytes > master.mtu => {
            let why = format!("is more than the {} of {name}", master.mtu);
            Err(conflict("mtu", &bytes.to_string(), why))
        }
        Mtu::Auto | Mtu::Bytes(_) => Ok(()),
    }
}

fn require_vlan_of(there: &Link, master: &Link, id: u16) -> Result<(), WeftError> {
    if there.child == Some(ChildKind::Vlan { id }) && there.parent == Some(master.index) {
        return Ok(());
    }
    let why = format!("exists and is not VLAN {id} of {}", master.name);
    Err(conflict("vlan", &there.name, why))
}

/// The modes in which a parent can be used by one driver: all of its interfaces have the same, or
/// there is only one of them.
pub(crate) fn exclusive_mode(kind: ChildKind) -> Option<String> {
    match kind {
        ChildKind::Macvlan {
            mode: MacvlanMode::Passthru,
            ..
        }
        | ChildKind::Ipvlan { .. } => Some(format!("{} {}", kind.driver(), mode_words(kind))),
        ChildKind::Macvlan { .. } | ChildKind::Vlan { .. } => None,
    }
}

/// Mode, and the flag unless it is the usual one.
pub(crate) fn mode_words(kind: ChildKind) -> String {
    match kind {
        ChildKind::Macvlan { mode, .. } => mode.to_string(),
        ChildKind::Ipvlan {
            mode,
            flag: IpvlanFlag::Bridge,
        } => mode.to_string(),
        ChildKind::Ipvlan { mode, flag } => format!("{mode} {flag}"),
        ChildKind::Vlan { id } => id.to_string(),
    }
}

/// Refuses a mode that the attachments there are already do not go with: with ipvlan the kernel
/// would change theirs.
pub(crate) fn refuse_other_modes(
    transaction: &Transaction<'_>,
    parent: &str,
    kind: ChildKind,
) -> Result<(), WeftError> {
    let passthru = ChildKind::Macvlan {
        mode: MacvlanMode::Passthru,
        broadcast_queue: None,
    };
    let mut others = vec![passthru];
    if let ChildKind::Ipvlan { .. } = kind {
        for mode in [IpvlanMode::L2, IpvlanMode::L3, IpvlanMode::L3s] {
            for flag in [IpvlanFlag::Bridge, IpvlanFlag::Private, IpvlanFlag::Vepa] {
                others.push(ChildKind::Ipvlan { mode, flag });
            }
        }
        others.retain(|other| *other != kind);
    }
    for other in others {
        let Some(mode) = exclusive_mode(other) else {
            continue;
        };
        let object = SharedObject::ParentMode {
            parent: parent.to_owned(),
            mode: mode.clone(),
        };
        if transaction.users_of(&object)? > 0 {
            return Err(WeftError::InUse {
                key: "master",
                name: parent.to_owned(),
                why: format!("is in use as {mode}: that mode, or another master"),
                users: Box::new(Users::Sharing(object)),
            });
        }
    }
    Ok(())
}

/// The index of the interface that containers' interfaces sit on, made if the plan wants one for a
/// tag and there is none.
pub(crate) fn ensure(
    host: &mut Host,
    parent: &Parent,
    id: Option<u16>,
    created: &mut Created,
) -> Result<u32, WeftError> {
    if let Some(there) = parent.link() {
        // Whether the master is up is the administrator's; on one that is down nothing else can be.
        if parent.vlan.is_some() && !there.is_up && parent.master.is_up {
            let mut batch = Batch::new();
            link::set_up(there.index, &mut batch);
            host.route()?.commit(batch)?;
        }
        return Ok(there.index);
    }
    let name = parent.name();
    let mut batch = Batch::new();
    let kind = ChildKind::Vlan {
        id: id.unwrap_or_default(),
    };
    let new = ChildLink::<NetNs> {
        name,
        kind,
        parent: parent.master.index,
        mac: None,
        mtu: parent.master.mtu,
        netns: None,
        // On a master that is down it comes up with that.
        up: parent.master.is_up,
    };
    new.create(&mut batch);
    let change = Change {
        alias: Some(VLAN_ALIAS),
        ..Change::default()
    };
    change.apply(name, &mut batch);
    let socket = host.route()?;
    match socket.commit(batch) {
        Ok(()) => created.vlan_link = Some(name.to_owned()),
        // Another ADD made it in the meantime.
        Err(error) if error.is_present() => {}
        Err(error) => return Err(explain(error.into(), kind, &parent.master.name)),
    }
    found(socket, name)
}

fn found(socket: &mut RouteSocket, name: &str) -> Result<u32, WeftError> {
    link::find(socket, name)?
        .map(|link| link.index)
        .ok_or_else(|| conflict("master", name, "vanished while it was being used"))
}

/// What the kernel's refusals to put an interface on a parent mean.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "other errors explain themselves"
)]
pub(crate) fn explain(error: WeftError, kind: ChildKind, parent: &str) -> WeftError {
    let WeftError::Kernel(refusal) = &error else {
        return error;
    };
    let passthru = matches!(
        kind,
        ChildKind::Macvlan {
            mode: MacvlanMode::Passthru,
            ..
        }
    );
    match refusal {
        _ if refusal.is_unsupported() => WeftError::NoDriver(kind),
        _ if refusal.is_busy() => conflict(
            "master",
            parent,
            "is in use by another driver: a bridge, a bond, or ipvlan where this is macvlan (one \
             parent serves only one of them)",
        ),
        _ if refusal.is_invalid() && matches!(kind, ChildKind::Macvlan { .. }) => {
            let why = if passthru {
                "is in use by another macvlan: passthru needs the parent for itself"
            } else {
                "is in use by a macvlan in passthru mode, which has it for itself"
            };
            conflict("master", parent, why)
        }
        _ => error,
    }
}

/// Deletes a VLAN interface if Weft made it.
pub(crate) fn remove_vlan(host: &mut Host, name: &str) -> Result<(), WeftError> {
    match link::find(host.route()?, name)? {
        Some(there) if there.alias == VLAN_ALIAS => super::links::delete_alone(host, name),
        _ => Ok(()),
    }
}
