//! Attachments found by other things than their identity: by their container, whatever the network, and by their
//! addresses on one bridge or master.

use std::net::IpAddr;

use weft_cni::{AttachmentId, ContainerId, NetworkName};

use crate::error::StoreError;
use crate::leases::address_key;
use crate::record::AttachmentRecord;
use crate::transaction::{Transaction, key, kind};

/// What says that a store has these entries; those of before did not.
fn marker_key() -> Vec<u8> {
    key(kind::META, &["index"], &[])
}

fn container_key(id: &AttachmentId) -> Vec<u8> {
    let names = [
        id.container_id.as_str(),
        id.network.as_str(),
        id.ifname.as_str(),
    ];
    key(kind::CONTAINER, &names, &[])
}

fn gateway_key(id: &AttachmentId) -> Vec<u8> {
    let names = [
        id.network.as_str(),
        id.container_id.as_str(),
        id.ifname.as_str(),
    ];
    key(kind::GATEWAY, &names, &[])
}

fn segment_key(segment: &str, address: IpAddr) -> Vec<u8> {
    key(kind::SEGMENT, &[segment], &address_key(address))
}

impl Transaction<'_> {
    /// The attachments of one container, to whatever network.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn attachments_of_id(
        &self,
        container: &ContainerId,
    ) -> Result<Vec<AttachmentRecord>, StoreError> {
        if self.get_bytes(&marker_key())?.is_none() {
            let mut all = self.attachments()?;
            all.retain(|record| record.id.container_id == *container);
            return Ok(all);
        }
        let mut found = Vec::new();
        for (key, value) in self.scan(&key(kind::CONTAINER, &[container.as_str()], &[]))? {
            let id: AttachmentId = self.decode(&key, &value)?;
            found.extend(self.attachment(&id)?);
        }
        Ok(found)
    }

    /// The attachments of a network whose containers lead others, in order.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn gateways_of(&self, network: &NetworkName) -> Result<Vec<AttachmentRecord>, StoreError> {
        let mut found = Vec::new();
        for (key, value) in self.scan(&key(kind::GATEWAY, &[network.as_str()], &[]))? {
            let id: AttachmentId = self.decode(&key, &value)?;
            found.extend(self.attachment(&id)?);
        }
        Ok(found)
    }

    /// Keeps the entry of a gateway as its record has it.
    pub(crate) fn index_gateway(
        &mut self,
        before: Option<&AttachmentRecord>,
        record: Option<&AttachmentRecord>,
    ) -> Result<(), StoreError> {
        let is_gateway = |one: &&AttachmentRecord| one.warp().is_some_and(|warp| warp.is_gateway);
        match (before.filter(is_gateway), record.filter(is_gateway)) {
            (None, Some(record)) => self.put(gateway_key(&record.id), &record.id),
            (Some(before), None) => {
                self.delete(gateway_key(&before.id));
                Ok(())
            }
            (None, None) | (Some(_), Some(_)) => Ok(()),
        }
    }

    /// The attachment that has an address on a bridge or master.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn holder_on_segment(
        &self,
        segment: &str,
        address: IpAddr,
    ) -> Result<Option<AttachmentId>, StoreError> {
        self.get(&segment_key(segment, address))
    }

    /// Whether any address on a bridge or master is known.
    ///
    /// # Errors
    /// The database's.
    pub fn is_segment_used(&self, segment: &str) -> Result<bool, StoreError> {
        let first = self.first(&key(kind::SEGMENT, &[segment], &[]))?;
        Ok(first.is_some())
    }

    /// Whether an address may be given away on a segment.
    pub(crate) fn is_free_on(
        &self,
        segment: Option<&str>,
        address: IpAddr,
    ) -> Result<bool, StoreError> {
        match segment {
            Some(segment) => Ok(self.holder_on_segment(segment, address)?.is_none()),
            None => Ok(true),
        }
    }

    /// Refuses leased addresses that another attachment has on the same segment. What another IPAM plugin gives is its
    /// own business.
    pub(crate) fn refuse_on_segment(&self, record: &AttachmentRecord) -> Result<(), StoreError> {
        let Some(segment) = record.link.segment() else {
            return Ok(());
        };
        for one in record.addresses.iter().filter(|one| one.pool.is_some()) {
            let address = one.address.ip();
            let holder = self.holder_on_segment(&segment, address)?;
            if let Some(holder) = holder.filter(|holder| *holder != record.id) {
                return Err(StoreError::AddressOnSegment {
                    segment,
                    address,
                    holder: Box::new(holder),
                });
            }
        }
        Ok(())
    }

    pub(crate) fn index(&mut self, record: &AttachmentRecord) -> Result<(), StoreError> {
        self.put(container_key(&record.id), &record.id)?;
        let Some(segment) = record.link.segment() else {
            return Ok(());
        };
        for one in &record.addresses {
            let address = one.address.ip();
            if self.holder_on_segment(&segment, address)?.is_none() {
                self.put(segment_key(&segment, address), &record.id)?;
            }
        }
        Ok(())
    }

    pub(crate) fn unindex(&mut self, record: &AttachmentRecord) -> Result<(), StoreError> {
        self.delete(container_key(&record.id));
        let Some(segment) = record.link.segment() else {
            return Ok(());
        };
        for one in &record.addresses {
            let address = one.address.ip();
            if self.holder_on_segment(&segment, address)?.as_ref() == Some(&record.id) {
                self.delete(segment_key(&segment, address));
            }
        }
        Ok(())
    }

    /// Gives a store that was written without them its entries.
    pub(crate) fn ensure_indexed(&mut self) -> Result<(), StoreError> {
        if self.get_bytes(&marker_key())?.is_some() {
            return Ok(());
        }
        for record in self.attachments()? {
            self.index(&record)?;
        }
        self.put_bytes(marker_key(), vec![b'1']);
        self.begin_epoch()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BackendKind, Store, StoreConfig};

    /// What an older Weft has written is found by the first call of this one that writes.
    #[test]
    fn a_store_without_indexes_gets_them() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(StoreConfig {
            dir: dir.path().join("state"),
            backend: BackendKind::Redb,
            lock_timeout: std::time::Duration::from_secs(20),
            boot_id: None,
        });
        let id = AttachmentId {
            network: "net".try_into().unwrap(),
            container_id: "c".try_into().unwrap(),
            ifname: "eth0".try_into().unwrap(),
        };
        let record = AttachmentRecord::new(id.clone(), "test");
        let found = || {
            store
                .read(|transaction| transaction.attachments_of_id(&id.container_id))
                .unwrap()
                .len()
        };
        store
            .write(|transaction| transaction.insert_attachment(&record))
            .unwrap();
        assert_eq!(found(), 1, "the control");
        store
            .write(|transaction| {
                transaction.delete(container_key(&id));
                transaction.delete(marker_key());
                Ok::<_, StoreError>(())
            })
            .unwrap();
        let is_indexed = || {
            store
                .read(|transaction| transaction.get_bytes(&container_key(&id)))
                .unwrap()
                .is_some()
        };
        assert_eq!(
            (is_indexed(), found()),
            (false, 1),
            "as an older Weft has left it"
        );
        store.write(|_| Ok::<_, StoreError>(())).unwrap();
        assert_eq!((is_indexed(), found()), (true, 1));
    }
}
