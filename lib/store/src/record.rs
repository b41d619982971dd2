//! The attachment record: everything that DEL, CHECK and GC need, written before anything exists.

mod addition;
mod address;
mod link;
mod names;
mod netns;
mod stored;
mod warp;

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use weft_cni::AttachmentId;
use weft_cni::result::Route;

pub use addition::{Addition, BandwidthRecord, Ending, FirewallRecord, TuningRecord};
pub use address::{AddressRecord, PortRecord};
pub use link::{
    ContainerLink, DeviceIdentity, DevicePeer, DeviceRecord, HostLink, HostRoute, LinkRecord,
    ParentRecord, segment_of_bridge,
};
pub use names::{ForwardZone, NamesRecord, Service, ServicePlace, StaticRecord};
pub use netns::NetnsRecord;
use stored::Stored;
pub use warp::WarpRecord;

use crate::elements::NftRecord;
use crate::isolation::Isolation;
use crate::shared::SharedObject;

/// One attachment. How it is written is in `stored`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Stored<'static>")]
pub struct AttachmentRecord {
    /// The key of the record.
    pub id: AttachmentId,
    /// The plugin that made it.
    pub plugin: String,
    /// When, in seconds since 1970.
    pub created_at: u64,
    /// What tells this ADD from another one of the same attachment, in the same second too.
    pub instance: u64,
    /// What the container is called, if the runtime has said so.
    pub name: Option<String>,
    /// Labels of the pod, for policies.
    pub labels: BTreeMap<String, String>,
    /// The container's network namespace; none for an IPAM plugin's lease.
    pub netns: Option<NetnsRecord>,
    /// Its interface.
    pub link: LinkRecord,
    /// What chained plugins have added, in the order in which they did.
    pub additions: Vec<Addition>,
    /// Leased and fixed ones, in the order of the result.
    pub addresses: Vec<AddressRecord>,
    /// Routes of the container, as ADD made them.
    pub routes: Vec<Route>,
    /// The host is the router of its network.
    pub is_routed_by_host: bool,
    /// The table that what is sent from its addresses is routed by, where the container has other interfaces.
    pub source_table: Option<u32>,
    /// Elements of nf_tables sets that are this attachment's alone.
    pub nft: Vec<NftRecord>,
    /// Connections that are to end with the interface.
    pub ending: Ending,
    /// How closed its network is.
    pub isolation: Isolation,
    /// What it shares with other attachments.
    pub shared: Vec<SharedObject>,
    /// The IPAM plugin to run DEL of, if it is not Weft's store.
    pub delegate: Option<Delegate>,
    /// A digest of the configuration it was made with.
    pub config_digest: String,
}

/// Another IPAM plugin that has to be told of the DEL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delegate {
    /// Its type.
    pub plugin: String,
}

impl Serialize for AttachmentRecord {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Stored::of(self).serialize(serializer)
    }
}

