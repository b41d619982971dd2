//! Rulesets of others that drop what is forwarded from and to a network's containers.

use std::net::IpAddr;

use weft_cni::IpFamily;
use weft_kernel::nft::{Family, ForeignChain, Table};
use weft_node::{Host, WeftError};
use weft_store::{AttachmentRecord, SharedObject};

use super::evaluate::Rules;
use super::passage::Passage;
use crate::ruleset::TABLES;

/// A network behind an interface of the host, by an address of each family that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    /// The interface that holds the gateway addresses.
    pub link: String,
    /// One address of each family.
    pub addresses: Vec<IpAddr>,
}

impl Behind {
    /// The networks that attachments are in.
    pub fn of(records: &[AttachmentRecord]) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for record in records {
            let own = record.gateway_link();
            let own = own.filter(|_| record.is_routed_by_host);
            // Behind another suite's interface only weft-firewall says which bridge it is.
            let admitted = record.shared.iter().find_map(|object| {
                if let SharedObject::Admitted { link } = object {
                    return Some(link.clone());
                }
                None
            });
            let Some(link) = own.or(admitted) else {
                continue;
            };
            let known = all.iter().position(|one| one.link == link);
            let at = known.unwrap_or_else(|| {
                let addresses = Vec::new();
                all.push(Self { link, addresses });
                all.len() - 1
            });
            if let Some(behind) = all.get_mut(at) {
                record
                    .addresses
                    .iter()
                    .for_each(|one| behind.add(one.address.ip()));
                let given = record.apart().into_iter().flat_map(|one| &one.addresses);
                given.for_each(|address| behind.add(*address));
            }
        }
        all
    }

    /// One more address, if it is the first of its family.
    pub fn add(&mut self, address: IpAddr) {
        let mut there = self.addresses.iter();
        if !there.any(|one| one.is_ipv4() == address.is_ipv4()) {
            self.addresses.push(address);
        }
    }
}

/// A chain of another firewall that drops what containers send, or what they are answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// Family, table and chain.
    pub chain: String,
    /// The interface of the host before the containers.
    pub link: String,
    /// What it drops.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl std::fmt::Display for Obstacle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            chain,
            what,
            remedy,
            ..
        } = self;
        write!(f, "chain {chain} drops {what}: {remedy}")
    }
}

/// The chains of others that packets pass at a hook.
pub(super) fn chains_at(host: &mut Host, hook: u32) -> Result<Vec<ForeignChain>, WeftError> {
    let mut chains = host.nft()?.base_chains()?;
    chains.retain(|chain| {
        let is_own = TABLES.iter().any(|table| table.name == chain.table.name);
        let is_ip = matches!(chain.table.family, Family::Inet | Family::Ip | Family::Ip6);
        !is_own && is_ip && chain.hook == hook && chain.kind == "filter"
    });
    Ok(chains)
}

/// Whether packets of a family pass the chains of a table.
pub(super) fn is_of_family(table: &Table, family: IpFamily) -> bool {
    match table.family {
        Family::Inet => true,
        Family::Ip => family == IpFamily::V4,
        Family::Ip6 => family == IpFamily::V6,
        Family::Bridge | Family::Netdev => false,
    }
}

/// Chains of others that certainly drop packets of these networks. Rules are tried with packets; a rule that is
/// not understood may do either.
///
/// # Errors
/// The kernel's.
pub fn obstacles(host: &mut Host, passages: &[Passage]) -> Result<Vec<Obstacle>, WeftError> {
    let mut found = Vec::new();
    for passage in passages {
        let chains = chains_at(host, passage.hook())?;
        if chains.is_empty() {
            continue;
        }
        let packets = passage.packets(host)?;
        let nft = host.nft()?;
        for chain in &chains {
            let rules = Rules::read(nft, &chain.table)?;
            let mut passing = packets
                .iter()
                .filter(|packet| is_of_family(&chain.table, packet.family()));
            if passing.any(|packet| rules.fate(nft, chain, packet).is_dropped()) {
                let names = nft.chain_names(&chain.table)?;
                found.push(Obstacle {
                    chain: format!(
                        "{} {} {}",
                        chain.table.family.as_str(),
                        chain.table.name,
                        chain.name
                    ),
                    link: passage.link().to_owned(),
                    what: passage.what(),
                    remedy: remedy(&names, chain, passage),
                });
            }
        }
    }
    Ok(found)
}

fn remedy(chains: &[String], chain: &ForeignChain, passage: &Passage) -> String {
    let link = passage.link();
    let has = |start: &str| chains.iter().any(|name| name.starts_with(start));
    let program = match chain.table.family {
        Family::Ip6 => "ip6tables",
        Family::Ip | Family::Inet | Family::Bridge | Family::Netdev => "iptables",
    };
    let is_question = matches!(passage, Passage::Questions { .. });
    if chain.table.name == "firewalld" {
        format!(
            "firewall-cmd --permanent --zone=trusted --add-interface={link}; firewall-cmd --reload"
        )
    } else if has("ufw") && is_question {
        format!("ufw allow in on {link} to any port 53")
    } else if is_question && chain.name == "INPUT" {
        format!(
            "weft firewall reload lets them through unless a rule drops them on purpose; else: {program} -I INPUT \
             -i {link} -p udp --dport 53 -j ACCEPT, and the same with tcp"
        )
    } else if is_question {
        format!(
            "weft firewall reload lets them through unless a rule drops them on purpose; else: nft insert rule {} {} \
             {} iifname {link} meta l4proto '{{ tcp, udp }}' th dport 53 accept",
            chain.table.family.as_str(),
            chain.table.name,
            chain.name
        )
    } else if has("ufw") {
        format!("ufw route allow in on {link}; ufw route allow out on {link}")
    } else if has("DOCKER-USER") || chain.name == "FORWARD" {
        let chain = match has("DOCKER-USER") {
            true => "DOCKER-USER",
            false => "FORWARD",
        };
        format!(
            "weft-firewall in the network's list lets them through, or: {program} -I {chain} -i {link} \
             -j ACCEPT; {program} -I {chain} -o {link} -j ACCEPT"
        )
    } else {
        format!(
            "weft-firewall in the network's list lets them through, or accept in that chain what comes from \
             and goes to {link}: nft insert rule {} {} {} iifname {link} accept, and the same with oifname",
            chain.table.family.as_str(),
            chain.table.name,
            chain.name
        )
    }
}

/// Rules that nf_tables does not show: iptables' older kind has them beside it.
pub fn has_legacy_rules() -> bool {
    let lists = ["ip", "ip6"].map(|family| format!("/proc/net/{family}_tables_names"));
    lists.iter().any(|path| {
        let names = std::fs::read_to_string(path).unwrap_or_default();
        names.lines().any(|name| name == "filter")
    })
}
