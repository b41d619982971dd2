//! Who else decides about packets: rulesets of others that drop what is forwarded.

use weft_kernel::nft::{Family, Table};

use crate::error::AttachError;
use crate::host::Host;
use crate::ruleset::TABLES;

/// Somebody else's chain that drops what is forwarded unless a rule of theirs lets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// Family, table and chain.
    pub chain: String,
    /// The interface that none of its rules names.
    pub link: String,
    /// What to do.
    pub remedy: String,
}

/// Chains of others that drop what is forwarded from and to these interfaces. Their rules are not
/// understood, only searched for the interface's name.
///
/// # Errors
/// The kernel's.
pub fn obstacles(host: &mut Host, links: &[String]) -> Result<Vec<Obstacle>, AttachError> {
    const FORWARD: u32 = 2;
    let nft = host.nft()?;
    let mut found = Vec::new();
    let chains = nft.base_chains()?;
    for chain in &chains {
        let is_own = TABLES.iter().any(|table| table.name == chain.table.name);
        if is_own || chain.hook != FORWARD || !chain.drops {
            continue;
        }
        let chain_names = nft.chain_names(&chain.table)?;
        let rules = nft.rules(&chain.table)?;
        for link in links {
            if rules.iter().any(|rule| names(&rule.expressions, link)) {
                continue;
            }
            found.push(Obstacle {
                chain: format!(
                    "{} {} {}",
                    chain.table.family.as_str(),
                    chain.table.name,
                    chain.name
                ),
                link: link.clone(),
                remedy: remedy(&chain_names, &chain.table, link),
            });
        }
    }
    Ok(found)
}

/// Whether a rule compares something with an interface's name. That ends with a zero there, and does
/// not begin amid another: br1 is not in br10, nor in abr1.
fn names(expressions: &[u8], link: &str) -> bool {
    let name: Vec<u8> = link.bytes().chain(std::iter::once(0)).collect();
    let found_at = |(start, window): (usize, &[u8])| {
        let before = start.checked_sub(1).and_then(|at| expressions.get(at));
        window == name && before.is_none_or(|byte| !byte.is_ascii_graphic())
    };
    !link.is_empty() && expressions.windows(name.len()).enumerate().any(found_at)
}

fn remedy(chains: &[String], table: &Table, link: &str) -> String {
    let has = |start: &str| chains.iter().any(|name| name.starts_with(start));
    let program = match table.family {
        Family::Ip6 => "ip6tables",
        _ => "iptables",
    };
    if has("DOCKER-USER") {
        format!(
            "{program} -I DOCKER-USER -i {link} -j ACCEPT; {program} -I DOCKER-USER -o {link} -j ACCEPT"
        )
    } else if has("ufw") {
        format!("ufw route allow in on {link}; ufw route allow out on {link}")
    } else if has("FORWARD") {
        format!(
            "{program} -I FORWARD -i {link} -j ACCEPT; {program} -I FORWARD -o {link} -j ACCEPT"
        )
    } else {
        format!(
            "accept in that chain what comes from and goes to {link}: nft insert rule {} {} CHAIN \
             iifname {link} accept, and the same with oifname",
            table.family.as_str(),
            table.name
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_not_found_in_a_longer_one() {
        let rule = b"\x14\0\x01\0br10\0\0\0\0\0\0\0\0\0\0\0\0";
        assert!(names(rule, "br10"));
        assert!(!names(rule, "br1") && !names(rule, "r10"));
        assert!(!names(rule, "") && !names(b"", "br1"));
    }
}
