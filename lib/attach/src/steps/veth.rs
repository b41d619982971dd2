//! The pair of interfaces between host and container.

use weft_cni::Mac;
use weft_kernel::NetNs;
use weft_kernel::bridge::PortOptions;
use weft_kernel::link::{Change, VethPair, find};
use weft_kernel::netlink::Batch;
use weft_kernel::vlan::{self, DEFAULT_VLAN, Membership, PortVlan};
use weft_node::{Host, WeftError};
use weft_store::HostLink;

pub(crate) const IPV6_MINIMUM_MTU: u32 = 1280;

/// The end of the pair that goes into the container, as it is to be.
#[derive(Debug)]
pub(crate) struct ContainerEnd<'a> {
    pub(crate) name: &'a str,
    pub(crate) mac: Mac,
    pub(crate) netns: Option<&'a NetNs>,
}

/// How a port of the bridge takes part in VLANs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct VlanSettings<'a> {
    pub(crate) native: Option<u16>,
    pub(crate) trunk: &'a [u16],
    pub(crate) keep_default: bool,
}

impl VlanSettings<'_> {
    fn is_used(&self) -> bool {
        self.native.is_some() || !self.trunk.is_empty()
    }
}

/// Makes the pair in place, the host's end a port of the bridge and up, the other end down.
pub(crate) fn create(
    host: &mut Host,
    (link, is_guarded, is_of_overlay): (&HostLink, bool, bool),
    host_mac: Mac,
    alias: &str,
    bridge: (u32, u32),
    end: &ContainerEnd<'_>,
) -> Result<(), WeftError> {
    let (bridge_index, mtu) = bridge;
    let mut batch = Batch::new();
    let pair = VethPair {
        name: &link.name,
        mac: host_mac,
        mtu,
        controller: Some(bridge_index),
        peer_name: end.name,
        peer_mac: end.mac,
        peer_netns: end.netns,
    };
    pair.create(&mut batch);
    let options = PortOptions {
        hairpin: link.hairpin,
        isolated: link.isolated,
        bpdu_guard: is_guarded,
    };
    let port = (options != PortOptions::default()).then_some(&options);
    let change = Change {
        alias: Some(alias),
        // Below IPv6's smallest MTU (RFC 8200) the interface has no IPv6 side to speak to.
        without_ipv6_address: mtu >= IPV6_MINIMUM_MTU,
        // Frames to the addresses that are reserved for bridges come in as the port's own, past the bridge's hooks. An
        // overlay's bridge answers by its ports for containers of other hosts.
        without_arp: !is_of_overlay,
        answers_no_arp: is_of_overlay,
        port,
        up: true,
        ..Change::default()
    };
    change.apply(&link.name, &mut batch);
    Ok(host.route()?.commit(batch)?)
}

/// Puts a port into its VLANs; the bridge has put it into its default one.
pub(crate) fn set_vlans(
    host: &mut Host,
    name: &str,
    settings: VlanSettings<'_>,
) -> Result<(), WeftError> {
    if !settings.is_used() {
        return Ok(());
    }
    let socket = host.route()?;
    let Some(port) = find(socket, name)? else {
        return Ok(());
    };
    let mut batch = Batch::new();
    if settings.native.is_some_and(|id| id != DEFAULT_VLAN) && !settings.keep_default {
        vlan::remove(port.index, DEFAULT_VLAN, &mut batch);
    }
    if let Some(id) = settings.native {
        vlan::add(
            port.index,
            PortVlan {
                id,
                membership: Membership::Native,
            },
            &mut batch,
        );
    }
    for id in settings
        .trunk
        .iter()
        .copied()
        .filter(|id| settings.native != Some(*id))
    {
        vlan::add(
            port.index,
            PortVlan {
                id,
                membership: Membership::Tagged,
            },
            &mut batch,
        );
    }
    Ok(socket.commit(batch)?)
}

/// The VLANs a port has after [`set_vlans`].
pub(crate) fn expected_vlans(settings: VlanSettings<'_>) -> Vec<PortVlan> {
    let mut vlans: Vec<PortVlan> = settings
        .trunk
        .iter()
        .map(|id| PortVlan {
            id: *id,
            membership: Membership::Tagged,
        })
        .collect();
    vlans.retain(|vlan| Some(vlan.id) != settings.native);
    vlans.extend(settings.native.map(|id| PortVlan {
        id,
        membership: Membership::Native,
    }));
    vlans.sort_unstable();
    vlans
}
