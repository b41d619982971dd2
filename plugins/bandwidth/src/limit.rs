//! Limits of an interface that another plugin of the chain has made: how fast it sends and receives,
//! how many packets and connections it may begin.
//!
//! They become part of the attachment's record; a record is made if the interface plugin is not
//! Weft's. The attachment's DEL removes them.

use std::net::IpAddr;

use weft_attach::chained::Ends;
use weft_attach::chained::record::{foreign, recorded, take_back, undo};
use weft_attach::steps::bandwidth::{limit_receiving, limits_receiving, remove};
use weft_attach::{Differences, require_prev_result};
use weft_cni::phases::{Phase, measure};
use weft_cni::{CniResult, Request};
use weft_firewall::ruleset::{self, Limits};
use weft_kernel::netlink::{Batch, RouteSocket};
use weft_kernel::qdisc::{self, TokenBucket};
use weft_node::{Container, Host, WeftError, namespaces};
use weft_store::{Addition, AttachmentRecord, BandwidthRecord, LINKS_LOCK, Sharing};

/// A rate in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Bits a second.
    pub bits: u64,
    /// Bits at once; a sane number if none.
    pub burst: Option<u64>,
}

impl Rate {
    /// Without a burst: fifty milliseconds' worth, and ten packets at least.
    fn bucket(self, mtu: u32) -> TokenBucket {
        const PARTS_OF_A_SECOND: u64 = 20;
        const PACKETS: u64 = 10;
        let rate = self.bits.div_ceil(8);
        let sane = (rate / PARTS_OF_A_SECOND).max(PACKETS * u64::from(mtu));
        let burst = self.burst.map_or(sane, |bits| bits.div_ceil(8));
        // Less than a packet would let none through.
        let burst = burst.max(u64::from(mtu) + ETHERNET_HEADER);
        TokenBucket {
            rate,
            burst: u32::try_from(burst).unwrap_or(u32::MAX),
        }
    }
}

/// ETH_HLEN: a queue counts it.
const ETHERNET_HEADER: u64 = 14;

/// What is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// What the container receives.
    pub ingress: Option<Rate>,
    /// What it sends.
    pub egress: Option<Rate>,
    /// How much of what.
    pub limits: Limits,
}

