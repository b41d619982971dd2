//! Containers as members of the selectors that mean them.

use std::collections::BTreeSet;

use weft_cni::IpFamily;
use weft_node::{Host, WeftError};
use weft_store::{AttachmentRecord, NetworkRecord, NftRecord, SharedObject, Transaction};

use super::compile::member_set_name;
use super::rule::Rule;
use super::selector::Selector;
use super::state::{network_rules, rules_of_files};
use crate::ruleset::{
    HOME4, HOME6, KNOWN4, KNOWN6, address_bytes_hex, home_elements, is_member_set,
};

/// What policies make of an attachment, before it is recorded.
#[derive(Debug, Default)]
pub struct Policies {
    files: Vec<Rule>,
    /// The attachment's network, if it is closed.
    network: Option<NetworkRecord>,
}

impl Policies {
    /// Reads the files. `network` is the attachment's network, if it is closed.
    ///
    /// # Errors
    /// Code 7: a policy that cannot be read keeps a container from being started, not from being
    /// closed.
    pub fn read(host: &Host, network: Option<NetworkRecord>) -> Result<Self, WeftError> {
        let files = match (rules_of_files(host), &network) {
            (Ok(rules), _) => rules,
            // An open one is only not let in where others are closed.
            (Err(error), None) => {
                tracing::warn!(%error, "policies are left out");
                Vec::new()
            }
            (Err(error), Some(_)) => return Err(error.into()),
        };
        Ok(Self { files, network })
    }

    /// Makes an attachment a member of every selector that means it, and its network known.
    pub fn join(
        &self,
        transaction: &mut Transaction<'_>,
        record: &mut AttachmentRecord,
    ) -> Result<(), WeftError> {
        if let Some(network) = &self.network {
            let name = record.id.network.to_string();
            transaction.put_network(&name, network)?;
            record.shared.push(SharedObject::Network { name });
        }
        let mut rules = self.files.clone();
        for (name, network) in transaction.networks()? {
            rules.extend(network_rules(&name, &network)?);
        }
        record.nft.extend(memberships(record, &rules));
        Ok(())
    }
}

/// The elements of an attachment in the sets of selectors.
pub(super) fn memberships(record: &AttachmentRecord, rules: &[Rule]) -> BTreeSet<NftRecord> {
    let selectors: BTreeSet<&Selector> = rules
        .iter()
        .flat_map(|rule| [&rule.from, &rule.to])
        .filter(|one| matches!(one, Selector::Endpoints(endpoints) if endpoints.matches(record)))
        .collect();
    let addresses: BTreeSet<_> = record
        .addresses
        .iter()
        .map(|one| one.address.ip())
        .collect();
    let is_meant = !selectors.is_empty() || !record.isolation.is_none();
    let link = record.gateway_link();
    let homes: Vec<NftRecord> = link
        .filter(|_| is_meant)
        .iter()
        .flat_map(|link| addresses.iter().map(move |ip| home_elements(link, *ip)))
        .flatten()
        .collect();
    selectors
        .iter()
        .flat_map(|selector| {
            addresses.iter().map(|ip| NftRecord {
                set: member_set_name(selector, IpFamily::of(*ip)).into(),
                key: address_bytes_hex(*ip),
                key_end: None,
                value: None,
            })
        })
        .chain(homes)
        .collect()
}

/// Whether an element is one of [`memberships`].
pub(super) fn is_membership(element: &NftRecord) -> bool {
    let homes = [KNOWN4, KNOWN6, HOME4, HOME6];
    is_member_set(&element.set) || homes.iter().any(|set| set.name == element.set)
}

/// Gives a record the memberships that the rules make; whether that changes it.
pub(crate) fn refresh(record: &mut AttachmentRecord, rules: &[Rule]) -> bool {
    let wanted = memberships(record, rules);
    let (there, mut kept): (BTreeSet<NftRecord>, Vec<NftRecord>) = {
        let (members, others): (Vec<_>, Vec<_>) = record.nft.drain(..).partition(is_membership);
        (members.into_iter().collect(), others)
    };
    let is_changed = there != wanted;
    kept.extend(wanted);
    record.nft = kept;
    is_changed
}
