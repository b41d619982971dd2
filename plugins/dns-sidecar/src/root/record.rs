//! What an attachment's record says of names.

use ipnetwork::IpNetwork;
use weft_store::{AttachmentRecord, LinkRecord, NetnsRecord};

use crate::channel::{Endpoint, Network};

/// How much of a container's id is a name of it too.
const SHORT_ID: usize = 12;

/// An attachment that has names, with what it says of its network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) endpoint: Endpoint,
    pub(super) network: Network,
    /// Where it asks inside.
    pub(super) netns: Option<NetnsRecord>,
}

/// None if weft-dns has said nothing.
pub(super) fn named(record: &AttachmentRecord) -> Option<Named> {
    let names = record.names()?;
    let mut all: Vec<String> = names.names.clone();
    let id = record.id.container_id.as_str();
    let short = id.get(..SHORT_ID).unwrap_or(id).to_owned();
    let mut short_id = Some(short).filter(|id| !all.contains(id));
    if all.is_empty() {
        all.extend(short_id.take());
    }
    let subnets = record.addresses.iter().filter_map(|one| {
        let whole = one.in_subnet();
        IpNetwork::new(whole.network(), whole.prefix()).ok()
    });
    let network = record.id.network.to_string();
    Some(Named {
        endpoint: Endpoint {
            id: record.id.to_string(),
            container: record.id.container_id.to_string(),
            network: network.clone(),
            names: all,
            short_id,
            addresses: names.addresses.clone(),
            services: names.services.clone(),
            texts: names.texts.clone(),
            asks_inside: names.asks_inside,
        },
        network: Network {
            name: network,
            domain: names.domain.clone(),
            servers: names.servers.clone(),
            subnets: subnets.collect(),
            serves_subnets: matches!(record.link, LinkRecord::Port { .. }),
            upstreams: names.upstreams.clone(),
            zones: names.zones.clone(),
            records: names.records.clone(),
            is_internal: names.is_internal,
        },
        netns: record.netns.clone().filter(|_| names.asks_inside),
    })
}
