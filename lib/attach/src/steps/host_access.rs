//! The host's way to containers on a parent.
//!
//! A parent does not talk to the interfaces that sit on it. So the host gets one of its own, and a
//! route by it to each container's address. Neither side asks for the other's MAC: both are told.
//! The host's interface answers no ARP and has no address, so that no machine outside ever takes it
//! for the parent.
//!
//! Why it is so: docs/decisions/interfaces.md.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weft_cni::{IpFamily, Mac};
use weft_kernel::child::{ChildKind, ChildLink};
use weft_kernel::link::{self, Change, Link};
use weft_kernel::netlink::Batch;
use weft_kernel::route::{self, RouteSpec};
use weft_kernel::{KernelError, NetNs, address, neighbour, sysctl};
use weft_node::names::{LINK_GROUP, bridge_mac};
use weft_node::{Container, Host, WeftError, namespaces};
use weft_store::{AddressRecord, AttachmentRecord, HostRoute, LinkRecord, StoreError};

use super::parent::explain;
use super::router_advertisements;
use crate::plan::{ChildPlan, HostAccess};

const ALIAS: &str = "weft host access";
/// RT_SCOPE_LINK (linux/rtnetlink.h).
const LINK_SCOPE: u8 = 253;

/// The host's addresses that containers can reach it by: those the plan names, else the parent's.
pub(crate) fn sources(
    host: &mut Host,
    plan: &ChildPlan,
    parent: Option<&Link>,
) -> Result<Vec<IpNetwork>, WeftError> {
    match (&plan.host_access, parent) {
        (HostAccess::None, _) | (HostAccess::Parent, None) => Ok(Vec::new()),
        (HostAccess::Addresses(list), _) => Ok(list.iter().map(|ip| (*ip).into()).collect()),
        (HostAccess::Parent, Some(parent)) => {
            let there = address::list(host.route()?, parent.index)?;
            let usable = |address: &IpNetwork| match address {
                IpNetwork::V6(v6) => !v6.ip().is_unicast_link_local(),
                IpNetwork::V4(_) => true,
            };
            Ok(there
                .into_iter()
                .map(|assigned| assigned.address)
                .filter(usable)
                .collect())
        }
    }
}

/// The routes for a container's addresses.
pub(crate) fn routes(
    link: &str,
    sources: &[IpNetwork],
    addresses: &[AddressRecord],
    macs: Option<(Mac, Mac)>,
) -> Result<Vec<HostRoute>, WeftError> {
    let route =
        |one: &AddressRecord| {
            let same_family = || {
                sources
                    .iter()
                    .filter(|source| source.is_ipv4() == one.address.is_ipv4())
            };
            let near = same_family().find(|source| one.address.contains(source.ip()));
            let source = near.or_else(|| same_family().next()).ok_or_else(|| {
            let family = if one.address.is_ipv4() { "IPv4" } else { "IPv6" };
            WeftError::Conflict {
                key: "hostAccess",
                name: one.address.to_string(),
                why: format!(
                    "cannot be reached: the master has no {family} address; name one of the host's \
                     as hostAccess"
                ),
            }
        })?;
            Ok(HostRoute {
                address: one.address.ip(),
                link: link.to_owned(),
                source: source.ip(),
                macs,
            })
        };
    addresses.iter().map(route).collect()
}

/// The MAC of the host's interface.
pub(crate) fn mac(link: &str) -> Mac {
    bridge_mac(link, &weft_kernel::host::machine_id().unwrap_or_default())
}

