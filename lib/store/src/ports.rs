//! Published ports of the host: each is one container's alone, whatever its networks.
//!
//! What an attachment has in a block of ports is one entry, so that a thousand ports that follow each other are some
//! sixteen, and as many as there are addresses of one port are one. What is in the way of a port is looked for in one
//! block, however many there are.
//!
//! Why it is so: docs/decisions/ports.md.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use weft_cni::AttachmentId;

use crate::error::StoreError;
use crate::record::{AttachmentRecord, PortRecord};
use crate::shared::SharedObject;
use crate::transaction::{Transaction, key, kind};

/// Ports of a block.
const BLOCK: u16 = 64;

/// Of what a port is claimed: protocol, whether of IPv4, and an address of the host or all of the family.
type Scope = (u8, bool, Option<IpAddr>);

fn scope(port: &PortRecord) -> Scope {
    (port.protocol, port.address.is_ipv4(), port.host_ip)
}

/// As the end of a key.
fn scope_text(port: &PortRecord) -> String {
    let family = if port.address.is_ipv4() { "4" } else { "6" };
    match port.host_ip {
        Some(ip) => format!("{family} {ip}"),
        None => family.to_owned(),
    }
}

/// Ports as claims: of one scope and block, each following the one before.
fn runs(ports: &[PortRecord]) -> Vec<Vec<&PortRecord>> {
    let mut sorted: Vec<&PortRecord> = ports.iter().collect();
    sorted.sort_by_key(|port| (scope(port), port.host_port));
    sorted.dedup_by_key(|port| (scope(port), port.host_port));
    let follows = |one: &&PortRecord, next: &&PortRecord| {
        scope(one) == scope(next)
            && one.host_port.checked_add(1) == Some(next.host_port)
            && one.host_port / BLOCK == next.host_port / BLOCK
    };
    sorted.chunk_by(follows).map(<[_]>::to_vec).collect()
}

type Block<'a, 'p> = (Vec<u8>, Vec<&'a Vec<&'p PortRecord>>);

/// Runs by the keys of their blocks.
fn by_block<'a, 'p>(runs: &'a [Vec<&'p PortRecord>]) -> Vec<Block<'a, 'p>> {
    let mut blocks: BTreeMap<Vec<u8>, Vec<&Vec<&PortRecord>>> = BTreeMap::new();
    for run in runs {
        if let Some(first) = run.first() {
            blocks.entry(block_prefix(first)).or_default().push(run);
        }
    }
    blocks.into_iter().collect()
}

/// All claims in the block of a port. Numbers have all their digits: keys are in their order.
fn block_prefix(port: &PortRecord) -> Vec<u8> {
    let block = format!("{:04}", port.host_port / BLOCK);
    key(kind::PORT, &[&port.protocol.to_string(), &block], &[])
}

/// What an attachment has in a block.
fn claims_key(block: &[u8], id: &AttachmentId) -> Vec<u8> {
    [block, format!("@{id}").as_bytes()].concat()
}

/// Its value.
#[derive(Debug, Serialize, Deserialize)]
struct Claimed {
    holder: AttachmentId,
    /// First port, last port, scope.
    runs: Vec<(u16, u16, String)>,
}

/// Earlier versions had a key for each run: "08080-08095 4 192.0.2.1 @net/id/eth0", and before several attachments of
/// one container could have a port, one that ended with the address. Its value is the holder.
fn keys_of_before(first: &PortRecord, last: &PortRecord, id: &AttachmentId) -> [Vec<u8>; 2] {
    let mut key = block_prefix(first);
    let scope = scope_text(first);
    key.extend(format!("{:05}-{:05} {scope}", first.host_port, last.host_port).as_bytes());
    let owned = [&key, format!(" @{id}").as_bytes()].concat();
    [owned, key]
}

/// First port, last port and scope of a claim of before, of its key behind the block's.
fn claimed_before(text: &str) -> Option<(u16, u16, &str)> {
    let (range, rest) = text.split_once(' ')?;
    let (first, last) = range.split_once('-')?;
    let scope = rest.split_once(" @").map_or(rest, |(scope, _)| scope);
    Some((first.parse().ok()?, last.parse().ok()?, scope))
}

