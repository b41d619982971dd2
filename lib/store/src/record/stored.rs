//! How a record is written: one flat object, the same as before records had kinds, so that the records of a host
//! that runs are read after an update, and by the Weft before it.
//!
//! Why it is so: docs/decisions/store.md.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weft_cni::AttachmentId;
use weft_cni::result::Route;

use super::{
    Addition, AddressRecord, AttachmentRecord, BandwidthRecord, ContainerLink, Delegate,
    DeviceRecord, Ending, FirewallRecord, HostLink, HostRoute, LinkRecord, NamesRecord,
    NetnsRecord, ParentRecord, PortRecord, TuningRecord, WarpRecord,
};
use crate::elements::{NftRecord, by_set};
use crate::isolation::Isolation;
use crate::shared::SharedObject;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stored<'a> {
    id: Cow<'a, AttachmentId>,
    plugin: Cow<'a, str>,
    created_at: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    instance: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "is_empty_map")]
    labels: Cow<'a, BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    netns: Option<Cow<'a, NetnsRecord>>,
    /// One, or none.
    #[serde(default, skip_serializing_if = "is_empty")]
    host_links: Cow<'a, [HostLink]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    container_link: Option<Cow<'a, ContainerLink>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<Cow<'a, ParentRecord>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<Cow<'a, DeviceRecord>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    host_network: bool,
    #[serde(default, skip_serializing_if = "is_empty")]
    host_routes: Cow<'a, [HostRoute]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tuning: Option<Cow<'a, TuningRecord>>,
    #[serde(default, skip_serializing_if = "is_empty")]
    addresses: Cow<'a, [AddressRecord]>,
    #[serde(default, skip_serializing_if = "is_empty")]
    routes: Cow<'a, [Route]>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_routed_by_host: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source_table: Option<u32>,
    #[serde(default, skip_serializing_if = "is_empty", with = "by_set")]
    nft: Cow<'a, [NftRecord]>,
    #[serde(default, skip_serializing_if = "is_empty")]
    ports: Cow<'a, [PortRecord]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bandwidth: Option<Cow<'a, BandwidthRecord>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    firewall: Option<Cow<'a, FirewallRecord>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dns: Option<Cow<'a, NamesRecord>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    warp: Option<Cow<'a, WarpRecord>>,
    #[serde(default, skip_serializing_if = "Ending::is_nothing")]
    ending: Cow<'a, Ending>,
    #[serde(default, skip_serializing_if = "Isolation::is_none")]
    isolation: Isolation,
    #[serde(default, skip_serializing_if = "is_empty")]
    shared: Cow<'a, [SharedObject]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delegate: Option<Cow<'a, Delegate>>,
    config_digest: Cow<'a, str>,
}

/// Records of before have none.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
fn is_zero(instance: &u64) -> bool {
    *instance == 0
}

fn is_empty<T>(list: &[T]) -> bool {
    list.is_empty()
}

fn is_empty_map(map: &BTreeMap<String, String>) -> bool {
    map.is_empty()
}

fn borrowed<T: Clone>(value: &T) -> Option<Cow<'_, T>> {
    Some(Cow::Borrowed(value))
}

