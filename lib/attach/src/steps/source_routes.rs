//! Containers with several interfaces: what is sent from an interface's address leaves by that interface.
//!
//! Without that the main table decides by the destination alone, and an answer leaves by whichever interface has
//! the default route; a filter of sources or reverse paths drops it there. So each interface has a table of
//! its own, and a rule per address leads there. The routes go with the interface; the rules are removed with the
//! attachment.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weft_cni::result::Route;
use weft_cni::{AttachmentId, IpFamily};
use weft_ipam::network_of;
use weft_kernel::NetNs;
use weft_kernel::link::{self, Change};
use weft_kernel::netlink::{Batch, RouteSocket};
use weft_kernel::route::RouteSpec;
use weft_kernel::rule::{self, SourceRule};
use weft_node::{Container, WeftError, namespaces};
use weft_store::{AddressRecord, AttachmentRecord, LinkRecord, Transaction};

use super::container::spec;

/// Before the main table (32766), behind what a container may have itself.
const PRIORITY: u32 = 30_000;

/// The routing table for one interface in its container, by a hash of the identity.
pub(crate) fn table(id: &AttachmentId) -> u32 {
    /// Far from the tables that people number.
    const FIRST: u32 = 0x7700_0000;
    let [a, b, c, ..] = id.digest();
    FIRST | u32::from(a) << 16 | u32::from(b) << 8 | u32::from(c)
}

/// Gives those of the container's other attachments a table that have none yet, in the transaction in which the
/// new one is recorded. They are all returned.
pub(crate) fn share(
    transaction: &mut Transaction<'_>,
    record: &AttachmentRecord,
) -> Result<Vec<AttachmentRecord>, WeftError> {
    let mut siblings = transaction.attachments_of_id(&record.id.container_id)?;
    siblings.retain(|one| {
        let is_up = one.link.own().is_some_and(|own| own.up);
        let is_here = one.is_beside(record) && !matches!(one.link, LinkRecord::Host { .. });
        one.id != record.id && is_here && is_up && !one.addresses.is_empty()
    });
    for sibling in &mut siblings {
        if sibling.source_table.is_none() {
            sibling.source_table = Some(table(&sibling.id));
            transaction.replace_attachment(sibling)?;
        }
    }
    Ok(siblings)
}

fn rules(record: &AttachmentRecord, table: u32) -> impl Iterator<Item = SourceRule> {
    let addresses = record.addresses.iter().map(|one| one.address.ip());
    addresses.map(move |source| SourceRule {
        source,
        table,
        priority: PRIORITY,
    })
}

/// What the table has: the link's own network, the attachment's routes, and the way by its gateway if the host
/// is that.
fn routes(record: &AttachmentRecord, index: u32, table: u32) -> Vec<RouteSpec> {
    let mut wanted: Vec<Route> = Vec::new();
    for one in &record.addresses {
        let bits = if one.address.is_ipv4() { 32 } else { 128 };
        if one.address.prefix() < bits {
            wanted.push(on_link(network_of(one.address)));
        }
    }
    let own = record.routes.iter().filter(|route| route.table.is_none());
    wanted.extend(own.cloned());
    for everywhere in [IpAddr::from([0; 4]), IpAddr::from([0; 16])] {
        let is_same = |ip: IpAddr| ip.is_ipv4() == everywhere.is_ipv4();
        let has_default = wanted
            .iter()
            .any(|route| route.is_default() && is_same(route.dst.ip()));
        let mut addresses = record.addresses.iter();
        let first = addresses.find(|one| is_same(one.address.ip()));
        let gateway = first.and_then(AddressRecord::gateway_or_first);
        if let (true, false, Some(gateway)) = (record.is_routed_by_host, has_default, gateway)
            && let Ok(dst) = IpNetwork::new(everywhere, 0)
        {
            wanted.push(Route::new(dst, Some(gateway)));
        }
    }
    let in_table = |route: &Route| RouteSpec {
        table: Some(table),
        ..spec(route, index, &record.addresses)
    };
    wanted.iter().map(in_table).collect()
}

fn on_link(network: IpNetwork) -> Route {
    /// RT_SCOPE_LINK (linux/rtnetlink.h).
    const LINK: u32 = 253;
    Route {
        scope: Some(LINK),
        ..Route::new(network, None)
    }
}

/// Puts tables and rules of attachments that have any into their container's namespace, as far as they are
/// missing. Each interface speaks ARP for its own addresses only.
pub(crate) fn ensure<'a>(
    inside: &mut Container,
    records: impl Iterator<Item = &'a AttachmentRecord>,
) -> Result<(), WeftError> {
    let mut batch = Batch::new();
    for record in records {
        let (Some(table), Some(own)) = (record.source_table, record.link.own()) else {
            continue;
        };
        let Some(there) = link::find(&mut inside.route, &own.name)? else {
            continue;
        };
        let change = Change {
            keeps_to_own_arp: true,
            ..Change::default()
        };
        change.apply(&own.name, &mut batch);
        for route in routes(record, there.index, table) {
            route.add(&mut batch);
        }
        // Last: a rule leads to a table that is whole.
        for rule in rules(record, table) {
            rule.add(&mut batch);
        }
    }
    if batch.is_empty() {
        return Ok(());
    }
    for outcome in inside.route.send_all(batch)? {
        match outcome {
            Err(error) if error.is_present() => {}
            other => other?,
        }
    }
    Ok(())
}

/// Removes an attachment's rules from the container, if that is still there.
pub(crate) fn remove(record: &AttachmentRecord) -> Result<(), WeftError> {
    let Some(table) = record.source_table else {
        return Ok(());
    };
    let Some(netns) = record.netns.as_ref().and_then(namespaces::find) else {
        return Ok(());
    };
    let mut socket = RouteSocket::open_in(&netns, &NetNs::current()?)?;
    let mut batch = Batch::new();
    for rule in rules(record, table) {
        rule.delete(&mut batch);
    }
    for outcome in socket.send_all(batch)? {
        match outcome {
            Err(error) if error.is_absent() => {}
            other => other?,
        }
    }
    Ok(())
}

/// Which of an attachment's rules are missing.
pub(crate) fn missing(
    inside: &mut Container,
    record: &AttachmentRecord,
) -> Result<Vec<String>, WeftError> {
    let Some(table) = record.source_table else {
        return Ok(Vec::new());
    };
    let mut there = Vec::new();
    for family in IpFamily::ALL {
        let mut addresses = record.addresses.iter();
        if addresses.any(|one| family.has(one.address.ip())) {
            there.extend(rule::list(&mut inside.route, family)?);
        }
    }
    Ok(rules(record, table)
        .filter(|wanted| !there.contains(wanted))
        .map(|rule| format!("the rule from {} to table {table} is missing", rule.source))
        .collect())
}
