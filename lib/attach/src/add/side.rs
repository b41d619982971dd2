//! The part of an ADD that depends on what the container's interface is.

use ipnetwork::IpNetwork;
use weft_cni::result::Interface;
use weft_kernel::Mac;
use weft_node::{Container, Host, WeftError};
use weft_store::{AddressRecord, AttachmentRecord, Transaction, segment_of_bridge};

use super::bridge::BridgeSide;
use super::child::ChildSide;
use super::device::DeviceSide;
use super::record::Leased;
use crate::plan::{LinkPlan, Plan};
use crate::steps::container::Settings;
use crate::steps::{Created, isolation};

/// What is known of the host before anything is done.
pub(super) enum Side {
    Bridge(BridgeSide),
    Child(ChildSide),
    Device(DeviceSide),
}

impl Side {
    /// Looks around, and refuses what cannot be done.
    pub(super) fn look(
        host: &mut Host,
        plan: &Plan,
        inside: &mut Container,
    ) -> Result<Self, WeftError> {
        Ok(match &plan.settings.link {
            LinkPlan::Bridge(bridge) => Self::Bridge(BridgeSide::look(host, bridge)?),
            LinkPlan::Child(child) => Self::Child(ChildSide::look(host, inside, child)?),
            LinkPlan::Device(device) => Self::Device(DeviceSide::look(host, plan, device)?),
        })
    }

    /// Addresses that the container has without IPAM.
    pub(super) fn own_addresses(&self) -> Vec<AddressRecord> {
        match self {
            Self::Bridge(_) | Self::Child(_) => Vec::new(),
            Self::Device(side) => side.addresses.clone(),
        }
    }

    /// The interface's MAC, unless it derives from its address.
    pub(super) fn fixed_mac(&self, plan: &Plan) -> Option<Mac> {
        match (self, &plan.settings.link) {
            (Self::Child(side), LinkPlan::Child(child)) if child.shares_mac() => side.parent_mac(),
            (Self::Device(side), _) => side.link.mac,
            _ => None,
        }
    }

    /// The interface's MTU.
    pub(super) fn mtu(&self, plan: &Plan) -> u32 {
        match (self, &plan.settings.link) {
            (Self::Bridge(side), _) => side.mtu,
            (Self::Child(side), LinkPlan::Child(child)) => side.parent.mtu(child),
            (Self::Child(side), _) => side.parent.master.mtu,
            (Self::Device(side), _) => side.link.mtu,
        }
    }

    /// Whether machines beyond the host may know an address by another MAC.
    pub(super) fn has_neighbours(&self, plan: &Plan) -> bool {
        match (self, &plan.settings.link) {
            (Self::Bridge(side), _) => side.uplink.is_some(),
            (Self::Child(_), LinkPlan::Child(child)) => !child.is_routed(),
            (Self::Child(_), _) => false,
            (Self::Device(_), _) => true,
        }
    }

    /// The bridge or master on which an address is to be the container's alone.
    pub(super) fn segment(&self, plan: &Plan) -> Option<String> {
        match (self, &plan.settings.link) {
            (Self::Bridge(_), LinkPlan::Bridge(bridge)) => {
                Some(segment_of_bridge(&bridge.name, bridge.vlan))
            }
            (Self::Child(side), LinkPlan::Child(child)) => {
                (!child.link_in_container).then(|| side.parent.name().to_owned())
            }
            _ => None,
        }
    }

    /// Makes the interface that the record names, without addresses.
    pub(super) fn make_link(
        &self,
        host: &mut Host,
        plan: &Plan,
        record: &AttachmentRecord,
        inside: &mut Container,
        created: &mut Created,
    ) -> Result<(), WeftError> {
        match (self, &plan.settings.link) {
            (Self::Bridge(side), LinkPlan::Bridge(bridge)) => side
                .make_link(host, (plan, bridge), record, inside, created)
                .map(drop),
            (Self::Child(side), LinkPlan::Child(child)) => side
                .make_link(host, (plan, child), record, inside, created)
                .map(drop),
            // It is there.
            _ => Ok(()),
        }
    }

    /// What the attachments there are already forbid.
    pub(super) fn refuse_conflicts(
        &self,
        plan: &Plan,
        transaction: &Transaction<'_>,
    ) -> Result<(), WeftError> {
        match (self, &plan.settings.link) {
            (Self::Child(side), LinkPlan::Child(child)) => {
                side.refuse_conflicts(child, transaction)
            }
            (Self::Bridge(_), LinkPlan::Bridge(bridge)) => {
                isolation::refuse_other_modes(&bridge.name, bridge.isolation, transaction)
            }
            _ => Ok(()),
        }
    }

    /// Names in the record everything that [`Self::apply`] will make.
    pub(super) fn complete(
        &self,
        plan: &Plan,
        leased: &Leased,
        networks: &[IpNetwork],
        record: &mut AttachmentRecord,
    ) -> Result<(), WeftError> {
        match (self, &plan.settings.link) {
            (Self::Bridge(side), LinkPlan::Bridge(bridge)) => {
                let there = side.bridge.as_ref();
                super::bridge::complete(plan, (bridge, there), leased, networks, record);
                Ok(())
            }
            (Self::Child(side), LinkPlan::Child(child)) => side.complete(child, leased, record),
            (Self::Device(side), _) => {
                side.complete(record);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Waits until the interface, just made, passes packets; what is made below a link of the host does
    /// so at once.
    pub(super) fn await_carrier(
        &self,
        host: &mut Host,
        record: &AttachmentRecord,
    ) -> Result<(), WeftError> {
        match self {
            Self::Bridge(_) => super::bridge::await_carrier(host, record),
            Self::Child(_) | Self::Device(_) => Ok(()),
        }
    }

    /// Makes everything the record names; the interfaces of the result.
    pub(super) fn apply(
        &self,
        host: &mut Host,
        plan: &Plan,
        record: &AttachmentRecord,
        inside: &mut Container,
        settings: Settings<'_>,
        created: &mut Created,
    ) -> Result<Vec<Interface>, WeftError> {
        match (self, &plan.settings.link) {
            (Self::Bridge(side), LinkPlan::Bridge(bridge)) => {
                side.apply(host, (plan, bridge), record, inside, settings, created)
            }
            (Self::Child(side), LinkPlan::Child(child)) => {
                side.apply(host, (plan, child), record, inside, settings, created)
            }
            (Self::Device(side), _) => side.apply(host, plan, record, inside, settings),
            _ => Ok(Vec::new()),
        }
    }
}
