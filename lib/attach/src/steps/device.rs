//! An interface of the host that moves into a container, and back.
//!
//! It gets an alternative name before it goes. By that it is found wherever it is and whatever
//! it is called there, also when its namespace has ended and the kernel has put it back.

use std::path::{Path, PathBuf};

use weft_cni::Mac;
use weft_kernel::NetNs;
use weft_kernel::address::{self, DuplicateDetection};
use weft_kernel::link::{self, Change, Link};
use weft_kernel::netlink::{Batch, RouteSocket};
use weft_node::{Container, Host, Users, WeftError, namespaces};
use weft_store::{AttachmentRecord, DeviceRecord, SharedObject};

use crate::plan::DeviceSelector;

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
    // One that came back when its container's namespace ended still has the name it is found by: that one ends first.
    let was_had_by = |record: &AttachmentRecord| {
        let names = &found.alternative_names;
        let mut devices = record.link.device().into_iter();
        devices.any(|device| names.contains(&device.alternative_name))
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
        mac: device.mac,
        mtu: device.mtu,
        up: device.is_up,
        tx_queue_len: device.tx_queue_len,
        promiscuous: device.is_promiscuous,
        all_multicast: device.is_all_multicast,
        addresses: there
            .into_iter()
            .map(|assigned| assigned.address)
            .filter(is_kept)
            .collect(),
    })
}

/// Moves the interface into the container, where it is called `ifname`.
pub(crate) fn take(
    host: &mut Host,
    inside: &Container,
    device: &DeviceRecord,
    ifname: &str,
) -> Result<(), WeftError> {
    let mut batch = Batch::new();
    link::add_alternative_name(device.index, &device.alternative_name, &mut batch);
    link::move_to(device.index, &inside.netns, ifname, &mut batch);
    Ok(host.route()?.commit(batch)?)
}

/// Brings the interface back as it was, wherever it is. One that is nowhere went with its
/// namespace, as virtual ones do.
pub(crate) fn give_back(
    host: &mut Host,
    record: &AttachmentRecord,
    device: &DeviceRecord,
) -> Result<(), WeftError> {
    let home = NetNs::current()?;
    if let Some(netns) = record.netns.as_ref().and_then(namespaces::find)
        && netns != home
    {
        let mut inside = RouteSocket::open_in(&netns, &home)?;
        if let Some(there) = find_again(&mut inside, device, record)? {
            move_home(&mut inside, &home, &there, device)?;
        }
    }
    if link::find(host.route()?, &device.alternative_name)?.is_none() {
        // It was moved on by other hands.
        for netns in namespaces::all().iter().filter(|netns| **netns != home) {
            let mut inside = RouteSocket::open_in(netns, &home)?;
            if let Some(there) = link::find(&mut inside, &device.alternative_name)? {
                move_home(&mut inside, &home, &there, device)?;
                break;
            }
        }
    }
    match link::find(host.route()?, &device.alternative_name)? {
        Some(there) => restore(host, &there, device),
        None => Ok(()),
    }
}

/// Gives an interface its own name again that another one had when it came back.
///
/// # Errors
/// [`WeftError::NotYet`] while the other one has it.
pub(crate) fn rename_back(
    host: &mut Host,
    alternative_name: &str,
    name: &str,
) -> Result<(), WeftError> {
    let socket = host.route()?;
    let Some(there) = link::find(socket, alternative_name)? else {
        return Ok(());
    };
    if there.name != name {
        if link::find(socket, name)?.is_some() {
            return Err(WeftError::NotYet);
        }
        let mut batch = Batch::new();
        link::set_down(there.index, &mut batch);
        link::rename(there.index, name, &mut batch);
        if there.is_up {
            link::set_up(there.index, &mut batch);
        }
        socket.commit(batch)?;
    }
    let mut batch = Batch::new();
    link::remove_alternative_name(there.index, alternative_name, &mut batch);
    Ok(socket.commit(batch)?)
}