impl<'a> Stored<'a> {
    pub(super) fn of(record: &'a AttachmentRecord) -> Self {
        let mut stored = Self {
            id: Cow::Borrowed(&record.id),
            plugin: (&record.plugin).into(),
            created_at: record.created_at,
            instance: record.instance,
            name: record.name.as_ref().map(Cow::from),
            labels: Cow::Borrowed(&record.labels),
            netns: record.netns.as_ref().and_then(borrowed),
            host_links: Cow::default(),
            container_link: record.link.own().and_then(borrowed),
            parent: None,
            device: None,
            host_network: false,
            host_routes: Cow::default(),
            tuning: None,
            addresses: (&record.addresses).into(),
            routes: (&record.routes).into(),
            is_routed_by_host: record.is_routed_by_host,
            source_table: record.source_table,
            nft: (&record.nft).into(),
            ports: Cow::default(),
            bandwidth: None,
            firewall: None,
            dns: None,
            warp: None,
            ending: Cow::Borrowed(&record.ending),
            isolation: record.isolation,
            shared: (&record.shared).into(),
            delegate: record.delegate.as_ref().and_then(borrowed),
            config_digest: (&record.config_digest).into(),
        };
        match &record.link {
            LinkRecord::Foreign => {}
            LinkRecord::Port { host, .. } => stored.host_links = std::slice::from_ref(host).into(),
            LinkRecord::OnParent {
                parent,
                host_routes,
                ..
            } => {
                stored.parent = borrowed(parent);
                stored.host_routes = host_routes.into();
            }
            LinkRecord::Moved { device, .. } => stored.device = borrowed(device),
            LinkRecord::Host { .. } => stored.host_network = true,
        }
        for addition in &record.additions {
            match addition {
                Addition::Settings(settings) => stored.tuning = borrowed(settings),
                Addition::Ports(ports) => stored.ports = ports.into(),
                Addition::Limits(limits) => stored.bandwidth = borrowed(limits),
                Addition::Apart(apart) => stored.firewall = borrowed(apart),
                Addition::Names(names) => stored.dns = borrowed(names),
                Addition::Warp(warp) => stored.warp = borrowed(warp),
            }
        }
        stored
    }
}

/// An interface of no kind: written by a newer Weft, or damaged.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0}: this version of Weft does not know its kind of interface; remove its container with the \
     version that made it"
)]
pub(super) struct UnknownKind(AttachmentId);

impl TryFrom<Stored<'_>> for AttachmentRecord {
    type Error = UnknownKind;

    fn try_from(stored: Stored<'_>) -> Result<Self, UnknownKind> {
        let own = stored.container_link.map(Cow::into_owned);
        let port = stored.host_links.into_owned().into_iter().next();
        let link = match (port, stored.parent, stored.device, own) {
            (Some(host), _, _, own) => LinkRecord::Port { host, own },
            (None, Some(parent), _, Some(own)) => LinkRecord::OnParent {
                own,
                parent: parent.into_owned(),
                host_routes: stored.host_routes.into_owned(),
            },
            (None, None, Some(device), Some(own)) => LinkRecord::Moved {
                own,
                device: device.into_owned(),
            },
            (None, None, None, Some(own)) if stored.host_network => LinkRecord::Host { own },
            (None, None, None, None) => LinkRecord::Foreign,
            _ => return Err(UnknownKind(stored.id.into_owned())),
        };
        let settings = stored
            .tuning
            .map(|one| Addition::Settings(one.into_owned()));
        let ports = stored.ports.into_owned();
        let ports = (!ports.is_empty()).then_some(Addition::Ports(ports));
        let limits = stored
            .bandwidth
            .map(|one| Addition::Limits(one.into_owned()));
        let apart = stored.firewall.map(|one| Addition::Apart(one.into_owned()));
        let names = stored.dns.map(|one| Addition::Names(one.into_owned()));
        let warp = stored.warp.map(|one| Addition::Warp(one.into_owned()));
        let additions = [settings, ports, limits, apart, names, warp];
        Ok(Self {
            id: stored.id.into_owned(),
            plugin: stored.plugin.into_owned(),
            created_at: stored.created_at,
            instance: stored.instance,
            name: stored.name.map(Cow::into_owned),
            labels: stored.labels.into_owned(),
            netns: stored.netns.map(Cow::into_owned),
            link,
            additions: additions.into_iter().flatten().collect(),
            addresses: stored.addresses.into_owned(),
            routes: stored.routes.into_owned(),
            is_routed_by_host: stored.is_routed_by_host,
            source_table: stored.source_table,
            nft: stored.nft.into_owned(),
            ending: stored.ending.into_owned(),
            isolation: stored.isolation,
            shared: stored.shared.into_owned(),
            delegate: stored.delegate.map(Cow::into_owned),
            config_digest: stored.config_digest.into_owned(),
        })
    }
}
