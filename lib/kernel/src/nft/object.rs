//! Tables, chains and rules.

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};

use super::attribute::attributes;
use super::batch::{Batch, Family};
use super::comment::{comment_bytes, read_comment};
use super::expression::Expression;
use super::name::Name;

const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_DELTABLE: u16 = 2;
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_DELCHAIN: u16 = 5;
const NFT_MSG_NEWRULE: u16 = 6;
const NFT_MSG_DELRULE: u16 = 8;

const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_USERDATA: u16 = 7;

/// A rule as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRule {
    /// The chain's name in its table.
    pub chain: String,
    /// Its expressions, as attributes.
    pub expressions: Vec<u8>,
    /// What `nft` keeps with it: its comment.
    pub user_data: Vec<u8>,
    /// The kernel's number of it.
    pub handle: u64,
}

/// An attribute of an expression: its number, and its bytes.
pub type Attribute = (u16, Vec<u8>);

impl RawRule {
    /// The rule in an answer's payload.
    pub(super) fn read(payload: &[u8]) -> Self {
        const NFGENMSG_BYTES: usize = 4;
        let mut rule = Self {
            chain: String::new(),
            expressions: Vec::new(),
            user_data: Vec::new(),
            handle: 0,
        };
        for (kind, value) in attributes(payload.get(NFGENMSG_BYTES..).unwrap_or_default()) {
            match kind {
                RULE_CHAIN => {
                    let name = value.strip_suffix(&[0]).unwrap_or(value);
                    rule.chain = String::from_utf8_lossy(name).into_owned();
                }
                RULE_HANDLE => {
                    let bytes = value.first_chunk::<8>().copied();
                    rule.handle = bytes.map_or(0, u64::from_be_bytes);
                }
                RULE_EXPRESSIONS => rule.expressions = value.to_vec(),
                RULE_USERDATA => rule.user_data = value.to_vec(),
                _ => {}
            }
        }
        rule
    }

    /// A rule of Weft's own making, for another firewall's chain.
    pub fn new(expressions: &[Expression], raw: &[u8], rest: &[Expression], comment: &str) -> Self {
        let mut list = super::attribute::Attributes::default();
        expressions.iter().for_each(|part| part.put(&mut list));
        list.put_raw(raw);
        rest.iter().for_each(|part| part.put(&mut list));
        Self {
            chain: String::new(),
            expressions: list.into_bytes(),
            user_data: comment_bytes(comment),
            handle: 0,
        }
    }

    /// Its comment, as `nft` keeps it.
    pub fn comment(&self) -> String {
        read_comment(&self.user_data).to_string()
    }

    /// Its expressions in order: the kernel's name of each and its attributes.
    pub fn expressions(&self) -> Vec<(String, Vec<Attribute>)> {
        let part = |(_, element): (u16, &[u8])| {
            let mut fields = attributes(element);
            let name = fields.next().map(|(_, name)| name).unwrap_or_default();
            let name = name.strip_suffix(&[0]).unwrap_or(name);
            let data = fields.next().map(|(_, data)| data).unwrap_or_default();
            let data = attributes(data).map(|(kind, value)| (kind, value.to_vec()));
            (String::from_utf8_lossy(name).into_owned(), data.collect())
        };
        attributes(&self.expressions).map(part).collect()
    }

    /// Its expressions in order, each by name and data: equal rules have equal texts. What is counted
    /// is left out.
    pub fn parts(&self) -> String {
        const COUNTER: &[u8] = b"counter";
        let part = |(_, element): (u16, &[u8])| {
            let mut fields = attributes(element);
            let name = fields.next().map(|(_, name)| name).unwrap_or_default();
            let name = name.strip_suffix(&[0]).unwrap_or(name);
            let data = fields.next().map(|(_, data)| data).unwrap_or_default();
            let data = if name == COUNTER { &[] } else { data };
            let hex: String = data.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{} {hex}", String::from_utf8_lossy(name))
        };
        let parts: Vec<String> = attributes(&self.expressions).map(part).collect();
        parts.join(", ").replace(" ,", ",").trim_end().to_owned()
    }
}

/// A table is known by family and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The hooks and packets that it sees.
    pub family: Family,
    /// Unique in its family.
    pub name: Name,
}

impl Table {
    /// Makes the table; one that exists is an error (EEXIST), so that of two that make it at once
    /// one starts over.
    pub fn create(&self, user_data: &[u8], batch: &mut Batch) {
        let words = format!("create nft table {} {}", self.family.as_str(), self.name);
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        batch.push(NFT_MSG_NEWTABLE, flags, self.family, words, |attributes| {
            attributes.put_text(1, &self.name);
            attributes.put(6, user_data);
        });
    }

    /// Deletes the table with all that is in it.
    pub fn delete(&self, batch: &mut Batch) {
        let words = format!("delete nft table {} {}", self.family.as_str(), self.name);
        batch.push(NFT_MSG_DELTABLE, 0, self.family, words, |attributes| {
            attributes.put_text(1, &self.name);
        });
    }
}

/// Where a base chain stands in the path of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseChain {
    /// `filter` or `nat`.
    pub kind: &'static str,
    /// `NF_INET_*` or `NF_BR_*`.
    pub hook: u32,
    /// Lower comes first.
    pub priority: i32,
}

/// A base chain as the kernel has it, of any table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignChain {
    /// Where the chain is.
    pub table: Table,
    /// Unique in its table, base chain or not.
    pub name: String,
    /// `NF_INET_*` or `NF_BR_*`.
    pub hook: u32,
    /// What no rule accepts is dropped (its policy).
    pub drops: bool,
    /// `filter`, `nat` or `route`.
    pub kind: String,
}

