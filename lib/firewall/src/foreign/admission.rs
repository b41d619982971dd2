//! A rule of Weft's in other people's chains that drop by default what is forwarded, or what the host is sent.
//!
//! Docker, ufw and administrators do so. Weft's own `accept` does not end their chains, so nothing passes unless a
//! rule of theirs says so. weft-firewall in a network's list is the administrator's word that the network is to
//! pass, weft-dns that its containers are to ask the host for names. Then each chain that would drop these packets gets
//! rules in front, written so that iptables lists them as its own: what comes from the bridge, and what goes there by a
//! connection that is known or a published port; questions for names. Closed networks stay closed: that is decided in
//! Weft's own chains.
//!
//! Why it is so: docs/decisions/ruleset.md.

use weft_kernel::nft::{Batch, Chain, ForeignChain};
use weft_node::{Host, WeftError};
use weft_store::SharedObject;

use super::evaluate::{Fate, Rules};
use super::obstacles::{chains_at, is_of_family};
use super::passage::{HOOKS, Passage};

/// How often a compare-and-swap is repeated when others keep changing the ruleset.
const ATTEMPTS: u32 = 50;

/// Lets it through the chains that would drop its packets.
///
/// # Errors
/// The kernel's.
pub fn ensure(host: &mut Host, passage: &Passage) -> Result<(), WeftError> {
    for _ in 0..ATTEMPTS {
        let generation = host.nft()?.generation()?;
        let chains = dropping(host, passage)?;
        if chains.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::at_generation(generation);
        for (chain, place) in &chains {
            let place = Chain {
                table: chain.table.clone(),
                name: place.clone().into(),
                base: None,
            };
            for rule in passage.rules(chain) {
                place.insert_raw(&rule, &mut batch);
            }
        }
        match host.nft()?.commit(&batch) {
            Ok(()) => return Ok(()),
            Err(error) if error.is_outdated() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(WeftError::Conflict {
        key: "nft",
        name: passage.link().to_owned(),
        why: format!("the ruleset changed during each of {ATTEMPTS} attempts to let it through"),
    })
}

/// Chains that drop its packets, each with the one that the administrator's rules belong into.
pub fn dropping(
    host: &mut Host,
    passage: &Passage,
) -> Result<Vec<(ForeignChain, String)>, WeftError> {
    const FOR_THE_ADMINISTRATOR: &str = "DOCKER-USER";
    const FIREWALLD: &str = "firewalld";
    let mut chains = chains_at(host, passage.hook())?;
    // What firewalld does not know of it removes again; the documents say what to tell it.
    chains.retain(|chain| chain.table.name != FIREWALLD);
    let mut found = Vec::new();
    if chains.is_empty() {
        return Ok(found);
    }
    let packets = passage.packets(host)?;
    let nft = host.nft()?;
    let comment = passage.comment();
    for chain in chains {
        let raw = nft.rules(&chain.table)?;
        let rules = Rules::of(&chain.table, &raw);
        let passing = packets
            .iter()
            .filter(|packet| is_of_family(&chain.table, packet.family()));
        let fates: Vec<Fate> = passing
            .map(|packet| rules.fate(nft, &chain, packet))
            .collect();
        // What a rule drops on purpose stays dropped.
        if fates.contains(&Fate::DroppedByDefault) && !fates.contains(&Fate::Dropped) {
            let place = match rules.leads_to(&chain.name, FOR_THE_ADMINISTRATOR) {
                true => FOR_THE_ADMINISTRATOR.to_owned(),
                false => chain.name.clone(),
            };
            // One that is a running program's alone is as firewalld's.
            if nft.is_owned(&chain.table)? {
                continue;
            }
            // A second pair would help no more.
            let is_there = raw
                .iter()
                .any(|rule| rule.chain == place && rule.comment() == comment);
            if !is_there {
                found.push((chain, place));
            }
        }
    }
    Ok(found)
}

/// What rules in other people's chains are there for, as attachments record it.
///
/// # Errors
/// The kernel's.
pub fn there(host: &mut Host) -> Result<Vec<SharedObject>, WeftError> {
    let mut found = Vec::new();
    for hook in HOOKS {
        for chain in chains_at(host, hook)? {
            for rule in host.nft()?.rules(&chain.table)? {
                let object = Passage::object_of(&rule.comment());
                found.extend(object.filter(|object| !found.contains(object)));
            }
        }
    }
    Ok(found)
}

/// Takes the rules for it out again.
///
/// # Errors
/// The kernel's.
pub fn remove(host: &mut Host, passage: &Passage) -> Result<(), WeftError> {
    let comment = passage.comment();
    for _ in 0..ATTEMPTS {
        let generation = host.nft()?.generation()?;
        let mut batch = Batch::at_generation(generation);
        for chain in chains_at(host, passage.hook())? {
            for rule in host.nft()?.rules(&chain.table)? {
                if rule.comment() != comment {
                    continue;
                }
                let place = Chain {
                    table: chain.table.clone(),
                    name: rule.chain.clone().into(),
                    base: None,
                };
                place.delete_rule(&rule, &mut batch);
            }
        }
        match host.nft()?.commit(&batch) {
            Ok(()) => return Ok(()),
            Err(error) if error.is_outdated() || error.is_absent() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(WeftError::Conflict {
        key: "nft",
        name: passage.link().to_owned(),
        why: format!(
            "the ruleset changed during each of {ATTEMPTS} attempts to take its rules out"
        ),
    })
}
