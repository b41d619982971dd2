//! A rule of Weft's in other people's chains that drop what is forwarded by default.
//!
//! Docker, ufw and administrators do so. Weft's own `accept` does not end their chains, so nothing passes unless a
//! rule of theirs says so. weft-firewall in a network's list is the administrator's word that the network is to
//! pass. Then each chain that would drop its packets gets two rules in front, written so that iptables lists them
//! as its own: what comes from the bridge, and what goes there by a connection that is known or a published port.
//! Closed networks stay closed: that is decided in Weft's own chains.
//!
//! Why it is so: docs/decisions/ruleset.md.

use weft_kernel::nft::{Batch, Chain, Expression, ForeignChain, RawRule, Verdict, xt_match};
use weft_node::{Host, WeftError};
use weft_store::{AttachmentRecord, SharedObject};

use super::evaluate::{Fate, Rules};
use super::obstacles::{Behind, forward_chains, is_of_family, packets};
use crate::ruleset::matching::{FIRST, input_name, output_name};

/// How often a compare-and-swap is repeated when others keep changing the ruleset.
const ATTEMPTS: u32 = 50;

fn comment(link: &str) -> String {
    format!("weft admits {link}")
}

/// The networks that are to be let through, by the attachments.
pub fn admitted(records: &[AttachmentRecord]) -> Vec<Behind> {
    let is_admitted = |behind: &Behind| {
        let link = behind.link.clone();
        let object = SharedObject::Admitted { link };
        records.iter().any(|record| record.shared.contains(&object))
    };
    let mut all = Behind::of(records);
    all.retain(is_admitted);
    all
}

/// Lets a network through the chains that would drop its packets.
///
/// # Errors
/// The kernel's.
pub fn ensure(host: &mut Host, behind: &Behind) -> Result<(), WeftError> {
    for _ in 0..ATTEMPTS {
        let generation = host.nft()?.generation()?;
        let chains = dropping(host, behind)?;
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
            for rule in rules(chain, &behind.link) {
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
        name: behind.link.clone(),
        why: format!("the ruleset changed during each of {ATTEMPTS} attempts to let it through"),
    })
}

/// Chains that drop a network's packets, each with the one that the administrator's rules belong into.
pub fn dropping(
    host: &mut Host,
    behind: &Behind,
) -> Result<Vec<(ForeignChain, String)>, WeftError> {
    const FOR_THE_ADMINISTRATOR: &str = "DOCKER-USER";
    const FIREWALLD: &str = "firewalld";
    let mut chains = forward_chains(host)?;
    // What firewalld does not know of it removes again; the documents say what to tell it.
    chains.retain(|chain| chain.table.name != FIREWALLD);
    let mut found = Vec::new();
    if chains.is_empty() {
        return Ok(found);
    }
    let packets = packets(host, behind)?;
    let nft = host.nft()?;
    let comment = comment(&behind.link);
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

/// Compared as iptables writes it: with the zero at its end, and no more.
fn is_link(link: &str) -> Expression {
    Expression::Compare {
        register: FIRST,
        negated: false,
        value: link.bytes().chain([0]).collect(),
    }
}

fn rules(chain: &ForeignChain, link: &str) -> Vec<RawRule> {
    const ACCEPT: [Expression; 2] = [Expression::Counter, Expression::Verdict(Verdict::Accept)];
    let comment = comment(link);
    let from = RawRule::new(&[input_name(FIRST), is_link(link)], &[], &ACCEPT, &comment);
    let to = [output_name(FIRST), is_link(link)];
    // iptables lists no chain in which it does not understand a rule.
    if chain.name == "FORWARD" {
        let states = xt_match("conntrack", 3, &conntrack_info());
        return vec![from, RawRule::new(&to, &states, &ACCEPT, &comment)];
    }
    let with = |rest: Vec<Expression>| {
        let parts: Vec<Expression> = to.iter().cloned().chain(rest).collect();
        RawRule::new(&parts, &[], &ACCEPT, &comment)
    };
    vec![
        from,
        with(crate::ruleset::matching::is_known_connection()),
        with(crate::ruleset::matching::was_translated()),
    ]
}

/// struct xt_conntrack_mtinfo3 (linux/netfilter/xt_conntrack.h) of `--ctstate RELATED,ESTABLISHED,DNAT`.
fn conntrack_info() -> Vec<u8> {
    const BYTES: usize = 164;
    const STATE: u16 = 1;
    const ESTABLISHED: u16 = 1 << 1;
    const RELATED: u16 = 1 << 2;
    const DNAT: u16 = 1 << 7;
    let mut info = vec![0; 146];
    info.extend(STATE.to_ne_bytes());
    info.extend(0_u16.to_ne_bytes());
    info.extend((ESTABLISHED | RELATED | DNAT).to_ne_bytes());
    info.resize(BYTES, 0);
    info
}

/// Takes the rules for an interface out again.
///
/// # Errors
/// The kernel's.
pub fn remove(host: &mut Host, link: &str) -> Result<(), WeftError> {
    let comment = comment(link);
    for _ in 0..ATTEMPTS {
        let generation = host.nft()?.generation()?;
        let mut batch = Batch::at_generation(generation);
        for chain in forward_chains(host)? {
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
        name: link.to_owned(),
        why: format!(
            "the ruleset changed during each of {ATTEMPTS} attempts to take its rules out"
        ),
    })
}
