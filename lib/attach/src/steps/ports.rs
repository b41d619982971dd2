//! Published ports of a container with several interfaces: one serves each, and another takes over when that goes.
//!
//! Why it is so: docs/decisions/ports.md.

use std::collections::BTreeSet;

use weft_cni::AttachmentId;
use weft_firewall::{connections, ruleset};
use weft_node::{Host, WeftError};
use weft_store::{AttachmentRecord, NftRecord, PortRecord, StoreError, Transaction};

/// Set and key of an element.
pub type ElementKey = (String, String);

/// What tells an element from others: the kernel has it once.
pub fn key_of(element: &NftRecord) -> ElementKey {
    (element.set.to_string(), element.key.clone())
}

/// The ports that other interfaces of the container serve. A container in several networks has them once: the
/// first interface serves them, and another one when that goes.
///
/// # Errors
/// The store's.
pub fn served_by_others(
    transaction: &Transaction<'_>,
    own: &AttachmentRecord,
) -> Result<BTreeSet<ElementKey>, StoreError> {
    let others = transaction.attachments_of_id(&own.id.container_id)?;
    let others = others
        .iter()
        .filter(|record| record.id != own.id && record.is_of_container(own));
    Ok(others
        .flat_map(|record| &record.nft)
        .filter(|element| ruleset::is_way_in(element))
        .map(key_of)
        .collect())
}

/// Those of an attachment's ports that it serves itself.
fn served(record: &AttachmentRecord) -> (Vec<PortRecord>, Vec<NftRecord>) {
    let own: BTreeSet<&NftRecord> = record.nft.iter().collect();
    let pairs = record
        .ports()
        .iter()
        .map(|port| (port, ruleset::port_element(port)));
    pairs
        .filter(|(_, element)| own.contains(element))
        .map(|(port, element)| (port.clone(), element))
        .unzip()
}

/// An attachment takes over the ports that another one of its container has served until it went.
///
/// # Errors
/// The store's and the kernel's.
pub fn succeed(host: &mut Host, id: &AttachmentId) -> Result<(), WeftError> {
    let record = host.store.write(|transaction| {
        let Some(mut record) = transaction.attachment(id)? else {
            return Ok(None);
        };
        let served = served_by_others(transaction, &record)?;
        let there: BTreeSet<ElementKey> = record.nft.iter().map(key_of).collect();
        let elements = record.ports().iter().map(ruleset::port_element);
        let missing: Vec<NftRecord> = elements
            .filter(|one| !served.contains(&key_of(one)) && !there.contains(&key_of(one)))
            .collect();
        if !missing.is_empty() {
            record.nft.extend(missing);
            transaction.replace_attachment(&record)?;
        }
        Ok::<_, StoreError>(Some(record))
    })?;
    let Some(record) = record else {
        return Ok(());
    };
    // A process that was killed after the record was written has put none of them into the kernel.
    let (ports, elements) = served(&record);
    let mut part = AttachmentRecord::new(id.clone(), "");
    part.nft = elements;
    weft_firewall::add_elements(host, &part)?;
    connections::end_stale(host, &ports)
}
