//! An interface comes back from a container as it was before.

use std::collections::BTreeSet;

use weft_kernel::NetNs;
use weft_kernel::address::{self, DuplicateDetection};
use weft_kernel::link::{self, Change, Link};
use weft_kernel::netlink::{Batch, RouteSocket};
use weft_node::{Host, WeftError, namespaces};
use weft_store::{AttachmentRecord, DeviceRecord, SharedObject};

use super::identity::{self, free_name};
use crate::steps::child::delete_links;

/// Brings the interface back as it was, wherever it is. One that is nowhere went with its
/// namespace, as virtual ones do.
pub(crate) fn give_back(
    host: &mut Host,
    record: &AttachmentRecord,
    device: &DeviceRecord,
) -> Result<(), WeftError> {
    let mut found = find_at_home(host, device)?;
    if found.is_none() {
        bring(record, device)?;
        found = find_at_home(host, device)?;
    }
    match found {
        Some(there) => restore(host, &there, device),
        // A namespace that only a socket or a mount of the container keeps: the record stays until it ends.
        None if identity::is_alive(host.route()?, device)? => Err(WeftError::Conflict {
            key: "device",
            name: device.name.clone(),
            why:
                "is in no namespace that can be seen: end the container's processes, then DEL or GC"
                    .to_owned(),
        }),
        None => {
            tracing::warn!(
                device = device.name,
                "the interface of the host is nowhere: it went with the container's namespace, or was deleted there"
            );
            Ok(())
        }
    }
}

/// Moves the interface home from its container, or from wherever other hands have moved it on to.
fn bring(record: &AttachmentRecord, device: &DeviceRecord) -> Result<(), WeftError> {
    let home = NetNs::current()?;
    let recorded = record.netns.as_ref().and_then(namespaces::find);
    if let Some(netns) = recorded.filter(|netns| *netns != home)
        && bring_from(&netns, &home, device)?
    {
        return Ok(());
    }
    for netns in namespaces::all().iter().filter(|netns| **netns != home) {
        if bring_from(netns, &home, device)? {
            break;
        }
    }
    Ok(())
}

/// Moves the interface home from a namespace. Whether it was there.
fn bring_from(netns: &NetNs, home: &NetNs, device: &DeviceRecord) -> Result<bool, WeftError> {
    let mut inside = RouteSocket::open_in(netns, home)?;
    let Some(there) = identity::find_in(&mut inside, home, device)? else {
        return Ok(false);
    };
    delete_what_sits_on(&mut inside, &there)?;
    move_home(&mut inside, home, &there, device)?;
    Ok(true)
}

/// Deletes the interfaces that the container has made on the one that goes home, as far as they are with it: they
/// would go on sending and taking in by it.
fn delete_what_sits_on(inside: &mut RouteSocket, there: &Link) -> Result<(), WeftError> {
    let mut all = link::list(inside)?;
    all.retain(|one| {
        one.parent == Some(there.index)
            && one.peer_netns_id.is_none()
            && one.index != there.index
            && one.kind.as_deref() != Some("veth")
    });
    delete_links(inside, &all)
}