/// Makes the host's interface if it is missing; its index, and whether its routes may be gone because it was down.
pub(crate) fn ensure(
    host: &mut Host,
    name: &str,
    kind: ChildKind,
    parent: (&str, u32, u32),
) -> Result<(u32, Extent), WeftError> {
    let (parent_name, parent_index, mtu) = parent;
    let socket = host.route()?;
    if let Some(there) = link::find(socket, name)? {
        // Another ADD may have made it a moment ago, and be about to mark it.
        let is_being_made = there.alias.is_empty()
            && there
                .child
                .is_some_and(|there| there.driver() == kind.driver());
        let is_ours = there.alias == ALIAS || is_being_made;
        if !is_ours || there.parent != Some(parent_index) {
            return Err(WeftError::Conflict {
                key: "hostAccess",
                name: name.to_owned(),
                why: format!("exists and is not Weft's interface on {parent_name}"),
            });
        }
        set_up(host, &there)?;
        let extent = match there.is_up || is_being_made {
            true => Extent::Sourceless,
            false => Extent::All,
        };
        return Ok((there.index, extent));
    }
    let mut batch = Batch::new();
    let new = ChildLink::<NetNs> {
        name,
        kind,
        parent: parent_index,
        mac: matches!(kind, ChildKind::Macvlan { .. }).then(|| mac(name)),
        mtu,
        netns: None,
        up: false,
    };
    new.create(&mut batch);
    let change = Change {
        alias: Some(ALIAS),
        without_ipv6_address: mtu >= super::veth::IPV6_MINIMUM_MTU,
        answers_no_arp: true,
        ..Change::default()
    };
    change.apply(name, &mut batch);
    match socket.commit(batch) {
        Ok(()) => {}
        // Another ADD made it in the meantime.
        Err(error) if error.is_present() => {}
        Err(error) => return Err(explain(error.into(), kind, parent_name)),
    }
    let there = link::find(socket, name)?;
    let there = there.ok_or_else(|| WeftError::Conflict {
        key: "hostAccess",
        name: name.to_owned(),
        why: "vanished while it was being made".to_owned(),
    })?;
    set_up(host, &there)?;
    Ok((there.index, Extent::Sourceless))
}

/// Brings the host's interface up, deaf to what containers and the LAN advertise.
fn set_up(host: &mut Host, there: &Link) -> Result<(), WeftError> {
    if there.ipv6.is_some_and(|ipv6| ipv6.accept_ra != 0) {
        router_advertisements::ignore(&there.name);
    }
    if there.is_up {
        return Ok(());
    }
    let mut batch = Batch::new();
    link::set_group(there.index, LINK_GROUP, &mut batch);
    link::set_up(there.index, &mut batch);
    Ok(host.route()?.commit(batch)?)
}

/// IPv6 routes by an interface need IPv6 on it, which a host may have switched off.
fn allow_ipv6(link: &Link, routes: &[HostRoute]) -> Result<(), WeftError> {
    let is_off = link.ipv6.is_some_and(|ipv6| ipv6.disable_ipv6 != 0);
    if is_off && routes.iter().any(|route| route.address.is_ipv6()) {
        sysctl::write(&format!("net/ipv6/conf/{}/disable_ipv6", link.name), "0")?;
    }
    Ok(())
}

fn spec(route: &HostRoute, index: u32) -> RouteSpec {
    RouteSpec {
        dst: route.address.into(),
        gateway: None,
        link: index,
        priority: None,
        table: None,
        scope: route.address.is_ipv4().then_some(LINK_SCOPE),
        mtu: None,
        advmss: None,
        source: Some(route.source),
        is_gateway_on_link: false,
    }
}

/// A second route to an IPv4 address, which the first one goes before: with an address of the host the kernel
/// removes the routes that it is the source of (IPv6's only lose their source). Until they are put back, what the
/// host sends has whichever address it has then.
fn fallback(route: &HostRoute, index: u32) -> Option<RouteSpec> {
    const BEHIND: u32 = 65_536;
    let spec = RouteSpec {
        priority: Some(BEHIND),
        source: None,
        ..spec(route, index)
    };
    route.address.is_ipv4().then_some(spec)
}

/// What the kernel's refusal of a route means.
fn refused(error: KernelError, route: &HostRoute) -> WeftError {
    let conflict = |name: String, why: &str| WeftError::Conflict {
        key: "hostAccess",
        name,
        why: why.to_owned(),
    };
    if error.is_invalid() {
        let why = "is not an address of the host";
        return conflict(route.source.to_string(), why);
    }
    if error.is_present() {
        let why = "is routed elsewhere already: ip route get tells where";
        return conflict(route.address.to_string(), why);
    }
    error.into()
}

/// A route to this address by this interface is Weft's own: it was put back a moment ago, or its container is gone.
/// One by another interface is not.
fn replace_own(
    host: &mut Host,
    index: u32,
    route: &HostRoute,
    error: KernelError,
) -> Result<(), WeftError> {
    let is_own = |there: &RouteSpec| there.dst.ip() == route.address && there.source.is_some();
    let socket = host.route()?;
    let there = route::list_of_link(socket, IpFamily::of(route.address), index)?;
    let Some(own) = there.into_iter().find(is_own) else {
        return Err(refused(error, route));
    };
    if own.source == Some(route.source) {
        return Ok(());
    }
    let mut batch = Batch::new();
    own.delete(&mut batch);
    spec(route, index).add(&mut batch);
    Ok(socket.commit(batch)?)
}

