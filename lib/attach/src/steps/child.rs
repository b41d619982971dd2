//! A container's interface on a parent.

use weft_cni::Mac;
use weft_kernel::NetNs;
use weft_kernel::child::{ChildKind, ChildLink};
use weft_kernel::link::{self, Link};
use weft_kernel::netlink::{Batch, RouteSocket};
use weft_node::names::{ALIAS_PREFIX, alias, alternative_name};
use weft_node::{Container, Host, WeftError, namespaces};
use weft_store::{AttachmentRecord, ContainerLink, ParentRecord};

use super::parent::explain;

/// What is to be made.
#[derive(Debug)]
pub(crate) struct NewChild<'a> {
    pub(crate) name: &'a str,
    /// A name that no interface has anywhere, for the moment until it is in the container.
    pub(crate) first_name: &'a str,
    pub(crate) kind: ChildKind,
    /// Name and index, in the container's namespace if `in_container`.
    pub(crate) parent: (&'a str, u32),
    pub(crate) in_container: bool,
    pub(crate) mac: Option<Mac>,
    pub(crate) mtu: u32,
}

/// Makes the interface in the container's namespace, down.
pub(crate) fn create(
    host: &mut Host,
    inside: &mut Container,
    new: &NewChild<'_>,
) -> Result<(), WeftError> {
    let (parent, index) = new.parent;
    let link = |name| ChildLink {
        name,
        kind: new.kind,
        parent: index,
        mac: new.mac,
        mtu: new.mtu,
        netns: (!new.in_container).then_some(&inside.netns),
        up: false,
    };
    let mut batch = Batch::new();
    link(new.name).create(&mut batch);
    if new.in_container {
        let made = inside.route.commit(batch);
        return made.map_err(|error| explain(error.into(), new.kind, parent));
    }
    match host.route()?.commit(batch) {
        // Older kernels (6.1 does) look for the name among the host's own interfaces.
        Err(error) if error.is_present() => {
            let mut batch = Batch::new();
            link(new.first_name).create(&mut batch);
            let made = host.route()?.commit(batch);
            made.map_err(|error| explain(error.into(), new.kind, parent))?;
            rename(inside, new)
        }
        outcome => outcome.map_err(|error| explain(error.into(), new.kind, parent)),
    }
}

fn rename(inside: &mut Container, new: &NewChild<'_>) -> Result<(), WeftError> {
    let mut batch = Batch::new();
    if let Some(there) = link::find(&mut inside.route, new.first_name)? {
        link::rename(there.index, new.name, &mut batch);
    }
    Ok(inside.route.commit(batch)?)
}

/// Deletes the interface from its container, if that is still there, whatever it is called by now.
/// It goes with its namespace, but a namespace may outlive the attachment, and the parent stays in
/// use as long. One that the container has moved on is looked for everywhere.
pub(crate) fn delete(
    record: &AttachmentRecord,
    own: &ContainerLink,
    parent: &ParentRecord,
) -> Result<(), WeftError> {
    let Some(netns) = record.netns.as_ref().and_then(namespaces::find) else {
        return Ok(());
    };
    let (own_alias, first_name) = (alias(&record.id), alternative_name(&record.id));
    let is_own = |link: &Link| {
        // An ADD that was killed early leaves no alias, or the name free for another.
        let is_nameless = !link.alias.starts_with(ALIAS_PREFIX)
            && link.name == own.name
            && link
                .child
                .is_some_and(|kind| kind.driver() == parent.driver);
        link.alias == own_alias || link.name == first_name || is_nameless
    };
    if delete_matching(&netns, &NetNs::current()?, &is_own)? {
        return Ok(());
    }
    for other in namespaces::all() {
        let is_own = |link: &Link| link.alias == own_alias;
        if delete_matching(&other, &NetNs::current()?, &is_own)? {
            break;
        }
    }
    Ok(())
}

/// Deletes interfaces on a parent in one namespace. Whether there were any.
fn delete_matching(
    netns: &NetNs,
    home: &NetNs,
    is_wanted: &dyn Fn(&Link) -> bool,
) -> Result<bool, WeftError> {
    let mut socket = RouteSocket::open_in(netns, home)?;
    let mut found = link::list(&mut socket)?;
    found.retain(|link| link.child.is_some() && is_wanted(link));
    delete_links(&mut socket, &found)?;
    Ok(!found.is_empty())
}

/// By index: what has the name by now may be another one.
pub(crate) fn delete_links(socket: &mut RouteSocket, links: &[Link]) -> Result<(), WeftError> {
    let mut batch = Batch::new();
    for link in links {
        link::delete_index(link.index, &mut batch);
    }
    for outcome in socket.send_all(batch)? {
        outcome.or_else(|error| match error.is_absent() {
            true => Ok(()),
            false => Err(error),
        })?;
    }
    Ok(())
}

/// Deletes, in one namespace, the interfaces on a parent whose record is lost: their alias tells
/// whose they are.
pub(crate) fn delete_unrecorded(
    netns: &NetNs,
    is_orphan: &dyn Fn(&str) -> bool,
) -> Result<(), WeftError> {
    let is_orphan = |link: &Link| is_orphan(&link.alias);
    delete_matching(netns, &NetNs::current()?, &is_orphan).map(drop)
}

/// The same, but only interfaces whose parent is this host's: what sits on another host's that runs
/// on this kernel (hosts in containers) is that one's business, whatever its network is called. What
/// sits on an interface of the container itself goes with the container.
pub(crate) fn delete_orphans(
    netns: &NetNs,
    home: &NetNs,
    is_orphan: &dyn Fn(&str) -> Result<bool, WeftError>,
) -> Result<(), WeftError> {
    let mut socket = RouteSocket::open_in(netns, home)?;
    let mut orphans = Vec::new();
    for link in link::list(&mut socket)? {
        if link.child.is_some() && is_orphan(&link.alias)? {
            orphans.push(link);
        }
    }
    if orphans.is_empty() {
        return Ok(());
    }
    let own = socket.netns_id(home)?;
    orphans.retain(|link| own.is_some() && link.peer_netns_id == own);
    delete_links(&mut socket, &orphans)
}
