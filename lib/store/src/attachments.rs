//! Attachment records.

use weft_cni::{AttachmentId, ContainerId, NetworkName};

use crate::changes::Change;
use crate::error::StoreError;
use crate::record::AttachmentRecord;
use crate::transaction::{Transaction, key, kind};

fn record_key(id: &AttachmentId) -> Vec<u8> {
    let names = [
        id.network.as_str(),
        id.container_id.as_str(),
        id.ifname.as_str(),
    ];
    key(kind::ATTACHMENT, &names, &[])
}

impl Transaction<'_> {
    /// The time of the transaction, in seconds since 1970.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Refuses if the attachment is recorded.
    ///
    /// # Errors
    /// [`StoreError::AttachmentExists`].
    pub fn refuse_duplicate(&self, id: &AttachmentId) -> Result<(), StoreError> {
        match self.attachment(id)? {
            None => Ok(()),
            Some(there) => Err(StoreError::AttachmentExists {
                id: id.clone(),
                plugin: there.plugin,
            }),
        }
    }

    /// Records an attachment, and its share in what it shares.
    ///
    /// # Errors
    /// [`StoreError::AttachmentExists`], [`StoreError::PortTaken`].
    pub fn insert_attachment(&mut self, record: &AttachmentRecord) -> Result<(), StoreError> {
        self.refuse_duplicate(&record.id)?;
        self.refuse_on_segment(record)?;
        self.claim_ports(record)?;
        for object in &record.shared {
            self.acquire_shared(object)?;
        }
        self.index(record)?;
        self.index_gateway(None, Some(record))?;
        self.put(record_key(&record.id), record)?;
        self.log_change(&Change::Attached {
            id: record.id.clone(),
        })
    }

    /// Replaces a record by another of the same attachment, with the same leases. One that is not
    /// there is inserted.
    ///
    /// # Errors
    /// [`StoreError::PortTaken`].
    pub fn replace_attachment(&mut self, record: &AttachmentRecord) -> Result<(), StoreError> {
        let before = self.attachment(&record.id)?;
        let published = before.as_ref().map_or(&[][..], |before| before.ports());
        if *published != *record.ports() {
            self.release_ports(&record.id, published)?;
            self.claim_ports(record)?;
        }
        // Acquired first: what both have is never idle in between.
        for object in &record.shared {
            self.acquire_shared(object)?;
        }
        for object in before.iter().flat_map(|before| &before.shared) {
            self.release_shared(object)?;
        }
        if before.is_none() {
            self.index(record)?;
        }
        self.index_gateway(before.as_ref(), Some(record))?;
        self.put(record_key(&record.id), record)?;
        self.log_change(&Change::Attached {
            id: record.id.clone(),
        })
    }

    /// The record of an attachment.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn attachment(&self, id: &AttachmentId) -> Result<Option<AttachmentRecord>, StoreError> {
        self.get(&record_key(id))
    }

    /// Removes a record, its leases and its shares. Nothing happens if there is none.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn remove_attachment(&mut self, id: &AttachmentId) -> Result<(), StoreError> {
        let Some(record) = self.attachment(id)? else {
            return Ok(());
        };
        let has_own_mac = record.link.own().is_some_and(|link| link.has_own_mac);
        for address in &record.addresses {
            if let Some(pool) = &address.pool {
                self.release(pool, address.address.ip(), id, has_own_mac)?;
            }
        }
        self.release_ports(id, record.ports())?;
        for object in &record.shared {
            self.release_shared(object)?;
        }
        self.unindex(&record)?;
        self.index_gateway(Some(&record), None)?;
        self.delete(record_key(id));
        self.log_change(&Change::Detached { id: id.clone() })
    }

    /// The attachments of one network, in order.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn attachments_of(
        &self,
        network: &NetworkName,
    ) -> Result<Vec<AttachmentRecord>, StoreError> {
        self.records(&key(kind::ATTACHMENT, &[network.as_str()], &[]))
    }

    /// The attachments of one container to one network.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn attachments_of_container(
        &self,
        network: &NetworkName,
        container: &ContainerId,
    ) -> Result<Vec<AttachmentRecord>, StoreError> {
        self.records(&key(
            kind::ATTACHMENT,
            &[network.as_str(), container.as_str()],
            &[],
        ))
    }

    /// Every attachment.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn attachments(&self) -> Result<Vec<AttachmentRecord>, StoreError> {
        self.records(&[kind::ATTACHMENT])
    }

    fn records(&self, prefix: &[u8]) -> Result<Vec<AttachmentRecord>, StoreError> {
        self.scan(prefix)?
            .iter()
            .map(|(key, value)| self.decode(key, value))
            .collect()
    }
}
