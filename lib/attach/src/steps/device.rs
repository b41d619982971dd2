//! An interface of the host that moves into a container, and back.
//!
//! It gets an alternative name before it goes, by which it is found quickly. What decides is what its container
//! cannot change (`identity`): names, alias and group are the container's to give, to this interface and to others.

mod back;
mod identity;

use std::path::{Path, PathBuf};

use weft_cni::Mac;
use weft_kernel::address;
use weft_kernel::link::{self, Link};
use weft_kernel::netlink::{Batch, RouteSocket};
use weft_node::{Container, Host, Users, WeftError};
use weft_store::{AttachmentRecord, DeviceRecord, LinkRecord};

use crate::plan::DeviceSelector;
pub(crate) use back::{give_back, rename_back, rescue};

fn conflict(name: &str, why: impl Into<String>) -> WeftError {
    WeftError::Conflict {
        key: "device",
        name: name.to_owned(),
        why: why.into(),
    }
}

/// The interface that a selector means.
pub(crate) fn look(host: &mut Host, selector: &DeviceSelector) -> Result<Link, WeftError> {
    let socket = host.route()?;
    let found = match selector {
        DeviceSelector::Name(name) => named(socket, name)?,
        DeviceSelector::Mac(mac) => with_mac(socket, *mac)?,
        DeviceSelector::Path(path) => of_device(socket, Path::new(path), path)?,
        DeviceSelector::Bus(id) => {
            let buses = ["pci", "auxiliary"];
            let path = buses
                .map(|bus| PathBuf::from(format!("/sys/bus/{bus}/devices/{id}")))
                .into_iter()
                .find(|path| path.exists())
                .ok_or_else(|| conflict(id, "is on neither the PCI nor the auxiliary bus"))?;
            of_device(socket, &path, id)?
        }
    };
    if found.is_loopback {
        return Err(conflict(&found.name, "is the loopback interface"));
    }
    if let Some(index) = found.controller {
        let why = format!("is part of the interface with index {index}: take it out first");
        return Err(conflict(&found.name, why));
    }
    refuse_used(host, &found)?;
    Ok(found)
}

/// Refuses what containers depend on.
fn refuse_used(host: &mut Host, found: &Link) -> Result<(), WeftError> {
    let is_parent = |record: &AttachmentRecord| {
        let mut parents = record
            .link
            .parent()
            .into_iter()
            .filter(|parent| !parent.in_container);
        parents.any(|parent| parent.name == found.name)
    };
    // One that came back when its container's namespace ended: that attachment ends first.
    let was_had_by = |record: &AttachmentRecord| {
        let mut devices = record.link.device().into_iter();
        devices.any(|device| identity::is_at_home(device, found))
    };
    let records = host.attachments()?;
    let mut users = records.iter().filter_map(|record| {
        let why = match (is_parent(record), was_had_by(record)) {
            (true, _) => "has containers on it",
            (_, true) => "is recorded as another container's",
            _ => return None,
        };
        Some((record, why))
    });
    if let Some((user, why)) = users.next() {
        return Err(WeftError::InUse {
            key: "device",
            name: found.name.clone(),
            why: format!("{why}: {}", user.id),
            users: Box::new(Users::One(user.id.clone())),
        });
    }
    if found.alias.starts_with("weft") {
        return Err(conflict(&found.name, "is Weft's own"));
    }
    Ok(())
}

fn named(socket: &mut RouteSocket, name: &str) -> Result<Link, WeftError> {
    link::find(socket, name)?.ok_or_else(|| WeftError::InUse {
        key: "device",
        name: name.to_owned(),
        why: "does not exist on the host; another container may have it".to_owned(),
        users: Box::new(Users::OfDevice(name.to_owned())),
    })
}

fn with_mac(socket: &mut RouteSocket, mac: Mac) -> Result<Link, WeftError> {
    let all = link::list(socket)?;
    // Interfaces on it (VLANs, macvlan) may have the same address: the hardware comes first.
    let mut matching: Vec<Link> = all
        .into_iter()
        .filter(|link| link.mac == Some(mac))
        .collect();
    matching.sort_by_key(|link| (link.child.is_some(), link.index));
    let text = mac.to_string();
    matching
        .into_iter()
        .next()
        .ok_or_else(|| conflict(&text, "is the MAC of no interface of the host"))
}

/// The interface of a device, by sysfs.
fn of_device(socket: &mut RouteSocket, path: &Path, shown: &str) -> Result<Link, WeftError> {
    let canonical = path
        .canonicalize()
        .map_err(|error| conflict(shown, format!("cannot be found: {error}")))?;
    if !canonical.starts_with("/sys/devices") {
        return Err(conflict(shown, "is not below /sys/devices"));
    }
    // The path may be the interface's own directory, or its device's.
    let own = canonical
        .parent()
        .is_some_and(|parent| parent.ends_with("net"))
        .then(|| canonical.clone());
    let listed = || {
        let entries = std::fs::read_dir(canonical.join("net")).ok()?;
        entries.flatten().map(|entry| entry.path()).min()
    };
    let name = own
        .or_else(listed)
        .and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
    match name {
        Some(name) => named(socket, &name),
        None => {
            let driver = std::fs::read_link(canonical.join("driver")).ok();
            let driver = driver
                .as_ref()
                .and_then(|path| path.file_name()?.to_str())
                .unwrap_or("no driver");
            let why = format!("has no network interface ({driver} has it)");
            Err(conflict(shown, why))
        }
    }
}

/// How the interface is before it goes.
pub(crate) fn record(
    host: &mut Host,
    device: &Link,
    alternative_name: String,
) -> Result<DeviceRecord, WeftError> {
    let there = address::list(host.route()?, device.index)?;
    let is_kept = |address: &ipnetwork::IpNetwork| match address {
        ipnetwork::IpNetwork::V6(v6) => !v6.ip().is_unicast_link_local(),
        ipnetwork::IpNetwork::V4(_) => true,
    };
    Ok(DeviceRecord {
        name: device.name.clone(),
        alternative_name,
        index: device.index,
        identity: Some(identity::of(device)),
        group: device.group,
        alias: device.alias.clone(),
        alternative_names: device.alternative_names.clone(),
        mac: device.mac,
        mtu: device.mtu,
        up: device.is_up,
        tx_queue_len: device.tx_queue_len,
        flags: Some(device.changeable_flags),
        promiscuous: device.is_promiscuous,
        all_multicast: device.is_all_multicast,
        addresses: there
            .into_iter()
            .map(|assigned| assigned.address)
            .filter(is_kept)
            .collect(),
    })
}

/// Moves the interface of a record into the container, where it has the name of the record. If its index is
/// another interface's there, the kernel gives it a new one, which goes into the record.
pub(crate) fn take(
    host: &mut Host,
    inside: &mut Container,
    record: &AttachmentRecord,
) -> Result<(), WeftError> {
    let LinkRecord::Moved { own, device } = &record.link else {
        return Ok(());
    };
    let mut batch = Batch::new();
    link::add_alternative_name(device.index, &device.alternative_name, &mut batch);
    link::move_to(device.index, &inside.netns, &own.name, &mut batch);
    host.route()?.commit(batch)?;
    let there = link::find(&mut inside.route, &own.name)?;
    let index = there.map_or(device.index, |link| link.index);
    let mut changed = record.clone();
    if let LinkRecord::Moved { device, .. } = &mut changed.link
        && let Some(identity) = &mut device.identity
        && identity.index_inside != index
    {
        identity.index_inside = index;
        host.store
            .write(|transaction| transaction.replace_attachment(&changed))?;
    }
    Ok(())
}
