//! Sets, maps and their elements.

use std::sync::Arc;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};

use super::attribute::{Attributes, attributes};
use super::batch::{Batch, message_kind, payload};
use super::comment::{comment_parts, read_comment};
use super::expression::NFTA_DATA_VALUE;
use super::name::Name;
use super::object::Table;
use super::set_kind::{Key, SetKind, bytes_of, type_number};
use super::set_value::{
    ELEM_DATA, ELEM_EXPRESSION, ElementState, NO_LIMIT, VERDICT_TYPE, element_expression,
    put_value, read_verdict, read_verdict_code,
};

const NFT_MSG_NEWSET: u16 = 9;
const NFT_MSG_DELSET: u16 = 11;
const NFT_MSG_NEWSETELEM: u16 = 12;
const NFT_MSG_GETSETELEM: u16 = 13;
const NFT_MSG_DELSETELEM: u16 = 14;
const NFTA_LIST_ELEM: u16 = 1;
const ELEM_KEY: u16 = 1;
const ELEM_USERDATA: u16 = 6;
const ELEM_KEY_END: u16 = 10;
const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
/// So many elements in a message: its list is an attribute, of 64 KiB at most.
const ELEMENTS_AT_ONCE: usize = 200;

/// A set or map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Where the set is.
    pub table: Table,
    /// Unique in its table, maps included.
    pub name: Name,
    /// The fields of its key; several are concatenated.
    pub key: &'static [Key],
    /// What it is.
    pub kind: SetKind,
}

/// An element. Keys of several fields have each field padded to four bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element {
    /// The key, or the first key of a range.
    pub key: Vec<u8>,
    /// The last key of a range.
    pub key_end: Option<Vec<u8>>,
    /// The value, in a map; in one of verdicts the chain that it leads to.
    pub value: Option<Vec<u8>>,
    /// In a map of verdicts, which one (NF_ACCEPT, NF_DROP, NFT_JUMP and the like); as read.
    pub verdict: Option<i32>,
    /// The owner; `nft` shows it as the element's comment. Thousands may have the same.
    pub owner: Arc<str>,
    /// How many packets found it, in a set that counts.
    pub packets: u64,
}

impl Element {
    /// An element of a plain set.
    pub fn new(key: Vec<u8>, owner: &str) -> Self {
        Self::of(key, &owner_mark(owner))
    }

    /// The same, of an owner whose mark has been made.
    pub fn of(key: Vec<u8>, owner: &Arc<str>) -> Self {
        Self {
            key,
            key_end: None,
            value: None,
            verdict: None,
            owner: Arc::clone(owner),
            packets: 0,
        }
    }

    fn put(&self, kind: SetKind, list: &mut Attributes, owner: bool) {
        list.nest(NFTA_LIST_ELEM, |element| {
            element.nest(ELEM_KEY, |key| key.put(NFTA_DATA_VALUE, &self.key));
            if let Some(end) = &self.key_end {
                element.nest(ELEM_KEY_END, |key| key.put(NFTA_DATA_VALUE, end));
            }
            if owner {
                if let Some(value) = &self.value {
                    put_value(kind, value, element);
                }
                let (header, text) = comment_parts(&self.owner);
                element.put_joined(ELEM_USERDATA, &[&header, text.as_bytes(), &[0]]);
            }
        });
    }

    fn read(bytes: &[u8]) -> Self {
        let mut element = Self::default();
        for (kind, value) in attributes(bytes) {
            let data = || attributes(value).next().map(|(_, data)| data.to_vec());
            match kind {
                ELEM_KEY => element.key = data().unwrap_or_default(),
                ELEM_KEY_END => element.key_end = data(),
                ELEM_DATA => {
                    element.value = read_verdict(value).or_else(data);
                    element.verdict = read_verdict_code(value);
                }
                ELEM_EXPRESSION => {
                    let state = ElementState::read(value);
                    element.value = state.limit;
                    element.packets = state.packets;
                }
                ELEM_USERDATA => element.owner = read_comment(value),
                _ => {}
            }
        }
        element
    }
}

/// As much of an owner's name as an element holds.
pub fn owner_mark(name: &str) -> Arc<str> {
    comment_parts(name).1.into()
}

/// The elements of a message, in words.
fn owners(elements: &[Element]) -> String {
    match elements {
        [only] => format!("an element of {}", only.owner),
        several => {
            let first = several.first().map_or("", |element| &element.owner);
            format!("{} elements, the first of {first},", several.len())
        }
    }
}

