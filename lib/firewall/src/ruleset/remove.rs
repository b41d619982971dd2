//! Taking elements out of the kernel: only those that still are whose they were.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use weft_cni::phases::measure;
use weft_cni::{AttachmentId, CniResult};
use weft_kernel::nft::{Batch, Element, NftSocket};
use weft_node::names::owner;
use weft_node::{Host, WeftError};
use weft_store::{AttachmentRecord, NftRecord, SharedObject};

use super::apply::{SWAP_ATTEMPTS, all_sets, is_same};
use super::by_set::BySet;
use super::elements::phase_of;
use super::elements::{Guarded, element, endpoint_elements, record_of};
use crate::ruleset::Masquerade;

/// Removes elements that belong to their `owner`, or, where they name none, to anybody; those that are
/// another's by now stay. A compare-and-swap on the ruleset's generation makes sure of it.
fn remove_owned(nft: &mut NftSocket, wanted: &BySet) -> Result<(), WeftError> {
    for _ in 0..SWAP_ATTEMPTS {
        let generation = nft.generation()?;
        let mut batch = Batch::at_generation(generation);
        for (set, elements) in wanted.iter() {
            let there = nft.find_all(set, elements)?;
            let is_ours = |there: &Element, wanted: &Element| {
                (wanted.owner.is_empty() || there.owner == wanted.owner) && is_same(there, wanted)
            };
            // By their keys, and so as good as what was wanted.
            let ours: Vec<Element> = there
                .into_iter()
                .zip(elements)
                .filter_map(|(there, wanted)| there.filter(|there| is_ours(there, wanted)))
                .collect();
            if !ours.is_empty() {
                set.remove(&ours, &mut batch);
            }
        }
        match nft.commit(&batch) {
            Ok(()) => return Ok(()),
            // ERESTART: the ruleset has changed; ENOENT: the element has just gone.
            Err(error) if error.is_outdated() || error.is_absent() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(WeftError::Conflict {
        key: "nft",
        name: "inet weft".to_owned(),
        why: format!("changed during each of {SWAP_ATTEMPTS} attempts to remove elements"),
    })
}

/// Removes the elements of several attachments in one batch.
pub fn remove_elements(host: &mut Host, records: &[&AttachmentRecord]) -> Result<(), WeftError> {
    let mut elements = BySet::default();
    for record in records {
        elements.add_records(&record.nft, &owner(&record.id));
    }
    if elements.is_empty() {
        return Ok(());
    }
    let nft = host.nft()?;
    match phase_of(records) {
        Some(phase) => measure(phase, || remove_owned(nft, &elements)),
        None => remove_owned(nft, &elements),
    }
}

/// Removes the elements that an attachment without a record may have: those of the addresses and
/// the MAC in its result.
pub fn remove_derived(
    host: &mut Host,
    id: &AttachmentId,
    port: &str,
    prev: &CniResult,
) -> Result<(), WeftError> {
    let addresses: Vec<IpNetwork> = prev.ips.iter().map(|ip| ip.address).collect();
    let own = prev
        .interfaces
        .iter()
        .find(|interface| interface.name == id.ifname.as_str());
    let mac = own.and_then(|interface| interface.mac.parse().ok());
    let guarded = mac.map(|mac| Guarded {
        port,
        mac,
        with_addresses: true,
    });
    let anywhere = |ip: IpAddr| if ip.is_ipv4() { IPV4_ANY } else { IPV6_ANY };
    let to = addresses
        .iter()
        .map(|address| anywhere(address.ip()))
        .collect();
    let mut records = endpoint_elements(&addresses, Some(&Masquerade::default()), guarded);
    records.extend(endpoint_elements(
        &addresses,
        Some(&Masquerade {
            to,
            ..Masquerade::default()
        }),
        None,
    ));
    let mut elements = BySet::default();
    elements.add_records(&records, &owner(id));
    remove_owned(host.nft()?, &elements)
}

/// Any value will do to name a map's key.
const IPV4_ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const IPV6_ANY: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// Removes network elements that no attachment uses any more, whichever network put them there. The links lock
/// is held, so that no ADD comes to use one meanwhile.
pub fn remove_network_elements(host: &mut Host, records: &[NftRecord]) -> Result<(), WeftError> {
    if records.is_empty() {
        return Ok(());
    }
    // The same key may be in use with another value, or by networks of another store.
    let attachments = host.attachments()?;
    let in_use: Vec<&NftRecord> = attachments
        .iter()
        .flat_map(|attachment| &attachment.shared)
        .filter_map(SharedObject::nft_element)
        .collect();
    let mut unused: Vec<&NftRecord> = Vec::new();
    for record in records {
        let is_there = |other: &&NftRecord| has_same_key(other, record);
        if !in_use.iter().any(is_there) && !unused.iter().any(is_there) {
            unused.push(record);
        }
    }
    let elements = unused.into_iter().filter_map(|one| element(one, ""));
    remove_owned(host.nft()?, &elements.collect())
}

fn has_same_key(one: &NftRecord, other: &NftRecord) -> bool {
    one.key == other.key && one.set == other.set && one.key_end == other.key_end
}

/// Removes every element whose owner `is_orphan` says is none. Returns how many went.
pub fn sweep(
    host: &mut Host,
    is_orphan: &dyn Fn(&str, &NftRecord) -> bool,
) -> Result<usize, WeftError> {
    let nft = host.nft()?;
    let mut orphans = Vec::new();
    for set in all_sets(nft)? {
        for element in nft.elements(&set)? {
            if is_orphan(&element.owner, &record_of(&set, &element)) {
                orphans.push((set.clone(), element));
            }
        }
    }
    if orphans.is_empty() {
        return Ok(0);
    }
    let count = orphans.len();
    remove_owned(nft, &orphans.into_iter().collect())?;
    Ok(count)
}