impl ForeignChain {
    /// The base chain in an answer's payload, if it is one.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        const TABLE: u16 = 1;
        const NAME: u16 = 3;
        const HOOK: u16 = 4;
        const POLICY: u16 = 5;
        const KIND: u16 = 7;
        let (header, body) = payload.split_first_chunk::<4>()?;
        let field = |wanted| {
            attributes(body)
                .find(|(kind, _)| *kind == wanted)
                .map(|(_, v)| v)
        };
        let text = |value: &[u8]| {
            String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned()
        };
        let number = |value: &[u8]| value.first_chunk::<4>().copied().map(u32::from_be_bytes);
        let (_, hook) = attributes(field(HOOK)?).find(|(kind, _)| *kind == 1)?;
        Some(Self {
            table: Table {
                family: Family::of(header[0])?,
                name: text(field(TABLE)?).into(),
            },
            name: text(field(NAME)?),
            hook: number(hook)?,
            drops: field(POLICY).and_then(number) == Some(0),
            kind: field(KIND).map(text).unwrap_or_default(),
        })
    }
}

/// A chain is known by table and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Where the chain is.
    pub table: Table,
    /// Unique in its table.
    pub name: Name,
    /// Its hook, if it is a base chain.
    pub base: Option<BaseChain>,
}

impl Chain {
    /// Makes the chain (policy accept); one that exists is left as it is.
    pub fn create(&self, batch: &mut Batch) {
        self.create_on(None, batch);
    }

    /// The same for what one interface receives.
    pub fn create_on(&self, device: Option<&str>, batch: &mut Batch) {
        let words = format!("create nft chain {}", self.name);
        batch.push(
            NFT_MSG_NEWCHAIN,
            NLM_F_CREATE,
            self.table.family,
            words,
            |attributes| {
                attributes.put_text(1, &self.table.name);
                attributes.put_text(3, &self.name);
                if let Some(base) = self.base {
                    attributes.nest(4, |hook| {
                        hook.put_u32(1, base.hook);
                        hook.put(2, &base.priority.to_be_bytes());
                        if let Some(device) = device {
                            hook.put_text(3, device);
                        }
                    });
                    attributes.put_u32(5, 1);
                    attributes.put_text(7, base.kind);
                }
            },
        );
    }

    /// Removes every rule of the chain.
    pub fn flush(&self, batch: &mut Batch) {
        let words = format!("flush nft chain {}", self.name);
        batch.push(NFT_MSG_DELRULE, 0, self.table.family, words, |attributes| {
            attributes.put_text(1, &self.table.name);
            attributes.put_text(2, &self.name);
        });
    }

    /// Appends a rule as [`super::NftSocket::rules`] has read it.
    pub fn append_raw(&self, rule: &RawRule, batch: &mut Batch) {
        self.add_raw(rule, NLM_F_CREATE | NLM_F_APPEND, batch);
    }

    /// Puts a rule in front of all others.
    pub fn insert_raw(&self, rule: &RawRule, batch: &mut Batch) {
        self.add_raw(rule, NLM_F_CREATE, batch);
    }

    /// Deletes a rule, by its handle.
    pub fn delete_rule(&self, rule: &RawRule, batch: &mut Batch) {
        let words = format!("delete a rule of nft chain {}", self.name);
        batch.push(NFT_MSG_DELRULE, 0, self.table.family, words, |attributes| {
            attributes.put_text(1, &self.table.name);
            attributes.put_text(2, &self.name);
            attributes.put(RULE_HANDLE, &rule.handle.to_be_bytes());
        });
    }

    fn add_raw(&self, rule: &RawRule, flags: u16, batch: &mut Batch) {
        let words = format!("add a rule to nft chain {}", self.name);
        let family = self.table.family;
        batch.push(NFT_MSG_NEWRULE, flags, family, words, |attributes| {
            attributes.put_text(1, &self.table.name);
            attributes.put_text(2, &self.name);
            attributes.nest(RULE_EXPRESSIONS, |list| list.put_raw(&rule.expressions));
            if !rule.user_data.is_empty() {
                attributes.put(RULE_USERDATA, &rule.user_data);
            }
        });
    }

    /// Appends a rule that `nft` shows with a comment.
    pub fn append_with_comment(&self, parts: &[Expression], comment: &str, batch: &mut Batch) {
        let mut list = super::attribute::Attributes::default();
        parts.iter().for_each(|part| part.put(&mut list));
        let rule = RawRule {
            chain: self.name.to_string(),
            expressions: list.into_bytes(),
            user_data: comment_bytes(comment),
            handle: 0,
        };
        self.append_raw(&rule, batch);
    }

    /// Deletes the chain, which nothing may jump to any more.
    pub fn delete(&self, batch: &mut Batch) {
        let words = format!("delete nft chain {}", self.name);
        batch.push(
            NFT_MSG_DELCHAIN,
            0,
            self.table.family,
            words,
            |attributes| {
                attributes.put_text(1, &self.table.name);
                attributes.put_text(3, &self.name);
            },
        );
    }

    /// Appends a rule.
    pub fn append(&self, expressions: &[Expression], batch: &mut Batch) {
        let words = format!("append a rule to nft chain {}", self.name);
        let flags = NLM_F_CREATE | NLM_F_APPEND;
        batch.push(
            NFT_MSG_NEWRULE,
            flags,
            self.table.family,
            words,
            |attributes| {
                attributes.put_text(1, &self.table.name);
                attributes.put_text(2, &self.name);
                attributes.nest(4, |list| expressions.iter().for_each(|e| e.put(list)));
            },
        );
    }
}
