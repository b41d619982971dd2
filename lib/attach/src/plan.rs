//! What an interface plugin wants: its configuration, understood and free of contradictions.

mod bridge;
mod child;
mod device;
mod labels;

use std::collections::BTreeMap;

use weft_cni::result::{Dns, IpConfig, Route};
use weft_cni::{AttachmentId, CniError, CniResult, Mac, Request, SpecVersion};
use weft_firewall::ruleset::Masquerade;
use weft_kernel::address::DuplicateDetection;

pub use bridge::{BridgePlan, OverlayPlan};
pub use child::{ChildPlan, HostAccess};
pub use device::{DeviceSelector, HostPlan, MovedPlan};
pub use labels::{labels as container_labels, name as container_name};

use crate::kinds::LinkKind;
use crate::sysctls::Sysctls;
use weft_ipam::IpamConfig;
use weft_node::names::config_digest;

/// One attachment to be made.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The attachment that the call is for.
    pub id: AttachmentId,
    /// The plugin that makes it.
    pub plugin: &'static str,
    /// The version to speak, which limits what a result can say.
    pub version: SpecVersion,
    /// The path of the container's namespace.
    pub netns: String,
    /// The namespace may be the plugin's own.
    pub netns_override: bool,
    /// The configuration.
    pub settings: Settings,
    /// A digest of the configuration.
    pub config_digest: String,
    /// What the container is called, if the runtime says so.
    pub name: Option<String>,
    /// Labels of the pod, for policies.
    pub labels: BTreeMap<String, String>,
}

impl Plan {
    /// The kind of link that is wanted.
    pub(crate) fn kind(&self) -> &dyn LinkKind {
        self.settings.link.kind()
    }

    /// The plan of an ADD.
    ///
    /// # Errors
    /// Code 4.
    pub fn new(
        plugin: &'static str,
        request: &Request,
        settings: Settings,
    ) -> Result<Self, CniError> {
        Ok(Self {
            id: request.attachment_id()?,
            plugin,
            version: request.conf.version,
            netns: request.env.get("CNI_NETNS").unwrap_or_default().to_owned(),
            netns_override: request.env.netns_override(),
            settings,
            config_digest: config_digest(&request.input),
            name: labels::name(request)?,
            labels: labels::labels(request)?,
        })
    }

    /// Refuses, before anything is made, what the result cannot say in the version to speak.
    ///
    /// # Errors
    /// Code 7.
    pub(crate) fn require_expressible(&self) -> Result<(), CniError> {
        let ipam = &self.settings.ipam;
        let has_addresses = self.kind().is_in_host() || !matches!(ipam, Ipam::None);
        CniResult::require_address_for(self.version, has_addresses)?;
        let families = match ipam {
            Ipam::Store(config) => config.families(),
            Ipam::Given(given) => given.ips.iter().map(|ip| ip.address.is_ipv4()).collect(),
            Ipam::None | Ipam::Delegate(_) => Vec::new(),
        };
        CniResult::require_one_of_each_family(self.version, &families)
    }
}

/// A configuration, understood.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What the container's interface is, and what it is connected to.
    pub link: LinkPlan,
    /// Its MAC; derived if none.
    pub mac: Option<Mac>,
    /// It is brought up.
    pub up: bool,
    /// Duplicate detection of IPv6 addresses.
    pub detection: DuplicateDetection,
    /// Kernel parameters of the container, set before the interface is up.
    pub sysctls: Sysctls,
    /// Where addresses come from.
    pub ipam: Ipam,
    /// Traffic to outside takes the host's address.
    pub masquerade: Option<Masquerade>,
    /// Frames with another source MAC than the container's are dropped.
    pub mac_spoof_check: bool,
    /// Packets with another source address than the container's are dropped too.
    pub anti_spoof: bool,
    /// Resolver settings that replace IPAM's, unless empty.
    pub dns: Dns,
}

/// What a container's interface is.
#[derive(Debug, Clone)]
pub enum LinkPlan {
    /// One end of a pair, the other a port of a bridge.
    Bridge(BridgePlan),
    /// On a parent.
    Child(ChildPlan),
    /// An interface of the host, moved into the container.
    Moved(MovedPlan),
    /// The host's own network, nothing is made.
    Host(HostPlan),
}

/// The MTU that a configuration asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mtu {
    /// A bridge's, if there is one, else that of the interface with the default route; a parent's.
    Auto,
    /// So many bytes.
    Bytes(u32),
}

/// Where addresses come from.
#[derive(Debug, Clone)]
pub enum Ipam {
    /// There are none.
    None,
    /// From Weft's store, in the same transaction as the record.
    Store(Box<IpamConfig>),
    /// From another plugin.
    Delegate(crate::delegate::DelegateIpam),
    /// From the plugin before in the chain.
    Given(Given),
}

/// What the result of the plugin before says.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// Addresses.
    pub ips: Vec<IpConfig>,
    /// Routes of the container, in the order of the result.
    pub routes: Vec<Route>,
    /// Resolver settings.
    pub dns: Dns,
}