impl Bandwidth {
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Sets limits and returns the result of the plugins before.
///
/// # Errors
/// Any; everything is as it was then.
pub(crate) fn add(
    host: &mut Host,
    plugin: &str,
    request: &Request,
    wanted: &Bandwidth,
) -> Result<CniResult, WeftError> {
    let result = require_prev_result(request)?;
    if wanted.is_nothing() {
        return Ok(result);
    }
    let id = request.attachment_id()?;
    let path = request.env.get("CNI_NETNS").unwrap_or_default();
    let mut inside = Container::open(path, request.env.netns_override())?;
    let netns = namespaces::record(path, &inside.netns, &inside.home)?;
    let ends = Ends::find(host, &mut inside, id.ifname.as_str())?;
    let mut part = AttachmentRecord::new(id.clone(), plugin);
    part.nft = elements(wanted, &ends, &result, id.ifname.as_str())?;
    let bandwidth = BandwidthRecord {
        ifname: id.ifname.to_string(),
        host_port: ends
            .peer
            .as_ref()
            .filter(|_| wanted.ingress.is_some())
            .map(|peer| peer.name.clone()),
        sends: wanted.egress.is_some(),
        receives: wanted.ingress.is_some() && ends.peer.is_none(),
        nft: part.nft.clone(),
    };
    let lock = host.store.named_lock(LINKS_LOCK, Sharing::Shared)?;
    host.store.write(|transaction| {
        let there = transaction.attachment(&id)?;
        let mut record = there.unwrap_or_else(|| foreign(&id, plugin, &netns));
        if record.limits().is_some() {
            return Err(WeftError::Conflict {
                key: "bandwidth",
                name: id.to_string(),
                why: "has limits already: weft-bandwidth can be in a list only once".to_owned(),
            });
        }
        record.nft.extend(part.nft.iter().cloned());
        record.set_addition(Addition::Limits(bandwidth.clone()));
        Ok(transaction.replace_attachment(&record)?)
    })?;
    let applied = measure(Phase::Settings, || {
        apply(host, &mut inside, &ends, &part, wanted)
    });
    if let Err(error) = applied {
        part.netns = Some(netns);
        // Removing takes it for itself.
        drop(lock);
        let queues = |host: &mut Host| remove(host, &part, &bandwidth, &[]);
        return Err(undo(host, &part, queues, &take_out, error));
    }
    Ok(result)
}

/// The elements of the limits; limits that nothing on the host would see are refused.
fn elements(
    wanted: &Bandwidth,
    ends: &Ends,
    result: &CniResult,
    ifname: &str,
) -> Result<Vec<weft_store::NftRecord>, WeftError> {
    let limits = wanted.limits;
    if limits == Limits::default() {
        return Ok(Vec::new());
    }
    let port = ends.peer.as_ref().filter(|peer| peer.controller.is_some());
    let Some(port) = port else {
        return Err(WeftError::Conflict {
            key: "limits",
            name: ifname.to_owned(),
            why: "is no port of a bridge: its packets do not pass the host's firewall".to_owned(),
        });
    };
    let own = |ip: &&weft_cni::result::IpConfig| {
        let interface = ip.interface.and_then(|index| result.interfaces.get(index));
        interface.is_none_or(|one| one.name == ifname && !one.sandbox.is_empty())
    };
    let addresses: Vec<IpAddr> = result
        .ips
        .iter()
        .filter(own)
        .map(|ip| ip.address.ip())
        .collect();
    let mut addresses = addresses;
    // The one that the interface gives itself counts too.
    if addresses.iter().any(IpAddr::is_ipv6) {
        addresses.extend(
            ends.own
                .mac
                .map(|mac| IpAddr::from(ruleset::link_local(mac))),
        );
    }
    Ok(ruleset::limit_elements(
        limits,
        Some(&port.name),
        &addresses,
    ))
}

fn apply(
    host: &mut Host,
    inside: &mut Container,
    ends: &Ends,
    part: &AttachmentRecord,
    wanted: &Bandwidth,
) -> Result<(), WeftError> {
    let mtu = ends.own.mtu;
    weft_firewall::add_elements(host, part)?;
    if let Some(rate) = wanted.egress {
        install(&mut inside.route, ends.own.index, rate.bucket(mtu))?;
    }
    match (wanted.ingress, &ends.peer) {
        (Some(rate), Some(peer)) => install(host.route()?, peer.index, rate.bucket(mtu)),
        (Some(rate), None) => limit_receiving(inside, &ends.own.name, rate.bucket(mtu)),
        (None, _) => Ok(()),
    }
}

fn install(socket: &mut RouteSocket, index: u32, bucket: TokenBucket) -> Result<(), WeftError> {
    let mut batch = Batch::new();
    bucket.install(index, &mut batch);
    match socket.commit(batch) {
        Err(error) if error.is_absent() => Err(WeftError::NoQueue {
            driver: "sch_tbf",
            reason: error.to_string(),
        }),
        outcome => Ok(outcome?),
    }
}

fn take_out(record: &mut AttachmentRecord) {
    if let Some(bandwidth) = record.take_limits() {
        record
            .nft
            .retain(|element| !bandwidth.nft.contains(element));
    }
}

/// Removes the limits. Without a record there are none.
///
/// # Errors
/// Only what could not be removed.
pub(crate) fn del(host: &mut Host, request: &Request) -> Result<(), WeftError> {
    let records = recorded(host, request)?.records;
    let mut errors = Vec::new();
    for record in &records {
        let Some(bandwidth) = record.limits() else {
            continue;
        };
        let mut part = AttachmentRecord::new(record.id.clone(), "");
        part.netns.clone_from(&record.netns);
        part.nft.clone_from(&bandwidth.nft);
        let queues = |host: &mut Host| remove(host, &part, bandwidth, &[]);
        errors.extend(take_back(host, &part, queues, &take_out).err());
    }
    WeftError::collect("DEL", errors)
}

/// Compares the limits with the configuration.
///
/// # Errors
/// [`WeftError::Differs`] with every difference.
pub(crate) fn check(
    host: &mut Host,
    request: &Request,
    wanted: &Bandwidth,
) -> Result<(), WeftError> {
    let result = require_prev_result(request)?;
    let id = request.attachment_id()?;
    let mut found = Differences::default();
    if wanted.is_nothing() {
        return Ok(());
    }
    let path = request.env.get("CNI_NETNS").unwrap_or_default();
    let mut inside = Container::open(path, request.env.netns_override())?;
    let ends = Ends::find(host, &mut inside, id.ifname.as_str())?;
    let there = host.store.read(|transaction| transaction.attachment(&id))?;
    if there.is_none_or(|record| record.limits().is_none()) {
        found.add("no record of its limits in Weft's store");
    }
    let own = weft_node::names::owner(&id);
    for element in elements(wanted, &ends, &result, id.ifname.as_str())? {
        if !ruleset::element_is_right(host, &element, Some(&own))? {
            found.add(format!("nft set {} lacks its limit", element.set));
        }
    }
    let mut compare = |name: &str, actual: Option<u64>, wanted: Option<Rate>| {
        let wanted = wanted.map(|rate| rate.bits.div_ceil(8));
        if let Some(bytes) = wanted.filter(|_| actual != wanted) {
            let actual =
                actual.map_or_else(|| "none".to_owned(), |actual| (actual * 8).to_string());
            found.add(format!(
                "the rate of {name} is {actual} instead of {} bit/s",
                bytes * 8
            ));
        }
    };
    let sends = qdisc::rate(&mut inside.route, ends.own.index)?;
    compare(&ends.own.name, sends, wanted.egress);
    match &ends.peer {
        Some(peer) => {
            let sends = qdisc::rate(host.route()?, peer.index)?;
            compare(&peer.name, sends, wanted.ingress);
        }
        None if wanted.ingress.is_some() && !limits_receiving(&inside, &ends.own.name)? => {
            found.add(format!("nothing limits what {} receives", ends.own.name));
        }
        None => {}
    }
    found.into_result(&id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_sane_unless_it_is_given() {
        let bucket = |bits, burst| Rate { bits, burst }.bucket(1500);
        assert_eq!(bucket(80_000_000, None).burst, 500_000);
        assert_eq!(bucket(80_000, None).burst, 15_000);
        assert_eq!(bucket(80_000_000, Some(1_600_000)).burst, 200_000);
        assert_eq!(bucket(80_000_000, Some(8)).burst, 1514);
        assert_eq!(bucket(80_000_000, None).rate, 10_000_000);
    }
}
