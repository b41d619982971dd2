//! What is to pass other people's chains: containers' packets to outside and back, and their questions for names to the
//! host.

use std::net::IpAddr;

use weft_kernel::link;
use weft_kernel::nft::{Expression, ForeignChain, RawRule, Verdict, xt_match};
use weft_node::{Host, WeftError, default_route};
use weft_store::{AttachmentRecord, SharedObject};

use super::obstacles::Behind;
use super::packet::{Interface, NAMES_PORT, Packet};
use crate::ruleset::matching;
use crate::ruleset::matching::{FIRST, input_name, is, output_name};

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passage {
    /// What containers send outside, and are answered.
    Through(Behind),
    /// What containers ask name servers of the host.
    Questions {
        /// The interface that they come by.
        link: String,
        /// A container's address with the server's, one pair of each family.
        asked: Vec<(IpAddr, IpAddr)>,
    },
}

/// NF_INET_LOCAL_IN.
const INPUT: u32 = 1;
/// NF_INET_FORWARD.
const FORWARD: u32 = 2;
/// Where such rules are.
pub(super) const HOOKS: [u32; 2] = [INPUT, FORWARD];
const ADMITS: &str = "weft admits ";
/// No interface is called so: its name has no space.
const QUESTIONS: &str = "questions of ";
const ACCEPT: [Expression; 2] = [Expression::Counter, Expression::Verdict(Verdict::Accept)];

impl Passage {
    /// What the attachments say is to pass.
    pub fn admitted(records: &[AttachmentRecord]) -> Vec<Self> {
        let is_admitted = |behind: &Behind| {
            let link = behind.link.clone();
            let object = SharedObject::Admitted { link };
            records.iter().any(|record| record.shared.contains(&object))
        };
        let mut through = Behind::of(records);
        through.retain(is_admitted);
        let mut all: Vec<Self> = through.into_iter().map(Self::Through).collect();
        all.extend(Self::questions(records));
        all
    }

    /// Questions that are to reach the host, of each interface.
    pub fn questions(records: &[AttachmentRecord]) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for record in records {
            let Some(names) = record.names() else {
                continue;
            };
            let links = record.shared.iter().filter_map(SharedObject::questions);
            for link in links {
                let own = Self::asked_by(link, &names.addresses, &names.servers);
                match all.iter_mut().find(|one| one.link() == link) {
                    Some(there) => there.add_family(own),
                    None => all.push(own),
                }
            }
        }
        all
    }

    /// A container's questions, by its addresses and those of the servers.
    pub fn asked_by(link: &str, addresses: &[IpAddr], servers: &[IpAddr]) -> Self {
        let with = |is_ipv4| {
            let is_of_family = |ip: &&IpAddr| ip.is_ipv4() == is_ipv4;
            let own = addresses.iter().find(is_of_family);
            let server = servers.iter().find(is_of_family);
            Some((*own?, *server?))
        };
        Self::Questions {
            link: link.to_owned(),
            asked: [with(true), with(false)].into_iter().flatten().collect(),
        }
    }

    /// One more pair, if it is the first of its family.
    fn add_family(&mut self, other: Self) {
        let (Self::Questions { asked, .. }, Self::Questions { asked: more, .. }) = (self, other)
        else {
            return;
        };
        for pair in more {
            if !asked
                .iter()
                .any(|(own, _)| own.is_ipv4() == pair.0.is_ipv4())
            {
                asked.push(pair);
            }
        }
    }

    /// The interface that the host has for it.
    pub fn link(&self) -> &str {
        match self {
            Self::Through(behind) => &behind.link,
            Self::Questions { link, .. } => link,
        }
    }

    /// Where its packets pass (NF_INET_*).
    pub(super) const fn hook(&self) -> u32 {
        match self {
            Self::Through(_) => FORWARD,
            Self::Questions { .. } => INPUT,
        }
    }

    /// What a chain drops that drops it.
    pub(super) fn what(&self) -> String {
        let link = self.link();
        match self {
            Self::Through(_) => {
                format!("what the containers behind {link} send, or are answered")
            }
            Self::Questions { .. } => {
                format!("what the containers behind {link} ask weftd (port {NAMES_PORT})")
            }
        }
    }

    /// What rules for it say of themselves.
    pub(super) fn comment(&self) -> String {
        let link = self.link();
        match self {
            Self::Through(_) => format!("{ADMITS}{link}"),
            Self::Questions { .. } => format!("{ADMITS}{QUESTIONS}{link}"),
        }
    }

    /// What attachments have recorded that rules say such a thing of.
    pub(super) fn object_of(comment: &str) -> Option<SharedObject> {
        let what = comment.strip_prefix(ADMITS)?;
        Some(match what.strip_prefix(QUESTIONS) {
            Some(link) => SharedObject::Questions {
                link: link.to_owned(),
            },
            None => SharedObject::Admitted {
                link: what.to_owned(),
            },
        })
    }

    /// Packets to try others' rules with.
    pub(super) fn packets(&self, host: &mut Host) -> Result<Vec<Packet>, WeftError> {
        let socket = host.route()?;
        let index = link::find(socket, self.link())?.map_or(0, |found| found.index);
        let link = Interface::new(self.link(), index);
        match self {
            Self::Through(behind) => {
                let outside = default_route::interface(socket)?;
                let outside = outside.map_or_else(
                    || Interface::new("", 0),
                    |found| Interface::new(&found.name, found.index),
                );
                let pair = |address| Packet::pair(&link, &outside, address);
                Ok(behind.addresses.iter().copied().flat_map(pair).collect())
            }
            Self::Questions { asked, .. } => {
                let each =
                    |(own, server): &(IpAddr, IpAddr)| Packet::questions(&link, *own, *server);
                Ok(asked.iter().flat_map(each).collect())
            }
        }
    }

    /// Rules that let it through a chain.
    pub(super) fn rules(&self, chain: &ForeignChain) -> Vec<RawRule> {
        let comment = self.comment();
        let from = [input_name(FIRST), is_link(self.link())];
        let rule = |start: &[Expression], rest: &[Expression]| {
            let parts = [start, rest].concat();
            RawRule::new(&parts, &[], &ACCEPT, &comment)
        };
        if let Self::Questions { .. } = self {
            const PROTOCOLS: [u8; 2] = [17, 6];
            let question = |protocol: u8| {
                [
                    matching::l4_protocol(FIRST),
                    is(&[protocol]),
                    matching::destination_port(FIRST),
                    is(&NAMES_PORT.to_be_bytes()),
                ]
            };
            return PROTOCOLS
                .map(|protocol| rule(&from, &question(protocol)))
                .to_vec();
        }
        let to = [output_name(FIRST), is_link(self.link())];
        // iptables lists no chain in which it does not understand a rule.
        if chain.name == "FORWARD" {
            let states = xt_match("conntrack", 3, &conntrack_info());
            return vec![
                rule(&from, &[]),
                RawRule::new(&to, &states, &ACCEPT, &comment),
            ];
        }
        vec![
            rule(&from, &[]),
            rule(&to, &matching::is_known_connection()),
            rule(&to, &matching::was_translated()),
        ]
    }
}

/// Compared as iptables writes it: with the zero at its end, and no more.
fn is_link(link: &str) -> Expression {
    let value: Vec<u8> = link.bytes().chain([0]).collect();
    is(&value)
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