impl Set {
    /// Makes the set; one that exists is left as it is.
    pub fn create(&self, id: u32, batch: &mut Batch) {
        let words = format!("create nft set {}", self.name);
        batch.push(
            NFT_MSG_NEWSET,
            NLM_F_CREATE,
            self.table.family,
            words,
            |set| {
                set.put_text(1, &self.table.name);
                set.put_text(2, &self.name);
                set.put_u32(3, self.flags());
                set.put_u32(4, type_number(self.key));
                set.put_u32(5, bytes_of(self.key));
                match self.kind {
                    SetKind::Map(value) => {
                        set.put_u32(6, type_number(value));
                        set.put_u32(7, bytes_of(value));
                    }
                    SetKind::Verdicts => set.put_u32(6, VERDICT_TYPE),
                    _ => {}
                }
                if self.key.len() > 1 {
                    set.nest(9, |desc| self.put_fields(desc));
                }
                set.put_u32(10, id);
                set.put(13, &self.byte_order());
                if let Some(expression) = element_expression(self.kind, &NO_LIMIT) {
                    set.nest(17, |nest| expression.put_parts(nest));
                }
            },
        );
    }

    /// User data by which `nft` knows how to print keys: names are strings in host byte order.
    fn byte_order(&self) -> Vec<u8> {
        const KEY_BYTE_ORDER: u8 = 0;
        const HOST: u32 = 1;
        const NETWORK: u32 = 2;
        let order = match self.key {
            [Key::IfName] => HOST,
            [_] => NETWORK,
            _ => 0,
        };
        let mut data = vec![KEY_BYTE_ORDER, 4];
        data.extend(order.to_ne_bytes());
        data
    }

    fn flags(&self) -> u32 {
        const INTERVAL: u32 = 0x4;
        const MAP: u32 = 0x8;
        const CONCAT: u32 = 0x80;
        let kind = match self.kind {
            SetKind::Hash | SetKind::Counted | SetKind::Rate | SetKind::Connections => 0,
            SetKind::Interval => INTERVAL,
            SetKind::Map(_) | SetKind::Verdicts => MAP,
        };
        if self.key.len() > 1 {
            kind | CONCAT
        } else {
            kind
        }
    }

    /// Removes every element.
    pub fn flush(&self, batch: &mut Batch) {
        let words = format!("flush nft set {}", self.name);
        let fill = |list: &mut Attributes| self.put_elements(&[], false, list);
        batch.push(NFT_MSG_DELSETELEM, 0, self.table.family, words, fill);
    }

    /// Deletes the set, which no rule may use any more.
    pub fn delete(&self, batch: &mut Batch) {
        let words = format!("delete nft set {}", self.name);
        batch.push(NFT_MSG_DELSET, 0, self.table.family, words, |set| {
            set.put_text(1, &self.table.name);
            set.put_text(2, &self.name);
        });
    }

    fn put_fields(&self, desc: &mut Attributes) {
        desc.nest(2, |fields| {
            for field in self.key {
                fields.nest(NFTA_LIST_ELEM, |one| one.put_u32(1, field.bytes()));
            }
        });
    }

    fn put_elements(&self, elements: &[Element], owner: bool, list: &mut Attributes) {
        list.put_text(LIST_TABLE, &self.table.name);
        list.put_text(LIST_SET, &self.name);
        if !elements.is_empty() {
            list.nest(LIST_ELEMENTS, |all| {
                elements.iter().for_each(|e| e.put(self.kind, all, owner))
            });
        }
    }

    /// Adds elements. With `exclusive`, one with the same key is an error (EEXIST); otherwise it
    /// stays as it is, its owner too.
    pub fn add(&self, elements: &[Element], exclusive: Exclusive, batch: &mut Batch) {
        let flags = match exclusive {
            Exclusive::Yes => NLM_F_CREATE | NLM_F_EXCL,
            Exclusive::No => NLM_F_CREATE,
        };
        for part in elements.chunks(ELEMENTS_AT_ONCE) {
            let words = format!("add {} to nft set {}", owners(part), self.name);
            let fill = |list: &mut Attributes| self.put_elements(part, true, list);
            batch.push(NFT_MSG_NEWSETELEM, flags, self.table.family, words, fill);
        }
    }

    /// Removes elements, by their keys.
    pub fn remove(&self, elements: &[Element], batch: &mut Batch) {
        for part in elements.chunks(ELEMENTS_AT_ONCE) {
            let words = format!("remove {} from nft set {}", owners(part), self.name);
            let fill = |list: &mut Attributes| self.put_elements(part, false, list);
            batch.push(NFT_MSG_DELSETELEM, 0, self.table.family, words, fill);
        }
    }

    /// The request for elements by their keys or, without keys, for all.
    pub(super) fn query(&self, keys: &[Element]) -> (u16, Vec<u8>) {
        let payload = payload(self.table.family, |list| {
            self.put_elements(keys, false, list)
        });
        (message_kind(NFT_MSG_GETSETELEM), payload)
    }

    /// The elements in an answer's payload.
    pub(super) fn read(payload: &[u8]) -> Vec<Element> {
        const NFGENMSG_BYTES: usize = 4;
        attributes(payload.get(NFGENMSG_BYTES..).unwrap_or_default())
            .filter(|(kind, _)| *kind == LIST_ELEMENTS)
            .flat_map(|(_, list)| attributes(list))
            .map(|(_, element)| Element::read(element))
            .collect()
    }
}

/// Whether adding an element insists on being the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exclusive {
    /// It does.
    Yes,
    /// It does not.
    No,
}
