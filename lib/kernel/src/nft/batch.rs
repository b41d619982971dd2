//! An atomic change of the ruleset.

use super::attribute::Attributes;

const NFNL_SUBSYS_NFTABLES: u16 = 10;
pub(super) const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
pub(super) const NFNL_MSG_BATCH_END: u16 = 0x11;

/// The protocol family of a table (NFPROTO_*, linux/netfilter.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet,
    /// Frames on bridges.
    Bridge,
    /// What one interface receives.
    Netdev,
    /// IPv4 alone: other people's tables.
    Ip,
    /// IPv6 alone: other people's tables.
    Ip6,
}

impl Family {
    const fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::Bridge => 7,
            Self::Netdev => 5,
            Self::Ip => 2,
            Self::Ip6 => 10,
        }
    }

    /// The family of a number.
    pub(super) fn of(number: u8) -> Option<Self> {
        [Self::Inet, Self::Bridge, Self::Netdev, Self::Ip, Self::Ip6]
            .into_iter()
            .find(|family| family.number() == number)
    }

    /// The family as `nft` writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inet => "inet",
            Self::Bridge => "bridge",
            Self::Netdev => "netdev",
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
        }
    }
}

/// One message of a batch.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) payload: Vec<u8>,
    pub(super) words: String,
}

/// Changes that the kernel makes all together or not at all.
#[derive(Debug, Default, Clone)]
pub struct Batch {
    pub(super) changes: Vec<Change>,
    pub(super) generation: Option<u32>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// A batch that is refused (ERESTART) if the ruleset has changed since `generation` was read:
    /// compare-and-swap.
    pub fn at_generation(generation: u32) -> Self {
        Self {
            changes: Vec::new(),
            generation: Some(generation),
        }
    }

    /// Whether there is nothing to change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Whether it takes something away.
    pub(super) fn deletes(&self) -> bool {
        const DELETIONS: [u16; 5] = [2, 5, 8, 11, 14];
        self.changes
            .iter()
            .any(|change| DELETIONS.contains(&(change.kind & 0xff)))
    }

    /// Appends another batch's changes.
    pub fn extend(&mut self, other: Self) {
        self.changes.extend(other.changes);
    }

    pub(super) fn push(
        &mut self,
        operation: u16,
        flags: u16,
        family: Family,
        words: String,
        fill: impl FnOnce(&mut Attributes),
    ) {
        let payload = payload(family, fill);
        self.changes.push(Change {
            kind: message_kind(operation),
            flags,
            payload,
            words,
        });
    }
}

pub(super) const fn message_kind(operation: u16) -> u16 {
    NFNL_SUBSYS_NFTABLES << 8 | operation
}

/// struct nfgenmsg and attributes.
pub(super) fn payload(family: Family, fill: impl FnOnce(&mut Attributes)) -> Vec<u8> {
    let mut attributes = Attributes::behind([family.number(), 0, 0, 0]);
    fill(&mut attributes);
    attributes.into_bytes()
}

/// struct nfgenmsg for all families.
pub(super) fn unspecified_family() -> Vec<u8> {
    vec![0; 4]
}

/// The frame of a batch: which subsystem, and the generation it is for.
pub(super) fn frame(generation: Option<u32>) -> Vec<u8> {
    const NFNL_BATCH_GENID: u16 = 1;
    let [high, low] = NFNL_SUBSYS_NFTABLES.to_be_bytes();
    let mut attributes = Attributes::behind([0, 0, high, low]);
    if let Some(generation) = generation {
        attributes.put_u32(NFNL_BATCH_GENID, generation);
    }
    attributes.into_bytes()
}