/// Brings an interface home whose record is lost: by the alternative name that derives from the
/// attachment. What it was called and how it was is not known any more.
pub(crate) fn rescue(netns: &NetNs, alternative_name: &str) -> Result<(), WeftError> {
    let home = NetNs::current()?;
    let mut inside = RouteSocket::open_in(netns, &home)?;
    let Some(there) = link::find(&mut inside, alternative_name)? else {
        return Ok(());
    };
    let name = free_name(alternative_name);
    tracing::warn!(
        name,
        "an interface of the host is back under a name of Weft's"
    );
    let mut batch = Batch::new();
    link::remove_alternative_name(there.index, alternative_name, &mut batch);
    link::set_down(there.index, &mut batch);
    link::move_to(there.index, &home, &name, &mut batch);
    Ok(inside.commit(batch)?)
}

/// By its alternative name; without that (an older kernel, or it was taken away) by name or index,
/// if the address is right.
fn find_again(
    inside: &mut RouteSocket,
    device: &DeviceRecord,
    record: &AttachmentRecord,
) -> Result<Option<Link>, WeftError> {
    if let Some(there) = link::find(inside, &device.alternative_name)? {
        return Ok(Some(there));
    }
    let is_it = |link: &Link| {
        let has = |mac: Option<Mac>| mac.is_some() && mac == device.mac;
        !link.is_loopback && (has(link.permanent_mac) || has(link.mac))
    };
    for candidate in [
        link::find(inside, record.id.ifname.as_str())?,
        link::find_index(inside, device.index)?,
    ] {
        if let Some(there) = candidate.filter(is_it) {
            return Ok(Some(there));
        }
    }
    Ok(None)
}

fn move_home(
    inside: &mut RouteSocket,
    home: &NetNs,
    there: &Link,
    device: &DeviceRecord,
) -> Result<(), WeftError> {
    let mut batch = Batch::new();
    if !there.alternative_names.contains(&device.alternative_name) {
        link::add_alternative_name(there.index, &device.alternative_name, &mut batch);
    }
    // Its own name may be taken by now: it gets one that no interface has, and its own afterwards.
    link::set_down(there.index, &mut batch);
    link::move_to(
        there.index,
        home,
        &free_name(&device.alternative_name),
        &mut batch,
    );
    Ok(inside.commit(batch)?)
}

/// A name for the moment: the alternative one cannot be used twice.
fn free_name(alternative_name: &str) -> String {
    let tail: String = alternative_name.chars().skip(4).collect();
    format!("wefd{tail}")
}

/// Name, address, MTU, addresses and state as they were. If the name is another interface's by now, a later call
/// gives it back.
fn restore(host: &mut Host, there: &Link, device: &DeviceRecord) -> Result<(), WeftError> {
    let is_renamed = there.name != device.name;
    let is_taken = is_renamed && link::find(host.route()?, &device.name)?.is_some();
    if is_taken {
        tracing::warn!(
            name = there.name,
            "the interface is back on the host; its own name {} is another one's at the moment",
            device.name
        );
        let object = SharedObject::LostName {
            alternative_name: device.alternative_name.clone(),
            name: device.name.clone(),
        };
        host.store
            .write(|transaction| transaction.put_idle(&object))?;
    }
    let mut batch = Batch::new();
    let mac = device.mac;
    let change = Change {
        mac: mac.filter(|mac| there.mac != Some(*mac)),
        mtu: (there.mtu != device.mtu).then_some(device.mtu),
        tx_queue_len: Some(device.tx_queue_len),
        promiscuous: Some(device.promiscuous),
        all_multicast: Some(device.all_multicast),
        ..Change::default()
    };
    if is_renamed && !is_taken {
        link::set_down(there.index, &mut batch);
        link::rename(there.index, &device.name, &mut batch);
    }
    // By the name that it has until the last of these requests, whether or not it was renamed.
    change.apply(&device.alternative_name, &mut batch);
    let socket = host.route()?;
    let is_there: Vec<_> = address::list(socket, there.index)?
        .iter()
        .map(|assigned| assigned.address)
        .collect();
    for address in &device.addresses {
        if !is_there.contains(address) {
            address::add(there.index, address, DuplicateDetection::Run, &mut batch);
        }
    }
    if device.up {
        link::set_up(there.index, &mut batch);
    }
    if !is_taken {
        link::remove_alternative_name(there.index, &device.alternative_name, &mut batch);
    }
    Ok(socket.commit(batch)?)
}
