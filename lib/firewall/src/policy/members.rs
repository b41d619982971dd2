//! Containers as members of the selectors that mean them.

use std::collections::BTreeSet;

use weft_node::{Host, WeftError};
use weft_store::{AttachmentRecord, NetworkRecord, NftRecord, SharedObject, Transaction};

use super::endpoint::Endpoint;
use super::rule::Rule;
use super::state::{network_rules, rules_of_files};
use crate::ruleset::{ENDS4, ENDS6, HOME4, HOME6, KNOWN4, KNOWN6, is_member_set};

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
        let memberships = Endpoint::from(&*record).memberships(&rules);
        record.nft.extend(memberships);
        Ok(())
    }
}

/// Whether an element is one of [`Endpoint::memberships`].
pub(super) fn is_membership(element: &NftRecord) -> bool {
    let homes = [KNOWN4, KNOWN6, HOME4, HOME6, ENDS4, ENDS6];
    is_member_set(&element.set) || homes.iter().any(|set| set.name == element.set)
}

/// Gives a record the memberships that the rules make; whether that changes it.
pub(crate) fn refresh(record: &mut AttachmentRecord, rules: &[Rule]) -> bool {
    let wanted = Endpoint::from(&*record).memberships(rules);
    let (there, mut kept): (BTreeSet<NftRecord>, Vec<NftRecord>) = {
        let (members, others): (Vec<_>, Vec<_>) = record.nft.drain(..).partition(is_membership);
        (members.into_iter().collect(), others)
    };
    let is_changed = there != wanted;
    kept.extend(wanted);
    record.nft = kept;
    is_changed
}
