//! Published ports of the host: each is one container's alone, whatever its networks.
//!
//! Ports that follow each other are one claim, so that a thousand are some sixteen entries. No claim goes
//! beyond its block of ports: what is in the way of a port is looked for in one block, however many there are.
//!
//! Why it is so: docs/decisions/ports.md.

use std::collections::BTreeSet;
use std::net::IpAddr;

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

/// All claims in the block of a port. Numbers have all their digits: keys are in their order.
fn block_prefix(port: &PortRecord) -> Vec<u8> {
    let block = format!("{:04}", port.host_port / BLOCK);
    key(kind::PORT, &[&port.protocol.to_string(), &block], &[])
}

/// The key of the ports from `first` to `last`: "08080-08095 4 192.0.2.1 @net/id/eth0". Before several attachments
/// of one container could have a port it ended with the address.
fn claim_key(first: &PortRecord, last: &PortRecord, id: &AttachmentId) -> Vec<u8> {
    let mut key = unowned_claim_key(first, last);
    key.extend(format!(" @{id}").as_bytes());
    key
}

fn unowned_claim_key(first: &PortRecord, last: &PortRecord) -> Vec<u8> {
    let mut key = block_prefix(first);
    let scope = scope_text(first);
    key.extend(format!("{:05}-{:05} {scope}", first.host_port, last.host_port).as_bytes());
    key
}

/// First port, last port and scope of a claim, of its key behind the block's.
fn claimed(text: &str) -> Option<(u16, u16, &str)> {
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
        let value = self.encode(id)?;
        for run in runs(own.ports()) {
            for claim in self.claims_on(&run, id)? {
                if !self.is_together(&claim, own)? {
                    return Err(StoreError::PortTaken {
                        port: claim.port.to_string(),
                        holder: Box::new(claim.holder),
                    });
                }
            }
            if let (Some(first), Some(last)) = (run.first(), run.last()) {
                self.put_bytes(claim_key(first, last, id), value.clone());
            }
        }
        Ok(())
    }

    /// What others have claimed of a run of ports.
    fn claims_on(&self, run: &[&PortRecord], own: &AttachmentId) -> Result<Vec<Claim>, StoreError> {
        let Some(first) = run.first() else {
            return Ok(Vec::new());
        };
        let wanted = scope_text(first);
        let prefix = block_prefix(first);
        let mut claims = Vec::new();
        for (key, holder) in self.scan(&prefix)? {
            let text = String::from_utf8_lossy(key.get(prefix.len()..).unwrap_or_default());
            let (from, to, scope) =
                claimed(&text).ok_or_else(|| self.damaged(format!("claim {text:?}")))?;
            if !overlap(scope, &wanted) {
                continue;
            }
            let covered = |port: &&&PortRecord| (from..=to).contains(&port.host_port);
            let mut covered = run.iter().filter(covered).peekable();
            if covered.peek().is_none() {
                continue;
            }
            let holder: AttachmentId = self.decode(&key, &holder)?;
            if holder != *own {
                claims.extend(covered.map(|port| Claim {
                    holder: holder.clone(),
                    port: (*port).clone(),
                }));
            }
        }
        Ok(claims)
    }

    /// Whether a claim is another attachment's of the same container, to the same port inside.
    fn is_together(&self, claim: &Claim, own: &AttachmentRecord) -> Result<bool, StoreError> {
        if claim.holder.container_id != own.id.container_id {
            return Ok(false);
        }
        let record = self.attachment(&claim.holder)?;
        let Some(record) = record.filter(|record| record.is_of_container(own)) else {
            return Ok(false);
        };
        let wanted = &claim.port;
        Ok(record.ports().iter().all(|port| {
            !is_same_host_port(port, wanted) || port.container_port == wanted.container_port
        }))
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
        for claim in self.claims_on(&[port], id)? {
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
        let mut successors = BTreeSet::new();
        for run in runs(ports) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else {
                continue;
            };
            self.delete(claim_key(first, last, id));
            let of_before = unowned_claim_key(first, last);
            if self.get::<AttachmentId>(&of_before)?.as_ref() == Some(id) {
                self.delete(of_before);
            }
            successors.extend(
                self.claims_on(&run, id)?
                    .into_iter()
                    .map(|claim| claim.holder),
            );
        }
        for id in successors {
            self.put_idle(&SharedObject::PortSuccessor { id })?;
        }
        Ok(())
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
    fn a_claim_is_read_as_it_was_written() {
        let (first, last) = (port(8064, Some("192.0.2.1")), port(8070, Some("192.0.2.1")));
        let id = AttachmentId {
            network: "net".try_into().unwrap(),
            container_id: "id".try_into().unwrap(),
            ifname: "eth0".try_into().unwrap(),
        };
        let behind = block_prefix(&first).len();
        for key in [
            claim_key(&first, &last, &id),
            unowned_claim_key(&first, &last),
        ] {
            let text = String::from_utf8(key[behind..].to_vec()).unwrap();
            assert_eq!(claimed(&text), Some((8064, 8070, "4 192.0.2.1")));
        }
        assert_eq!(claimed("8064 4"), None);
    }
}
