//! How fast a container sends and receives.
//!
//! Where the host has an end of the pair, what is sent to the container waits there; what it sends
//! waits at its own interface. An interface on a parent has no end on the host: what it receives too
//! fast is dropped as it comes in.
//!
//! Why it is so: docs/decisions/ruleset.md.

use weft_kernel::netlink::{Batch, RouteSocket};
use weft_kernel::nft::{
    self, BaseChain, Batch as NftBatch, Chain, Expression, Family, NftSocket, Table, Verdict,
};
use weft_kernel::qdisc::{self, TokenBucket};
use weft_kernel::{NetNs, link};
use weft_node::{Container, Host, WeftError, namespaces};
use weft_store::{AttachmentRecord, BandwidthRecord};

/// NF_NETDEV_INGRESS.
fn receiving(table: Table) -> Chain {
    Chain {
        table,
        name: nft::name("receive"),
        base: Some(BaseChain {
            kind: "filter",
            hook: 0,
            priority: 0,
        }),
    }
}

/// The table of an interface, in the container's namespace: each has its own.
fn table_of(ifname: &str) -> Table {
    Table {
        family: Family::Netdev,
        name: format!("weft-{ifname}").into(),
    }
}

/// Drops what an interface receives beyond a limit. The kernel lets a second's worth through before
/// the burst is counted (`nft_limit_init`).
pub fn limit_receiving(
    inside: &Container,
    ifname: &str,
    limit: TokenBucket,
) -> Result<(), WeftError> {
    let table = table_of(ifname);
    let chain = receiving(table.clone());
    let mut batch = NftBatch::new();
    table.create(b"weft", &mut batch);
    chain.create_on(Some(ifname), &mut batch);
    let over = Expression::BytesOver {
        bytes: limit.rate,
        burst: limit.burst,
    };
    let rule = [
        over,
        Expression::Counter,
        Expression::Verdict(Verdict::Drop),
    ];
    chain.append(&rule, &mut batch);
    let mut socket = NftSocket::open_in(&inside.netns, &inside.home)?;
    Ok(socket.commit(&batch)?)
}

/// Whether [`limit_receiving`] is in force.
pub fn limits_receiving(inside: &Container, ifname: &str) -> Result<bool, WeftError> {
    let mut socket = NftSocket::open_in(&inside.netns, &inside.home)?;
    Ok(!socket.rules(&table_of(ifname))?.is_empty())
}

/// Removes every limit that is still there; what goes with its interface anyway is left to that.
pub fn remove(
    host: &mut Host,
    record: &AttachmentRecord,
    bandwidth: &BandwidthRecord,
    going: &[String],
) -> Result<(), WeftError> {
    let port = bandwidth.host_port.as_ref();
    if let Some(port) = port.filter(|port| !going.contains(port)) {
        remove_root(host.route()?, port)?;
    }
    let is_going = record
        .link
        .port()
        .into_iter()
        .any(|port| going.contains(&port.name));
    if is_going || !(bandwidth.sends || bandwidth.receives) {
        return Ok(());
    }
    match record.netns.as_ref().and_then(namespaces::find) {
        Some(netns) => remove_inside(&netns, bandwidth),
        None => Ok(()),
    }
}

fn remove_inside(netns: &NetNs, bandwidth: &BandwidthRecord) -> Result<(), WeftError> {
    let home = NetNs::current()?;
    if bandwidth.sends {
        let mut socket = RouteSocket::open_in(netns, &home)?;
        remove_root(&mut socket, &bandwidth.ifname)?;
    }
    if bandwidth.receives {
        let mut batch = NftBatch::new();
        table_of(&bandwidth.ifname).delete(&mut batch);
        match NftSocket::open_in(netns, &home)?.commit(&batch) {
            Err(error) if error.is_absent() => {}
            outcome => outcome?,
        }
    }
    Ok(())
}

fn remove_root(socket: &mut RouteSocket, name: &str) -> Result<(), WeftError> {
    let Some(there) = link::find(socket, name)? else {
        return Ok(());
    };
    if qdisc::rate(socket, there.index)?.is_none() {
        return Ok(());
    }
    let mut batch = Batch::new();
    qdisc::remove_root(there.index, &mut batch);
    match socket.commit(batch) {
        // It went meanwhile.
        Err(error) if error.is_absent() => Ok(()),
        outcome => Ok(outcome?),
    }
}