/// Adds the routes of the host to a container.
pub(crate) fn add(host: &mut Host, index: u32, routes: &[HostRoute]) -> Result<(), WeftError> {
    if let Some(there) = link::find_index(host.route()?, index)? {
        allow_ipv6(&there, routes)?;
    }
    let mut batch = Batch::new();
    for route in routes {
        spec(route, index).add(&mut batch);
    }
    for (outcome, route) in host.route()?.send_all(batch)?.into_iter().zip(routes) {
        match outcome {
            Err(error) if error.is_present() => replace_own(host, index, route, error)?,
            other => other.map_err(|error| refused(error, route))?,
        }
    }
    let mut batch = Batch::new();
    for route in routes {
        if let Some(second) = fallback(route, index) {
            second.add(&mut batch);
        }
        if let Some((container, _)) = route.macs {
            neighbour::set_permanent(index, route.address, container, &mut batch);
        }
    }
    for outcome in host.route()?.send_all(batch)? {
        match outcome {
            // Put back a moment ago.
            Err(error) if error.is_present() => {}
            other => other?,
        }
    }
    Ok(())
}

/// Adds the container's way back, which goes with its interface. A source address outside its
/// subnet needs a route of its own.
pub(crate) fn add_inside(
    inside: &mut Container,
    record: &AttachmentRecord,
) -> Result<(), WeftError> {
    let Some(own) = record.link.own() else {
        return Ok(());
    };
    let Some(there) = link::find(&mut inside.route, &own.name)? else {
        return Ok(());
    };
    let mut batch = Batch::new();
    for route in record.link.host_routes() {
        let is_near = record
            .addresses
            .iter()
            .any(|one| one.address.contains(route.source));
        let back = HostRoute {
            address: route.source,
            source: route.address,
            ..route.clone()
        };
        if !is_near {
            spec(&back, there.index).add(&mut batch);
        }
        if let Some((_, host)) = route.macs {
            neighbour::set_permanent(there.index, route.source, host, &mut batch);
        }
    }
    for outcome in inside.route.send_all(batch)? {
        match outcome {
            // Two addresses of the container, one of the host.
            Err(error) if error.is_present() => {}
            other => other?,
        }
    }
    Ok(())
}

/// Removes the host's routes to a container.
pub(crate) fn remove_routes(host: &mut Host, routes: &[HostRoute]) -> Result<(), WeftError> {
    let mut batch = Batch::new();
    for route in routes {
        let socket = host.route()?;
        if let Some(there) = link::find(socket, &route.link)? {
            // This one first: alone it would look as if the kernel had removed the other.
            if let Some(second) = fallback(route, there.index) {
                second.delete(&mut batch);
            }
            spec(route, there.index).delete(&mut batch);
            if route.macs.is_some() {
                neighbour::delete(there.index, route.address, &mut batch);
            }
        }
    }
    for outcome in host.route()?.send_all(batch)? {
        match outcome {
            Err(error) if error.is_absent() => {}
            other => other?,
        }
    }
    Ok(())
}

/// Which routes [`mend`] looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Those that lost their source: with an address of the host the kernel removes IPv4 routes that it is the
    /// source of, and leaves the one behind; of IPv6's it removes the source. Both are the kernel's doing alone:
    /// no ADD or DEL on its way looks so.
    Sourceless,
    /// All that are not there, as after the interface was down. An ADD on its way has none yet.
    All,
}