impl AttachmentRecord {
    /// A record with nothing in it yet, of an ADD that begins now.
    pub fn new(id: AttachmentId, plugin: &str) -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            id,
            plugin: plugin.to_owned(),
            created_at: now.as_secs(),
            instance: u64::try_from(now.as_nanos()).unwrap_or(0),
            name: None,
            labels: BTreeMap::new(),
            netns: None,
            link: LinkRecord::Foreign,
            additions: Vec::new(),
            addresses: Vec::new(),
            routes: Vec::new(),
            is_routed_by_host: false,
            source_table: None,
            nft: Vec::new(),
            ending: Ending::default(),
            isolation: Isolation::None,
            shared: Vec::new(),
            delegate: None,
            config_digest: String::new(),
        }
    }

    /// Whether both are of one ADD, whatever has been added to the record since.
    pub fn is_of_same_add(&self, other: &Self) -> bool {
        (&self.id, self.created_at, self.instance) == (&other.id, other.created_at, other.instance)
    }

    /// Whether both are in one network namespace.
    pub fn is_beside(&self, other: &Self) -> bool {
        let both = self.netns.as_ref().zip(other.netns.as_ref());
        both.is_some_and(|(own, other)| own.is_same(other))
    }

    /// Whether both are one container's. Its id alone says that only where no namespace is known: ids are given again.
    pub fn is_of_container(&self, other: &Self) -> bool {
        let both = self.netns.as_ref().zip(other.netns.as_ref());
        self.id.container_id == other.id.container_id
            && both.is_none_or(|(own, other)| own.is_same(other))
    }

    /// Whether weft-firewall keeps its container apart from others.
    pub fn is_kept_apart(&self) -> bool {
        self.apart().is_some_and(|one| !one.is_open)
    }

    /// The interface of the host that holds the gateway addresses of its network.
    pub fn gateway_link(&self) -> Option<String> {
        self.link.port()?.gateway_link()
    }

    /// Ports of the host that lead to it.
    pub fn ports(&self) -> &[PortRecord] {
        let found = self.additions.iter().find_map(|one| match one {
            Addition::Ports(ports) => Some(ports.as_slice()),
            Addition::Settings(_)
            | Addition::Limits(_)
            | Addition::Apart(_)
            | Addition::Names(_)
            | Addition::Warp(_) => None,
        });
        found.unwrap_or_default()
    }

    /// Settings as they were before weft-tuning.
    pub fn settings(&self) -> Option<&TuningRecord> {
        self.additions.iter().find_map(|one| match one {
            Addition::Settings(settings) => Some(settings),
            Addition::Ports(_)
            | Addition::Limits(_)
            | Addition::Apart(_)
            | Addition::Names(_)
            | Addition::Warp(_) => None,
        })
    }

    /// What weft-bandwidth set.
    pub fn limits(&self) -> Option<&BandwidthRecord> {
        self.additions.iter().find_map(|one| match one {
            Addition::Limits(limits) => Some(limits),
            Addition::Settings(_)
            | Addition::Ports(_)
            | Addition::Apart(_)
            | Addition::Names(_)
            | Addition::Warp(_) => None,
        })
    }

    /// What weft-firewall changed.
    pub fn apart(&self) -> Option<&FirewallRecord> {
        self.additions.iter().find_map(|one| match one {
            Addition::Apart(apart) => Some(apart),
            Addition::Settings(_)
            | Addition::Ports(_)
            | Addition::Limits(_)
            | Addition::Names(_)
            | Addition::Warp(_) => None,
        })
    }

    /// By which names it is found, if weft-dns has said so.
    pub fn names(&self) -> Option<&NamesRecord> {
        self.additions.iter().find_map(|one| match one {
            Addition::Names(names) => Some(names),
            Addition::Settings(_)
            | Addition::Ports(_)
            | Addition::Limits(_)
            | Addition::Apart(_)
            | Addition::Warp(_) => None,
        })
    }

    /// By whom it is led, or that it leads others, if weft-warp has said so.
    pub fn warp(&self) -> Option<&WarpRecord> {
        self.additions.iter().find_map(|one| match one {
            Addition::Warp(warp) => Some(warp),
            Addition::Settings(_)
            | Addition::Ports(_)
            | Addition::Limits(_)
            | Addition::Apart(_)
            | Addition::Names(_) => None,
        })
    }

    /// Puts an addition in, in place of one of the same kind.
    pub fn set_addition(&mut self, addition: Addition) {
        let is_same =
            |one: &&mut Addition| std::mem::discriminant(*one) == std::mem::discriminant(&addition);
        match self.additions.iter_mut().find(is_same) {
            Some(there) => *there = addition,
            None => self.additions.push(addition),
        }
    }

    /// Takes the settings out.
    pub fn take_settings(&mut self) -> Option<TuningRecord> {
        let settings = self.settings().cloned();
        self.additions
            .retain(|one| !matches!(one, Addition::Settings(_)));
        settings
    }

    /// Takes the ports out.
    pub fn take_ports(&mut self) -> Vec<PortRecord> {
        let ports = self.ports().to_vec();
        self.additions
            .retain(|one| !matches!(one, Addition::Ports(_)));
        ports
    }

    /// Takes the limits out.
    pub fn take_limits(&mut self) -> Option<BandwidthRecord> {
        let limits = self.limits().cloned();
        self.additions
            .retain(|one| !matches!(one, Addition::Limits(_)));
        limits
    }

    /// Takes out what keeps it apart.
    pub fn take_apart(&mut self) -> Option<FirewallRecord> {
        let apart = self.apart().cloned();
        self.additions
            .retain(|one| !matches!(one, Addition::Apart(_)));
        apart
    }

    /// Takes the names out.
    pub fn take_names(&mut self) -> Option<NamesRecord> {
        let names = self.names().cloned();
        self.additions
            .retain(|one| !matches!(one, Addition::Names(_)));
        names
    }

    /// Takes out what weft-warp has added.
    pub fn take_warp(&mut self) -> Option<WarpRecord> {
        let warp = self.warp().cloned();
        self.additions
            .retain(|one| !matches!(one, Addition::Warp(_)));
        warp
    }
}