/// Whether two scopes of one port share an address.
fn overlap(one: &str, other: &str) -> bool {
    let split = |text: &str| {
        let mut parts = text.splitn(2, ' ').map(str::to_owned);
        (parts.next(), parts.next())
    };
    let ((family, ip), (other_family, other_ip)) = (split(one), split(other));
    family == other_family && (ip.is_none() || other_ip.is_none() || ip == other_ip)
}

/// A claim that covers a port that is asked for.
struct Claim {
    holder: AttachmentId,
    /// The port that is asked for.
    port: PortRecord,
}

impl Transaction<'_> {
    /// Claims ports for an attachment, all of them or, with an error, the transaction fails. Attachments of one
    /// container may have a port together, if it leads to the same port inside.
    ///
    /// # Errors
    /// [`StoreError::PortTaken`] with the holder.
    pub(crate) fn claim_ports(&mut self, own: &AttachmentRecord) -> Result<(), StoreError> {
        let id = &own.id;
        let runs = runs(own.ports());
        let mut companions = Companions::default();
        for claim in self.claims_on(&runs, id)? {
            if !companions.share(self, &claim, own)? {
                return Err(StoreError::PortTaken {
                    port: claim.port.to_string(),
                    holder: Box::new(claim.holder),
                });
            }
        }
        for (block, runs) in by_block(&runs) {
            let ends = |run: &&Vec<&PortRecord>| {
                let (first, last) = (run.first()?, run.last()?);
                Some((first.host_port, last.host_port, scope_text(first)))
            };
            let claimed = Claimed {
                holder: id.clone(),
                runs: runs.iter().filter_map(ends).collect(),
            };
            self.put(claims_key(&block, id), &claimed)?;
        }
        Ok(())
    }

    /// What others have claimed of runs of ports. Each block is read once, however many runs are in it.
    fn claims_on(
        &self,
        runs: &[Vec<&PortRecord>],
        own: &AttachmentId,
    ) -> Result<Vec<Claim>, StoreError> {
        let mut claims = Vec::new();
        for (block, runs) in by_block(runs) {
            let mut by_port: BTreeMap<u16, Vec<&PortRecord>> = BTreeMap::new();
            for port in runs.into_iter().flatten() {
                by_port.entry(port.host_port).or_default().push(port);
            }
            for (key, value) in self.scan(&block)? {
                let claimed = self.claimed(&block, &key, &value)?;
                if claimed.holder == *own {
                    continue;
                }
                for (from, to, scope) in &claimed.runs {
                    let covered = by_port.range(from..=to).flat_map(|(_, ports)| ports);
                    let covered = covered.filter(|port| overlap(scope, &scope_text(port)));
                    claims.extend(covered.map(|port| Claim {
                        holder: claimed.holder.clone(),
                        port: (*port).clone(),
                    }));
                }
            }
        }
        Ok(claims)
    }

    fn claimed(&self, block: &[u8], key: &[u8], value: &[u8]) -> Result<Claimed, StoreError> {
        let text = String::from_utf8_lossy(key.get(block.len()..).unwrap_or_default());
        if text.starts_with('@') {
            return self.decode(key, value);
        }
        let (from, to, scope) =
            claimed_before(&text).ok_or_else(|| self.damaged(format!("claim {text:?}")))?;
        Ok(Claimed {
            holder: self.decode(key, value)?,
            runs: vec![(from, to, scope.to_owned())],
        })
    }

    /// The other attachments of the container that have a port of the host, or share an address's of it.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn port_holders(
        &self,
        id: &AttachmentId,
        port: &PortRecord,
    ) -> Result<Vec<AttachmentRecord>, StoreError> {
        let mut holders = Vec::new();
        for claim in self.claims_on(&[vec![port]], id)? {
            holders.extend(self.attachment(&claim.holder)?);
        }
        Ok(holders)
    }

    /// Gives ports back; those of others stay. An attachment that has had them together with this one is to serve
    /// them now.
    pub(crate) fn release_ports(
        &mut self,
        id: &AttachmentId,
        ports: &[PortRecord],
    ) -> Result<(), StoreError> {
        let runs = runs(ports);
        for (block, runs) in by_block(&runs) {
            if self.get_bytes(&claims_key(&block, id))?.is_some() {
                self.delete(claims_key(&block, id));
                continue;
            }
            for run in runs {
                let (Some(first), Some(last)) = (run.first(), run.last()) else {
                    continue;
                };
                for key in keys_of_before(first, last, id) {
                    if self.get::<AttachmentId>(&key)?.as_ref() == Some(id) {
                        self.delete(key);
                    }
                }
            }
        }
        let claims = self.claims_on(&runs, id)?;
        let successors: BTreeSet<AttachmentId> =
            claims.into_iter().map(|claim| claim.holder).collect();
        for id in successors {
            self.put_idle(&SharedObject::PortSuccessor { id })?;
        }
        Ok(())
    }
}

