//! A target that is led by another gateway than before: the ruleset is opened for it, and closed for the one before.

use weft_cni::AttachmentId;
use weft_node::{Host, WeftError};
use weft_store::{Addition, AttachmentRecord, LINKS_LOCK, NftRecord, Sharing, StoreError};

use super::pair;
use crate::chained::record::take_back;

/// Opens a target for a gateway, and for no other. Whether anything was to be done.
///
/// # Errors
/// The store's and the kernel's. The record names what is left.
pub fn open_for(
    host: &mut Host,
    target: &AttachmentId,
    gateway: Option<&AttachmentId>,
) -> Result<bool, WeftError> {
    let _turn = (host.store).attachment_lock(&target.network, &target.container_id)?;
    let lock = host.store.named_lock(LINKS_LOCK, Sharing::Shared)?;
    let changed = host.store.write(|transaction| {
        let there = transaction.attachment(target)?;
        let Some((mut record, mut warp)) = there.and_then(|one| {
            let warp = one.warp().cloned()?;
            Some((one, warp))
        }) else {
            return Ok(None);
        };
        let other = gateway.map(|id| transaction.attachment(id)).transpose()?;
        let other = other.flatten();
        let wanted = other.map_or_else(Vec::new, |other| pair(&record, &other));
        if warp.led_by.as_ref() == gateway && warp.nft == wanted {
            return Ok(None);
        }
        let is_in = |list: &[NftRecord], one: &NftRecord| list.contains(one);
        let old: Vec<NftRecord> = (warp.nft.iter())
            .filter(|one| !is_in(&wanted, one))
            .cloned()
            .collect();
        let new: Vec<NftRecord> = (wanted.iter())
            .filter(|one| !is_in(&warp.nft, one))
            .cloned()
            .collect();
        record.nft.extend(new.iter().cloned());
        warp.nft.extend(new.iter().cloned());
        warp.led_by = gateway.cloned();
        record.set_addition(Addition::Warp(warp));
        transaction.replace_attachment(&record)?;
        Ok::<_, StoreError>(Some((record.plugin, old, new)))
    })?;
    let Some((plugin, old, new)) = changed else {
        return Ok(false);
    };
    let part = |nft: Vec<NftRecord>| AttachmentRecord {
        nft,
        ..AttachmentRecord::new(target.clone(), &plugin)
    };
    let added = match new.is_empty() {
        true => Ok(()),
        false => weft_firewall::add_elements(host, &part(new)),
    };
    // Removing takes it for itself.
    drop(lock);
    if !old.is_empty() {
        let take_out = |record: &mut AttachmentRecord| {
            record.nft.retain(|element| !old.contains(element));
            if let Some(mut warp) = record.take_warp() {
                warp.nft.retain(|element| !old.contains(element));
                record.set_addition(Addition::Warp(warp));
            }
        };
        take_back(host, &part(old.clone()), |_| Ok(()), &take_out)?;
    }
    added.map(|()| true)
}
