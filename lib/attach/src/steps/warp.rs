//! Containers that are led through others, as Weft's records have them: who is who, what opens both for each other, and
//! how it is taken back.

mod namespace;
mod open;
mod sending;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnetwork::IpNetwork;
use weft_cni::AttachmentId;
use weft_firewall::ruleset::{LedPort, led_elements};
use weft_kernel::KernelError;
use weft_node::{Host, WeftError, namespaces};
use weft_store::{AttachmentRecord, NftRecord, StoreError, WarpRecord};
use weft_warp::{Container, ContainerId, Endpoint, Near, NetnsPlace, Source};

pub use namespace::{Done, Namespace};
pub use open::open_for;

/// A container by the id that its runtime gives it.
pub fn id_of(record: &AttachmentRecord) -> ContainerId {
    id_of_container(&record.id)
}

/// The same of an attachment's identity.
pub fn id_of_container(id: &AttachmentId) -> ContainerId {
    ContainerId {
        source: Source::Cni,
        id: id.container_id.to_string(),
    }
}

/// A container, of the records of all its attachments. None if weft-warp has nothing to do with it.
pub fn container_of(records: &[AttachmentRecord]) -> Option<Container> {
    let mut warped: Vec<(&AttachmentRecord, &WarpRecord)> = (records.iter())
        .filter_map(|record| Some((record, record.warp()?)))
        .collect();
    warped.sort_by_key(|(record, _)| (record.created_at, record.id.ifname.to_string()));
    let (first, own) = warped.first()?;
    let mut container = Container {
        name: own.name.clone(),
        netns: first.netns.as_ref().map(|netns| NetnsPlace {
            path: netns.path.clone().into(),
            dev: netns.dev,
            ino: netns.ino,
        }),
        is_running: true,
        started_at: Some(Duration::from_secs(first.created_at)),
        ..Container::default()
    };
    for (_, warp) in &warped {
        for (key, value) in &warp.labels {
            let label = container.labels.entry(key.clone());
            label.or_insert_with(|| value.clone());
        }
    }
    // One that is left over of a container before, which had the same id, is none of its networks.
    for record in records.iter().filter(|one| one.is_beside(first)) {
        let network = record.id.network.to_string();
        container.networks.insert(network, endpoint_of(record));
        let ports = record.ports().iter();
        container
            .published
            .extend(ports.map(|port| (port.protocol, port.container_port)));
    }
    Some(container)
}

/// A container in the network of one of its attachments.
pub fn endpoint_of(record: &AttachmentRecord) -> Endpoint {
    let own = record.addresses.iter();
    let (mut addresses, mut gateways): (Vec<IpNetwork>, Vec<IpAddr>) = (
        own.clone().map(|one| one.in_subnet()).collect(),
        own.filter_map(|one| one.gateway).collect(),
    );
    if let Some(warp) = record.warp().filter(|_| addresses.is_empty()) {
        addresses.clone_from(&warp.addresses);
        gateways.clone_from(&warp.routers);
    }
    Endpoint {
        addresses,
        gateways,
        // Weft makes MACs of identities: no other container will have it.
        mac: (record.link.port())
            .and_then(|_| record.link.own())
            .and_then(|link| link.mac),
        is_meeting: record.warp().is_some(),
        is_alone: record.link.port().is_some() && is_alone(record),
    }
}

/// Whether a container's questions for its neighbours' MACs do not reach them.
fn is_alone(record: &AttachmentRecord) -> bool {
    (record.nft.iter()).any(|element| element.set == weft_firewall::ruleset::ALONE.name)
}

/// What opens a target and its gateway for each other: nothing where they are on no bridge of Weft's together.
pub fn pair(target: &AttachmentRecord, gateway: &AttachmentRecord) -> Vec<NftRecord> {
    let port = |record: &AttachmentRecord| {
        let host = record.link.port()?;
        let own = LedPort {
            name: host.name.clone(),
            mac: record.link.own()?.mac?,
        };
        Some((host.bridge.clone()?, own))
    };
    match (port(target), port(gateway)) {
        (Some((bridge, target)), Some((other, gateway))) if bridge == other => {
            led_elements(&bridge, &target, &gateway)
        }
        _ => Vec::new(),
    }
}

/// What the gateway of a target has to be told of it.
pub fn near(target: &AttachmentRecord, gateway: &AttachmentRecord) -> Vec<Near> {
    let endpoint = endpoint_of(target);
    let Some(mac) = endpoint.mac.filter(|_| endpoint.is_alone) else {
        return Vec::new();
    };
    let own: Vec<IpAddr> = (endpoint_of(gateway).addresses.iter())
        .map(IpNetwork::ip)
        .collect();
    let one = |address: &IpNetwork| Near {
        address: address.ip(),
        mac,
        own: own.clone(),
    };
    endpoint.addresses.iter().map(one).collect()
}

/// The namespace of a record, if it still is the one that it was.
///
/// # Errors
/// The kernel's.
pub fn namespace_of(record: &AttachmentRecord) -> Result<Option<Namespace>, KernelError> {
    let netns = record.netns.as_ref().and_then(namespaces::find);
    netns.map(Namespace::of).transpose()
}

/// Takes back what weft-warp has put into namespaces. Elements go with those of the attachment.
///
/// # Errors
/// The kernel's and the store's.
pub fn take_back(
    host: &mut Host,
    record: &AttachmentRecord,
    warp: &WarpRecord,
) -> Result<(), WeftError> {
    if let Some(by) = &warp.led_by {
        let gateway = host.store.read(|transaction| transaction.attachment(by))?;
        let own = endpoint_of(record);
        let addresses: Vec<IpAddr> = own.addresses.iter().map(IpNetwork::ip).collect();
        let namespace = gateway.as_ref().map(namespace_of).transpose()?.flatten();
        if let Some(mut namespace) = namespace.filter(|_| own.is_alone) {
            namespace.forget_near(&addresses)?;
        }
    }
    // Another interface of the container may be led, too, or lead others.
    let others = host.store.read(|transaction| {
        let mut all = transaction.attachments_of_id(&record.id.container_id)?;
        all.retain(|one| one.id != record.id && one.is_beside(record) && one.warp().is_some());
        Ok::<_, StoreError>(all)
    })?;
    if !others.is_empty() {
        return Ok(());
    }
    if let Some(mut namespace) = namespace_of(record)? {
        namespace.clear(&warp.forwarding)?;
    }
    Ok(())
}

/// Records by the container that they are of.
pub fn by_container(
    records: impl IntoIterator<Item = AttachmentRecord>,
) -> BTreeMap<ContainerId, Vec<AttachmentRecord>> {
    let mut all: BTreeMap<ContainerId, Vec<AttachmentRecord>> = BTreeMap::new();
    for record in records {
        all.entry(id_of(&record)).or_default().push(record);
    }
    all
}
