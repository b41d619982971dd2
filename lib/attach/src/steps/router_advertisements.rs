//! Router advertisements (RFC 4861): whose the host believes.
//!
//! A host that forwards IPv6 believes none unless it is told to (`accept_ra` 2), so one whose own router is known
//! by them would lose it with the first container. And one that does not forward believes all of them, its
//! containers' too.
//!
//! Why it is so: docs/decisions/interfaces.md.

use std::collections::BTreeSet;

use weft_kernel::link::{self, Link};
use weft_kernel::netlink::RouteSocket;
use weft_kernel::{address, route, sysctl};
use weft_node::{Host, WeftError};

use super::Created;

/// Believed unless the interface forwards.
const UNLESS_FORWARDING: i32 = 1;

fn parameter(link: &str) -> String {
    format!("net/ipv6/conf/{link}/accept_ra")
}

/// The interfaces with addresses or routes that routers have advertised.
pub(crate) fn used_by(socket: &mut RouteSocket) -> Result<BTreeSet<u32>, WeftError> {
    let mut links = route::advertised_links(socket)?;
    let addresses = address::list_all(socket)?;
    let advertised = addresses.iter().filter(|one| one.is_by_router);
    links.extend(advertised.map(|one| one.link));
    Ok(links)
}

/// Before forwarding is switched on: the host goes on believing the routers that it knows by advertisements.
pub(crate) fn keep(host: &mut Host, created: &mut Created) -> Result<(), WeftError> {
    let used = used_by(host.route()?)?;
    for index in used {
        let Some(found) = link::find_index(host.route()?, index)? else {
            continue;
        };
        if found
            .ipv6
            .is_some_and(|ipv6| ipv6.accept_ra == UNLESS_FORWARDING)
        {
            let name = parameter(&found.name);
            sysctl::write(&name, "2")?;
            tracing::info!(
                link = found.name,
                "accept_ra is 2: the host forwards, and has its router by it"
            );
            created.sysctls.push((name, UNLESS_FORWARDING.to_string()));
        }
    }
    Ok(())
}

/// An interface of the host by which containers are heard: what they advertise is none of the host's business.
pub(crate) fn ignore(link: &str) {
    let name = parameter(link);
    // A kernel without IPv6, or too small an MTU for it.
    if !sysctl::exists(&name) {
        return;
    }
    if let Err(error) = sysctl::write(&name, "0") {
        tracing::warn!(%error, "containers' router advertisements may reach the host");
    }
}

/// The same for a bridge that Weft did not make, unless the host has its own address or router by it, or it leads
/// beyond the host: then it is the administrator's to say.
pub(crate) fn ignore_on_foreign(host: &mut Host, bridge: &Link) -> Result<(), WeftError> {
    let listens = bridge
        .ipv6
        .is_some_and(|ipv6| ipv6.accept_ra != 0 && ipv6.disable_ipv6 == 0);
    if listens && is_containers_alone(host.route()?, bridge)? {
        ignore(&bridge.name);
    }
    Ok(())
}

fn is_containers_alone(socket: &mut RouteSocket, bridge: &Link) -> Result<bool, WeftError> {
    if used_by(socket)?.contains(&bridge.index) {
        return Ok(false);
    }
    // Interfaces of containers and virtual machines are pairs and taps.
    let is_local = |port: &Link| matches!(port.kind.as_deref(), Some("veth" | "tun"));
    Ok(link::ports_of(socket, bridge.index)?.iter().all(is_local))
}

/// What is to be said of an interface of the host on which it would believe containers.
pub(crate) fn believed(host: &mut Host, link: &Link) -> Result<Option<String>, WeftError> {
    let believes = link.ipv6.is_some_and(|ipv6| {
        let is_taken = ipv6.accept_ra > UNLESS_FORWARDING
            || ipv6.accept_ra == UNLESS_FORWARDING && ipv6.forwarding == 0;
        is_taken && ipv6.disable_ipv6 == 0
    });
    let is_weft = link.alias.starts_with("weft");
    if !believes || !is_weft && !is_containers_alone(host.route()?, link)? {
        return Ok(None);
    }
    let name = &link.name;
    Ok(Some(format!(
        "the host takes its IPv6 router from what containers on {name} advertise: sysctl -w \
         net.ipv6.conf.{name}.accept_ra=0"
    )))
}