/// The interface on the host: where its names lead, else by looking at all there are.
fn find_at_home(host: &mut Host, device: &DeviceRecord) -> Result<Option<Link>, WeftError> {
    let socket = host.route()?;
    for name in [
        &device.alternative_name,
        &free_name(&device.alternative_name),
    ] {
        let there = link::find(socket, name)?;
        if let Some(there) = there.filter(|link| identity::is_at_home(device, link)) {
            return Ok(Some(there));
        }
    }
    if device.identity.is_none() {
        return Ok(None);
    }
    let mut all = link::list(socket)?;
    all.retain(|link| identity::is_at_home(device, link));
    all.sort_by_key(|link| link.index != device.index);
    Ok(all.into_iter().next())
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
/// attachment. What it was called and how it was is not known any more. Only hardware, and what sits on an interface of
/// the host or is a pair with one: all else the container may have made itself.
pub(crate) fn rescue(netns: &NetNs, alternative_name: &str) -> Result<(), WeftError> {
    let home = NetNs::current()?;
    let mut inside = RouteSocket::open_in(netns, &home)?;
    let Some(there) = link::find(&mut inside, alternative_name)? else {
        return Ok(());
    };
    let is_from_home = there.parent.is_some()
        && there.peer_netns_id.is_some()
        && inside.netns_id(&home)? == there.peer_netns_id;
    if there.kind.is_some() && !is_from_home {
        tracing::warn!(
            name = there.name,
            "an interface in the container is marked as one of the host's, and is not known to be one: it stays there"
        );
        return Ok(());
    }
    let name = free_name(alternative_name);
    tracing::warn!(
        name,
        "an interface of the host is back under a name of Weft's"
    );
    let mut batch = Batch::new();
    link::set_group(there.index, 0, &mut batch);
    link::set_alias(there.index, "", &mut batch);
    for name in &there.alternative_names {
        link::remove_alternative_name(there.index, name, &mut batch);
    }
    link::set_down(there.index, &mut batch);
    link::move_to(there.index, &home, &name, &mut batch);
    Ok(inside.commit(batch)?)
}

/// Moves the interface home, with nothing of what its container wrote on it: by alias and group Weft and others would
/// take it for something else, and names that are taken at home would keep it from coming.
fn move_home(
    inside: &mut RouteSocket,
    home: &NetNs,
    there: &Link,
    device: &DeviceRecord,
) -> Result<(), WeftError> {
    let mut batch = Batch::new();
    if let Some(other) = link::find(inside, &device.alternative_name)?
        && other.index != there.index
    {
        link::remove_alternative_name(other.index, &device.alternative_name, &mut batch);
    }
    for name in &there.alternative_names {
        if *name != device.alternative_name {
            link::remove_alternative_name(there.index, name, &mut batch);
        }
    }
    if !there.alternative_names.contains(&device.alternative_name) {
        link::add_alternative_name(there.index, &device.alternative_name, &mut batch);
    }
    clean(there, device, &mut batch);
    // Its own name may be taken by now: it gets one that no interface has, and its own afterwards.
    link::set_down(there.index, &mut batch);
    let name = free_name(&device.alternative_name);
    link::move_to(there.index, home, &name, &mut batch);
    Ok(inside.commit(batch)?)
}

/// Group, alias and the program that decides over its packets, as far as they are not as before.
fn clean(there: &Link, device: &DeviceRecord, batch: &mut Batch) {
    if there.group != device.group {
        link::set_group(there.index, device.group, batch);
    }
    if there.alias != device.alias {
        link::set_alias(there.index, &device.alias, batch);
    }
    link::remove_xdp(there, batch);
}

/// Names, group, alias, address, MTU, addresses and state as they were. If the name is another interface's by now, a
/// later call gives it back.
fn restore(host: &mut Host, there: &Link, device: &DeviceRecord) -> Result<(), WeftError> {
    let is_renamed = there.name != device.name;
    let holder = link::find(host.route()?, &device.name)?;
    let is_taken = is_renamed && holder.is_some_and(|other| other.index != there.index);
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
    clean(there, device, &mut batch);
    let mut names: BTreeSet<&String> = device.alternative_names.iter().collect();
    names.extend(is_taken.then_some(&device.alternative_name));
    let there_are: BTreeSet<&String> = there.alternative_names.iter().collect();
    for name in there_are.difference(&names) {
        link::remove_alternative_name(there.index, name, &mut batch);
    }
    if is_renamed && !is_taken {
        link::set_down(there.index, &mut batch);
        link::rename(there.index, &device.name, &mut batch);
    }
    if let Some(flags) = device.flags {
        link::set_flags(there, flags, &mut batch);
    }
    let now = match is_renamed && !is_taken {
        true => &device.name,
        false => &there.name,
    };
    Change {
        mac: device.mac.filter(|mac| there.mac != Some(*mac)),
        mtu: (there.mtu != device.mtu).then_some(device.mtu),
        tx_queue_len: Some(device.tx_queue_len),
        // A record of an earlier version has no flags but these.
        promiscuous: device.flags.is_none().then_some(device.promiscuous),
        all_multicast: device.flags.is_none().then_some(device.all_multicast),
        ..Change::default()
    }
    .apply(now, &mut batch);
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
    socket.commit(batch)?;
    add_names(host, there, names.difference(&there_are))
}

/// Alternative names, as far as no other interface has got them since.
fn add_names<'a>(
    host: &mut Host,
    there: &Link,
    names: impl Iterator<Item = &'a &'a String>,
) -> Result<(), WeftError> {
    let mut batch = Batch::new();
    for name in names {
        link::add_alternative_name(there.index, name, &mut batch);
    }
    for outcome in host.route()?.send_all(batch)? {
        outcome.or_else(|error| match error.is_present() {
            true => Ok(()),
            false => Err(error),
        })?;
    }
    Ok(())
}
