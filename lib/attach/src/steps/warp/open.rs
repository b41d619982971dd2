//! A target that is led by another gateway than before: the ruleset is opened for it, and closed for the one before.

use weft_cni::AttachmentId;
use weft_firewall::ruleset;
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
        // A record keeps them by their sets, in another order.
        let is_same =
            warp.nft.len() == wanted.len() && wanted.iter().all(|one| warp.nft.contains(one));
        if warp.led_by.as_ref() == gateway && is_same {
            return Ok(Some((record.plugin, Vec::new(), wanted, true)));
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
        Ok::<_, StoreError>(Some((record.plugin, old, new, false)))
    })?;
    let Some((plugin, old, mut new, is_recorded)) = changed else {
        return Ok(false);
    };
    if is_recorded {
        // One that was killed between the record and the kernel has left them missing.
        let owner = weft_node::names::owner(target);
        let mut missing = Vec::new();
        for element in new {
            if !ruleset::element_is_right(host, &element, Some(&owner))? {
                missing.push(element);
            }
        }
        new = missing;
        if new.is_empty() {
            return Ok(false);
        }
    }
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
