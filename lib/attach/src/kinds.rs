//! The kinds of links that a container's interface can be. Each is one file with all that is only its own: what it
//! looks at before an ADD, what it names in the record, what it makes, and what CHECK and STATUS ask of it.
//!
//! Why it is so: docs/decisions/project.md.

mod bridge;
mod child;
mod host;
mod moved;

use std::net::IpAddr;

use weft_cni::Mac;
use weft_cni::result::Interface;
use weft_ipam::IpamConfig;
use weft_node::{Container, Host, WeftError};
use weft_store::{
    AddressRecord, AttachmentRecord, ContainerLink, LinkRecord, NetworkRecord, Transaction,
};

use crate::add::Leased;
use crate::differences::Differences;
use crate::plan::{LinkPlan, Plan, Settings};
use crate::steps::{Created, container};

/// A kind of link, with what a configuration wants of it.
pub(crate) trait LinkKind {
    /// Looks around on the host, and refuses what cannot be done. Nothing is changed.
    fn look<'a>(
        &'a self,
        host: &mut Host,
        plan: &'a Plan,
        inside: &mut Container,
    ) -> Result<Box<dyn PreparedLink + 'a>, WeftError>;

    /// Compares the kernel with the plan, and with what only a record of this kind has.
    fn check(&self, checking: &mut Checking<'_>) -> Result<(), WeftError>;

    /// Whether an ADD would succeed.
    fn status(&self, host: &mut Host, network: &NetworkState<'_>) -> Result<(), WeftError>;

    /// The gateway of an address, for the result.
    fn gateway(&self, one: &AddressRecord) -> Option<IpAddr> {
        one.gateway
    }

    /// What is known of the network while it is closed; none for an open one.
    fn closed_network(&self) -> Option<NetworkRecord> {
        None
    }

    /// The bridge that it is a port of.
    fn bridge(&self) -> Option<&str> {
        None
    }

    /// The container is in the host's namespace.
    fn is_in_host(&self) -> bool {
        false
    }

    /// Without a record, its interfaces can be found only inside containers.
    fn is_seen_inside_only(&self) -> bool {
        false
    }

    /// An earlier interface of this kind may wait for its own name, which the next ADD asks for.
    fn may_wait_for_its_name(&self) -> bool {
        false
    }
}

/// A link to be made, with what is known of the host before anything is done.
pub(crate) trait PreparedLink {
    /// The interface's MTU in bytes.
    fn mtu(&self) -> u32;

    /// The interface's MAC, unless it derives from its address.
    fn fixed_mac(&self) -> Option<Mac> {
        None
    }

    /// Addresses that the container has without IPAM.
    fn own_addresses(&self) -> Vec<AddressRecord> {
        Vec::new()
    }

    /// Whether machines beyond the host may know an address by another MAC.
    fn has_neighbours(&self) -> bool;

    /// The bridge or master on which an address is to be the container's alone.
    fn segment(&self) -> Option<String> {
        None
    }

    /// What the attachments there are already forbid.
    fn refuse_conflicts(&self, _transaction: &Transaction<'_>) -> Result<(), WeftError> {
        Ok(())
    }

    /// Names in the record everything that [`Self::apply`] will make. `own` is the interface in the container.
    fn complete(
        &self,
        own: ContainerLink,
        leased: &Leased,
        record: &mut AttachmentRecord,
    ) -> Result<LinkRecord, WeftError>;

    /// Makes the interface that the record names, without addresses, if it is not there by itself.
    fn make_link(&self, _making: &mut Making<'_>) -> Result<(), WeftError> {
        Ok(())
    }

    /// Makes everything the record names; the interfaces of the result.
    fn apply(
        &self,
        making: &mut Making<'_>,
        settings: container::Settings<'_>,
    ) -> Result<Vec<Interface>, WeftError>;

    /// Waits until the interface, just made, passes packets. What is made below a link of the host does so at once.
    fn await_carrier(&self, _host: &mut Host, _record: &AttachmentRecord) -> Result<(), WeftError> {
        Ok(())
    }
}

/// What an ADD works on while it makes what its record names.
pub(crate) struct Making<'a> {
    pub(crate) host: &'a mut Host,
    pub(crate) record: &'a AttachmentRecord,
    pub(crate) inside: &'a mut Container,
    /// What has been changed on the host besides the attachment's own objects.
    pub(crate) created: &'a mut Created,
}

/// What CHECK compares.
pub(crate) struct Checking<'a> {
    pub(crate) host: &'a mut Host,
    pub(crate) record: &'a AttachmentRecord,
    /// The container, if the record names an interface there.
    pub(crate) inside: Option<&'a mut Container>,
    pub(crate) found: &'a mut Differences,
}

/// A network as STATUS finds it.
pub(crate) struct NetworkState<'a> {
    pub(crate) settings: &'a Settings,
    /// The attachments that it has.
    pub(crate) records: &'a [AttachmentRecord],
    /// Its addresses, if they are from Weft's store.
    pub(crate) ipam: Option<&'a IpamConfig>,
}

impl LinkPlan {
    /// What the link does for each verb.
    pub(crate) fn kind(&self) -> &dyn LinkKind {
        match self {
            Self::Bridge(plan) => plan,
            Self::Child(plan) => plan,
            Self::Moved(plan) => plan,
            Self::Host(plan) => plan,
        }
    }
}
