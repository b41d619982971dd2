//! Published ports of the host: each is one attachment's alone, whatever its network.

use std::collections::BTreeMap;
use std::net::IpAddr;

use weft_cni::AttachmentId;

use crate::error::StoreError;
use crate::record::PortRecord;
use crate::transaction::{Transaction, key, kind};

/// All claims on one port, of whatever address. Numbers have five digits: keys are in their order.
fn port_prefix(port: &PortRecord) -> Vec<u8> {
    let number = format!("{:05}", port.host_port);
    key(kind::PORT, &[&port.protocol.to_string(), &number], &[])
}

/// What is claimed of a port: an address of the host, or all of a family.
fn scope_text(port: &PortRecord) -> String {
    let family = if port.address.is_ipv4() { "4" } else { "6" };
    match port.host_ip {
        Some(ip) => format!("{family} {ip}"),
        None => family.to_owned(),
    }
}

fn port_key(port: &PortRecord) -> Vec<u8> {
    let mut key = port_prefix(port);
    key.extend(scope_text(port).as_bytes());
    key
}

/// Claims by their keys.
type Claims = BTreeMap<Vec<u8>, Vec<u8>>;

/// Whether no port lies between two.
fn follows(one: &PortRecord, next: &PortRecord) -> bool {
    let gap = next.host_port.checked_sub(one.host_port);
    one.protocol == next.protocol && gap.is_some_and(|gap| gap <= 1)
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

impl Transaction<'_> {
    /// Claims ports for an attachment, all of them or, with an error, the transaction fails.
    ///
    /// # Errors
    /// [`StoreError::PortTaken`] with the holder.
    pub(crate) fn claim_ports(
        &mut self,
        id: &AttachmentId,
        ports: &[PortRecord],
    ) -> Result<(), StoreError> {
        let value = self.encode(id)?;
        for run in ports.chunk_by(follows) {
            let claims = self.claims_on(run)?;
            for port in run {
                let mut key = port_prefix(port);
                if !claims.is_empty() {
                    self.refuse_taken(port, &key, &value, &claims)?;
                }
                key.extend(scope_text(port).as_bytes());
                self.put_bytes(key, value.clone());
            }
        }
        Ok(())
    }

    /// All claims on ports that follow each other: one look instead of one for each.
    fn claims_on(&self, run: &[PortRecord]) -> Result<Claims, StoreError> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            return Ok(Claims::new());
        };
        let last = port_prefix(last);
        self.scan_while(&port_prefix(first), usize::MAX, &|key| {
            *key <= *last || key.starts_with(&last)
        })
    }

    /// Refuses a port that somebody else has claimed; `own` is the claim of who asks.
    fn refuse_taken(
        &self,
        port: &PortRecord,
        prefix: &[u8],
        own: &[u8],
        claims: &Claims,
    ) -> Result<(), StoreError> {
        let wanted = scope_text(port);
        let there = claims.range(prefix.to_vec()..);
        for (key, holder) in there.take_while(|(key, _)| key.starts_with(prefix)) {
            let scope = key.get(prefix.len()..).unwrap_or_default();
            if *holder != own && overlap(&String::from_utf8_lossy(scope), &wanted) {
                return Err(StoreError::PortTaken {
                    port: port.to_string(),
                    holder: Box::new(self.decode(key, holder)?),
                });
            }
        }
        Ok(())
    }

    /// Gives ports back; those of somebody else stay.
    pub(crate) fn release_ports(
        &mut self,
        id: &AttachmentId,
        ports: &[PortRecord],
    ) -> Result<(), StoreError> {
        for port in ports {
            let key = port_key(port);
            if self.get::<AttachmentId>(&key)?.as_ref() == Some(id) {
                self.delete(key);
            }
        }
        Ok(())
    }

    /// Who has published a port on an address of the host.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn publisher_of(
        &self,
        protocol: u8,
        host_port: u16,
        host_ip: IpAddr,
    ) -> Result<Option<AttachmentId>, StoreError> {
        let asked = PortRecord {
            protocol,
            host_port,
            host_ip: Some(host_ip),
            address: host_ip,
            container_port: 0,
        };
        let prefix = port_prefix(&asked);
        let wanted = scope_text(&asked);
        for (key, value) in self.scan(&prefix)? {
            let scope = key.get(prefix.len()..).unwrap_or_default();
            if overlap(&String::from_utf8_lossy(scope), &wanted) {
                return Ok(Some(self.decode(&key, &value)?));
            }
        }
        Ok(None)
    }
}