/// Puts back the routes by one of the host's interfaces that the kernel took away.
///
/// # Errors
/// The kernel's and the store's.
pub(crate) fn mend(host: &mut Host, link_name: &str, extent: Extent) -> Result<(), WeftError> {
    let Some(there) = link::find(host.route()?, link_name)? else {
        return Ok(());
    };
    let socket = host.route()?;
    let mut routes = route::list_of_link(socket, IpFamily::V4, there.index)?;
    routes.extend(route::list_of_link(socket, IpFamily::V6, there.index)?);
    let with_source = |is_wanted: bool| -> BTreeSet<IpAddr> {
        let mut found = routes.clone();
        found.retain(|route| route.source.is_some() == is_wanted);
        found.iter().map(|route| route.dst.ip()).collect()
    };
    let (whole, sourceless) = (with_source(true), with_source(false));
    let is_lost = |route: &HostRoute| {
        route.link == link_name
            && !whole.contains(&route.address)
            && (extent == Extent::All || sourceless.contains(&route.address))
    };
    if extent == Extent::Sourceless && sourceless.is_subset(&whole) {
        return Ok(());
    }
    let mut records = host.store.read(|transaction| transaction.attachments())?;
    records.retain(|record| record.link.host_routes().iter().any(is_lost));
    for record in records {
        if let Err(error) = put_back(host, there.index, &record) {
            tracing::warn!(%error, container = %record.id, "the host's way to a container is not put back");
        }
        // It may have left meanwhile.
        let is_there = host
            .store
            .read(|transaction| transaction.attachment(&record.id))?
            .is_some();
        if !is_there {
            remove_routes(host, record.link.host_routes())?;
        }
    }
    Ok(())
}

/// The same for all of the host's interfaces for containers on a parent, after an address of the host has changed.
///
/// # Errors
/// The kernel's and the store's.
pub fn mend_host_access(host: &mut Host) -> Result<(), WeftError> {
    for link in all(host)? {
        mend(host, &link, Extent::Sourceless)?;
    }
    Ok(())
}

/// Puts an attachment's routes back, by the address that the host has by now.
fn put_back(host: &mut Host, index: u32, record: &AttachmentRecord) -> Result<(), WeftError> {
    let mut record = record.clone();
    let own: Vec<IpNetwork> = address::list_all(host.route()?)?
        .iter()
        .map(|one| one.address)
        .collect();
    let mut is_changed = false;
    let LinkRecord::OnParent { host_routes, .. } = &mut record.link else {
        return Ok(());
    };
    for route in host_routes {
        if own.iter().any(|one| one.ip() == route.source) {
            continue;
        }
        let addresses = record.addresses.iter();
        let mut near = addresses.filter(|one| one.address.ip() == route.address);
        let subnet = near.next().map(|one| one.address);
        if let Some(source) = own
            .iter()
            .find(|one| subnet.is_some_and(|net| net.contains(one.ip())))
        {
            route.source = source.ip();
            is_changed = true;
        }
    }
    if is_changed {
        host.store.write(|transaction| {
            if transaction.attachment(&record.id)?.is_some() {
                transaction.replace_attachment(&record)?;
            }
            Ok::<_, StoreError>(())
        })?;
        if let Some(netns) = record.netns.as_ref().and_then(namespaces::find) {
            let mut inside = Container::open_found(netns)?;
            add_inside(&mut inside, &record)?;
        }
    }
    remove_routes(host, record.link.host_routes())?;
    add(host, index, record.link.host_routes())
}

/// What of the host's way to a container is missing.
pub(crate) fn missing(host: &mut Host, routes: &[HostRoute]) -> Result<Vec<String>, WeftError> {
    let mut missing = Vec::new();
    for wanted in routes {
        let socket = host.route()?;
        let Some(there) = link::find(socket, &wanted.link)? else {
            missing.push(format!("host interface {} is missing", wanted.link));
            continue;
        };
        if !there.is_up {
            missing.push(format!("host interface {} is down", wanted.link));
        }
        missing.extend(router_advertisements::believed(host, &there)?);
        let socket = host.route()?;
        if route::output_link(socket, wanted.address)? != Some(there.index) {
            let (address, link) = (wanted.address, &wanted.link);
            missing.push(format!("the host has no route to {address} by {link}"));
        }
        if let Some((container, _)) = wanted.macs
            && neighbour::permanent(socket, there.index, wanted.address)? != Some(container)
        {
            let (address, link) = (wanted.address, &wanted.link);
            missing.push(format!("the host lacks neighbour {address} on {link}"));
        }
    }
    Ok(missing)
}

/// The names of the host's interfaces that Weft made.
pub(crate) fn all(host: &mut Host) -> Result<Vec<String>, WeftError> {
    let links = link::list(host.route()?)?.into_iter();
    Ok(links
        .filter(|link| link.alias == ALIAS)
        .map(|link| link.name)
        .collect())
}

/// Deletes the host's interface if Weft made it.
pub(crate) fn remove(host: &mut Host, name: &str) -> Result<(), WeftError> {
    match link::find(host.route()?, name)? {
        Some(there) if there.alias == ALIAS => super::links::delete_alone(host, name),
        _ => Ok(()),
    }
}
