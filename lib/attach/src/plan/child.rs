//! What weft-macvlan and weft-ipvlan want: an interface on another one, its parent.

use std::net::IpAddr;

use weft_kernel::child::{ChildKind, IpvlanFlag, IpvlanMode, MacvlanMode};

use super::Mtu;

/// An interface on a parent.
#[derive(Debug, Clone)]
pub struct ChildPlan {
    /// What it is.
    pub kind: ChildKind,
    /// The parent's name; none for the interface with the default route.
    pub master: Option<String>,
    /// The parent is in the container's namespace, not the host's.
    pub link_in_container: bool,
    /// The interface's MTU, the parent's at most.
    pub mtu: Mtu,
    /// The parent's frames with this tag only, on an interface that Weft makes for them.
    pub vlan: Option<u16>,
    /// The host and the container reach each other.
    pub host_access: HostAccess,
}

/// Whether the host, which does not reach an interface on its own parent, is given a way to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostAccess {
    /// It is not.
    None,
    /// From the parent's address.
    Parent,
    /// From these addresses, one per family at most.
    Addresses(Vec<IpAddr>),
}

impl ChildPlan {
    /// Whether the parent's namespace routes, without ARP or neighbour discovery.
    pub fn is_routed(&self) -> bool {
        matches!(
            self.kind,
            ChildKind::Ipvlan {
                mode: IpvlanMode::L3 | IpvlanMode::L3s,
                ..
            }
        )
    }

    /// Whether interfaces on the parent reach each other.
    pub fn is_switched(&self) -> bool {
        match self.kind {
            ChildKind::Macvlan { mode, .. } => mode == MacvlanMode::Bridge,
            ChildKind::Ipvlan { flag, .. } => flag == IpvlanFlag::Bridge,
            ChildKind::Vlan { .. } => false,
        }
    }

    /// Whether the interface has the parent's MAC.
    pub fn shares_mac(&self) -> bool {
        !matches!(
            self.kind,
            ChildKind::Macvlan {
                mode: MacvlanMode::Bridge | MacvlanMode::Private | MacvlanMode::Vepa,
                ..
            }
        )
    }
}
