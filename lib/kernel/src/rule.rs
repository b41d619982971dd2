//! Rules that choose the routing table by a packet's source (linux/fib_rules.h).

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use weft_cni::IpFamily;

use crate::error::KernelError;
use crate::netlink::{Batch, RouteSocket, bytes_of, kind, parsed};
use crate::route::address_family;

/// Packets from one address are looked up in a table before the main one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceRule {
    /// Packets with this source are routed by the table.
    pub source: IpAddr,
    /// The number of the routing table.
    pub table: u32,
    /// Lower comes first; the main table's is 32766.
    pub priority: u32,
}

impl SourceRule {
    fn message(&self) -> RuleMessage {
        let family = IpFamily::of(self.source);
        let mut rule = RuleMessage::default();
        rule.header.family = address_family(family);
        rule.header.src_len = family.bits();
        rule.header.action = RuleAction::ToTable;
        rule.attributes = vec![
            RuleAttribute::Source(self.source),
            RuleAttribute::Table(self.table),
            RuleAttribute::Priority(self.priority),
        ];
        rule
    }

    /// Adds the rule; one that is there already is an error.
    pub fn add(&self, batch: &mut Batch) {
        let words = format!("add the rule from {} to table {}", self.source, self.table);
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        batch.push(kind::NEW_RULE, &self.message(), flags, words);
    }

    /// Removes the rule.
    pub fn delete(&self, batch: &mut Batch) {
        let words = format!("remove the rule from {}", self.source);
        batch.push(kind::DELETE_RULE, &self.message(), 0, words);
    }
}

/// The rules of one family that are of this kind.
///
/// # Errors
/// The socket's.
pub fn list(socket: &mut RouteSocket, family: IpFamily) -> Result<Vec<SourceRule>, KernelError> {
    let mut query = RuleMessage::default();
    query.header.family = address_family(family);
    let words = "list routing rules";
    let mut rules = Vec::new();
    for answer in socket.dump(kind::GET_RULE, &bytes_of(&query), words)? {
        rules.extend(read(&parsed(&answer, words)?));
    }
    Ok(rules)
}

fn read(message: &RuleMessage) -> Option<SourceRule> {
    let (mut source, mut priority) = (None, 0);
    let mut table = u32::from(message.header.table);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Source(address) => source = Some(*address),
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Priority(number) => priority = *number,
            _ => {}
        }
    }
    Some(SourceRule {
        source: source?,
        table,
        priority,
    })
}