/// The attachments of other networks of one container, each read once: the ports that they have, by protocol and
/// number.
#[derive(Default)]
struct Companions(BTreeMap<AttachmentId, BTreeMap<(u8, u16), Vec<PortRecord>>>);

impl Companions {
    /// Whether a claim is another attachment's of the same container, to the same port inside.
    fn share(
        &mut self,
        transaction: &Transaction<'_>,
        claim: &Claim,
        own: &AttachmentRecord,
    ) -> Result<bool, StoreError> {
        if claim.holder.container_id != own.id.container_id {
            return Ok(false);
        }
        if !self.0.contains_key(&claim.holder) {
            let record = transaction.attachment(&claim.holder)?;
            let Some(record) = record.filter(|record| record.is_of_container(own)) else {
                return Ok(false);
            };
            let mut ports: BTreeMap<(u8, u16), Vec<PortRecord>> = BTreeMap::new();
            for port in record.ports() {
                let list = ports.entry((port.protocol, port.host_port)).or_default();
                list.push(port.clone());
            }
            self.0.insert(claim.holder.clone(), ports);
        }
        let wanted = &claim.port;
        let ports = self.0.get(&claim.holder);
        let ports = ports.and_then(|ports| ports.get(&(wanted.protocol, wanted.host_port)));
        Ok(ports.into_iter().flatten().all(|port| {
            !is_same_host_port(port, wanted) || port.container_port == wanted.container_port
        }))
    }
}

/// Whether two mappings take one port of the host, at one address of it at least.
fn is_same_host_port(one: &PortRecord, other: &PortRecord) -> bool {
    one.protocol == other.protocol
        && one.host_port == other.host_port
        && overlap(&scope_text(one), &scope_text(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: u16, host_ip: Option<&str>) -> PortRecord {
        PortRecord {
            protocol: 6,
            host_port: number,
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
            address: "10.0.0.2".parse().unwrap(),
            container_port: 80,
        }
    }

    #[test]
    fn runs_end_with_gaps_blocks_and_scopes() {
        let mut ports: Vec<PortRecord> = (60..70).map(|number| port(number, None)).collect();
        ports.extend([65, 66, 3].map(|number| port(number, Some("192.0.2.1"))));
        ports.extend([65535, 65534, 65534, 80].map(|number| port(number, None)));
        ports.reverse();
        let ends: Vec<(u16, u16, bool)> = runs(&ports)
            .iter()
            .map(|run| {
                (
                    run[0].host_port,
                    run[run.len() - 1].host_port,
                    run[0].host_ip.is_some(),
                )
            })
            .collect();
        let all = [(60, 63), (64, 69), (80, 80), (65534, 65535)].map(|(a, b)| (a, b, false));
        let of_address = [(3, 3), (65, 66)].map(|(a, b)| (a, b, true));
        assert_eq!(ends, [&all[..], &of_address].concat());
    }

    #[test]
    fn claims_of_before_are_read() {
        let (first, last) = (port(8064, Some("192.0.2.1")), port(8070, Some("192.0.2.1")));
        let id = AttachmentId {
            network: "net".try_into().unwrap(),
            container_id: "id".try_into().unwrap(),
            ifname: "eth0".try_into().unwrap(),
        };
        let behind = block_prefix(&first).len();
        for key in keys_of_before(&first, &last, &id) {
            let text = String::from_utf8(key[behind..].to_vec()).unwrap();
            assert_eq!(claimed_before(&text), Some((8064, 8070, "4 192.0.2.1")));
        }
        assert_eq!(claimed_before("8064 4"), None);
    }
}
