//! A socket for nf_tables.
//!
//! Closing one after a change that deleted something waits for an RCU grace period (about 12 ms),
//! and so does the exit of a process that holds one: a worker of the kernel closes it.

use std::os::fd::AsRawFd;

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST};
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{RcvBufForce, SndBufForce};

use super::attribute::{attributes, message};
use super::batch::{
    Batch, Family, NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, frame, message_kind, payload,
    unspecified_family,
};
use super::linger::close_later;
use super::object::{ForeignChain, RawRule, Table};
use super::set::{Element, Set};
use crate::conntrack::Conntrack;
use crate::error::KernelError;
use crate::netlink::Wait;
use crate::netlink::{RawMessage, Transport};
use crate::netns::NetNs;

const NFT_MSG_GETTABLE: u16 = 1;
const NFT_MSG_GETCHAIN: u16 = 4;
const NFT_MSG_GETSET: u16 = 10;
const NFT_MSG_GETRULE: u16 = 7;
const NFT_MSG_GETGEN: u16 = 16;
/// Sixty-four thousand elements or so.
const BATCH_BYTES: usize = 8 << 20;

/// An answer takes a page of the receive buffer: so many fit where it cannot be made larger.
const ANSWERS_AT_ONCE: usize = 40;

/// An nf_tables socket, bound to the namespace it was opened in.
#[derive(Debug)]
pub struct NftSocket {
    transport: Transport,
    /// Something was deleted, here or, for all that is known, by others: closing waits.
    waits_when_closed: bool,
}

impl Drop for NftSocket {
    fn drop(&mut self) {
        if self.waits_when_closed {
            close_later(self.transport.socket().as_raw_fd());
        }
    }
}

/// Attributes of an object, by their numbers.
type Parts = Vec<(u16, Vec<u8>)>;

impl NftSocket {
    /// Opens one in the calling thread's namespace.
    ///
    /// # Errors
    /// [`KernelError::Socket`].
    pub fn open() -> Result<Self, KernelError> {
        let transport = Transport::open(NETLINK_NETFILTER)?;
        // A batch is one message to the socket: that of a host with ten thousand containers has
        // megabytes. Where it is not allowed, smaller ones still go.
        let _ = setsockopt(transport.socket(), SndBufForce, &BATCH_BYTES);
        let _ = setsockopt(transport.socket(), RcvBufForce, &BATCH_BYTES);
        Ok(Self {
            transport,
            waits_when_closed: false,
        })
    }

    /// The connections that the socket's namespace tracks: one socket serves all of netfilter.
    pub fn conntrack(&mut self) -> Conntrack<'_> {
        // Asking takes long enough for another process to delete, and the wait is for any deletion.
        self.waits_when_closed = true;
        Conntrack::over(&mut self.transport)
    }

    /// Opens one in another namespace.
    ///
    /// # Errors
    /// [`KernelError::Socket`], [`KernelError::Netns`].
    pub fn open_in(netns: &NetNs, home: &NetNs) -> Result<Self, KernelError> {
        netns.run(home, Self::open)?
    }

    /// Whether there is a table.
    ///
    /// # Errors
    /// The socket's.
    pub fn has_table(&mut self, table: &Table) -> Result<bool, KernelError> {
        Ok(self.user_data(table)?.is_some())
    }

    /// What the maker of a table has left in it for itself, empty if nothing; none without the table.
    ///
    /// # Errors
    /// The socket's.
    pub fn user_data(&mut self, table: &Table) -> Result<Option<Vec<u8>>, KernelError> {
        const TABLE_USERDATA: u16 = 6;
        let there = self.table(table)?;
        Ok(there.map(|parts| {
            let data = parts.into_iter().find(|(kind, _)| *kind == TABLE_USERDATA);
            data.map(|(_, data)| data).unwrap_or_default()
        }))
    }

    /// Whether a table is of a running program, and nobody else may change it (`flags owner`, Linux 5.12).
    ///
    /// # Errors
    /// The socket's.
    pub fn is_owned(&mut self, table: &Table) -> Result<bool, KernelError> {
        const TABLE_FLAGS: u16 = 2;
        const OWNER: u8 = 2;
        let parts = self.table(table)?.unwrap_or_default();
        let flags = parts.iter().find(|(kind, _)| *kind == TABLE_FLAGS);
        Ok(flags.is_some_and(|(_, flags)| flags.last().is_some_and(|low| low & OWNER != 0)))
    }

    /// A table as the kernel describes it, by attributes; none without the table.
    fn table(&mut self, table: &Table) -> Result<Option<Parts>, KernelError> {
        const NFGENMSG_BYTES: usize = 4;
        let payload = payload(table.family, |attributes| {
            attributes.put_text(1, &table.name)
        });
        let answers = match self.request(message_kind(NFT_MSG_GETTABLE), &payload) {
            Ok(answers) => answers,
            Err(error) if error.errno() == Some(Errno::ENOENT) => return Ok(None),
            Err(error) => return Err(error),
        };
        let bodies = answers
            .iter()
            .filter_map(|answer| answer.payload.get(NFGENMSG_BYTES..));
        let parts = bodies.flat_map(attributes);
        Ok(Some(
            parts.map(|(kind, data)| (kind, data.to_vec())).collect(),
        ))
    }

    /// Makes all changes of the batch, or none.
    ///
    /// # Errors
    /// [`KernelError::Refused`] with the first change that the kernel refused; `ERESTART` when the
    /// ruleset is no longer of the batch's generation.
    pub fn commit(&mut self, batch: &Batch) -> Result<(), KernelError> {
        if batch.is_empty() {
            return Ok(());
        }
        let begin = self.transport.next_sequence();
        let mut bytes = message(
            NFNL_MSG_BATCH_BEGIN,
            NLM_F_REQUEST,
            begin,
            &frame(batch.generation),
        );
        let mut words = vec![(begin, "nft batch")];
        let last = batch.changes.len().saturating_sub(1);
        for (position, change) in batch.changes.iter().enumerate() {
            let sequence = self.transport.next_sequence();
            // Refusals come by themselves; an acknowledgement of each change would overflow the
            // receive buffer.
            let ack = if position == last { NLM_F_ACK } else { 0 };
            let flags = NLM_F_REQUEST | ack | change.flags;
            bytes.extend(message(change.kind, flags, sequence, &change.payload));
            words.push((sequence, change.words.as_str()));
        }
        let end = self.transport.next_sequence();
        bytes.extend(message(
            NFNL_MSG_BATCH_END,
            NLM_F_REQUEST,
            end,
            &frame(None),
        ));
        self.make_room(bytes.len());
        self.waits_when_closed |= batch.deletes();
        self.transport.send(&bytes)?;
        self.outcome(&words)
    }

    /// A batch is one message to the socket, however large: an attachment's thousands of ports, or all that a full host
    /// has, when it is put back.
    fn make_room(&self, bytes: usize) {
        if bytes > BATCH_BYTES {
            let _ = setsockopt(self.transport.socket(), SndBufForce, &(2 * bytes));
        }
    }

    /// All answers are there when the send returns: the first refusal counts.
    fn outcome(&mut self, words: &[(u32, &str)]) -> Result<(), KernelError> {
        let mut answered = false;
        let mut refusal = None;
        while let Some(messages) = self.transport.receive(Wait::No)? {
            for message in messages {
                let Some((_, request)) = words.iter().find(|(s, _)| *s == message.sequence) else {
                    continue;
                };
                if let Some(ack) = message.acknowledgement() {
                    answered = true;
                    if let Some(errno) = ack.errno {
                        refusal.get_or_insert_with(|| KernelError::Refused {
                            request: (*request).to_owned(),
                            errno,
                            reason: ack.reason,
                        });
                    }
                }
            }
        }
        match refusal {
            Some(error) => Err(error),
            None if answered => Ok(()),
            None => Err(KernelError::Answer {
                request: "nft batch".to_owned(),
                what: "the kernel did not answer".to_owned(),
            }),
        }
    }

    /// The ruleset's generation: it grows with every change by anybody.
    ///
    /// # Errors
    /// The socket's.
    pub fn generation(&mut self) -> Result<u32, KernelError> {
        const NFTA_GEN_ID: u16 = 1;
        let words = "read the nft generation";
        let answer = self.request(message_kind(NFT_MSG_GETGEN), &payload(Family::Inet, |_| ()))?;
        let body = answer.iter().find_map(|message| message.payload.get(4..));
        attributes(body.unwrap_or_default())
            .find(|(kind, _)| *kind == NFTA_GEN_ID)
            .and_then(|(_, value)| Some(u32::from_be_bytes(*value.first_chunk()?)))
            .ok_or_else(|| KernelError::Answer {
                request: words.to_owned(),
                what: "no generation in it".to_owned(),
            })
    }

    /// Reads one element by its key; `None` if it, its set or its table is absent.
    ///
    /// # Errors
    /// The socket's.
    pub fn find(&mut self, set: &Set, key: &Element) -> Result<Option<Element>, KernelError> {
        let (kind, payload) = set.query(std::slice::from_ref(key));
        match self.request(kind, &payload) {
            Ok(answers) => Ok(answers
                .iter()
                .find_map(|answer| Set::read(&answer.payload).into_iter().next())),
            Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads elements of one set by their keys, in their order; `None` for each that is absent.
    ///
    /// # Errors
    /// The socket's.
    pub fn find_all(
        &mut self,
        set: &Set,
        keys: &[Element],
    ) -> Result<Vec<Option<Element>>, KernelError> {
        let mut found = Vec::with_capacity(keys.len());
        for part in keys.chunks(ANSWERS_AT_ONCE) {
            let (kind, payload) = set.query(part);
            match self.request(kind, &payload) {
                Ok(answers) if answers.len() == part.len() => {
                    found.extend(answers.iter().map(|one| Set::read(&one.payload).pop()));
                }
                Err(error) if error.errno() != Some(Errno::ENOENT) => return Err(error),
                // The kernel stops at the first that is absent.
                _ => {
                    for key in part {
                        found.push(self.find(set, key)?);
                    }
                }
            }
        }
        Ok(found)
    }

    /// Reads all elements of a set; an absent set or table is empty.
    ///
    /// # Errors
    /// The socket's, and [`KernelError::Unsteady`].
    pub fn elements(&mut self, set: &Set) -> Result<Vec<Element>, KernelError> {
        let (kind, payload) = set.query(&[]);
        match self
            .transport
            .dump(kind, &payload, &format!("list nft set {}", set.name))
        {
            Ok(answers) => Ok(answers
                .iter()
                .flat_map(|answer| Set::read(answer))
                .collect()),
            Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Reads the rules of a table, in order; an absent one has none.
    ///
    /// # Errors
    /// The socket's, and [`KernelError::Unsteady`].
    pub fn rules(&mut self, table: &Table) -> Result<Vec<RawRule>, KernelError> {
        let payload = payload(table.family, |attributes| {
            attributes.put_text(1, &table.name)
        });
        let words = format!("list the rules of nft table {}", table.name);
        match self
            .transport
            .dump(message_kind(NFT_MSG_GETRULE), &payload, &words)
        {
            Ok(answers) => Ok(answers.iter().map(|answer| RawRule::read(answer)).collect()),
            Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The names of a table's sets; an absent one has none.
    ///
    /// # Errors
    /// The socket's, and [`KernelError::Unsteady`].
    pub fn set_names(&mut self, table: &Table) -> Result<Vec<String>, KernelError> {
        const SET_NAME: u16 = 2;
        self.names(NFT_MSG_GETSET, SET_NAME, table)
    }

    /// The names of a table's chains; an absent one has none.
    ///
    /// # Errors
    /// The socket's, and [`KernelError::Unsteady`].
    pub fn chain_names(&mut self, table: &Table) -> Result<Vec<String>, KernelError> {
        const CHAIN_NAME: u16 = 3;
        self.names(NFT_MSG_GETCHAIN, CHAIN_NAME, table)
    }

    /// Every base chain of the namespace, of whatever table.
    ///
    /// # Errors
    /// The socket's, and [`KernelError::Unsteady`].
    pub fn base_chains(&mut self) -> Result<Vec<ForeignChain>, KernelError> {
        let payload = unspecified_family();
        let kind = message_kind(NFT_MSG_GETCHAIN);
        let answers = self.transport.dump(kind, &payload, "list nft chains")?;
        Ok(answers
            .iter()
            .filter_map(|one| ForeignChain::read(one))
            .collect())
    }

    fn names(&mut self, kind: u16, name: u16, table: &Table) -> Result<Vec<String>, KernelError> {
        const NFGENMSG_BYTES: usize = 4;
        let payload = payload(table.family, |attributes| {
            attributes.put_text(1, &table.name)
        });
        let words = format!("list what nft table {} has", table.name);
        let answers = match self.transport.dump(message_kind(kind), &payload, &words) {
            Err(error) if error.errno() == Some(Errno::ENOENT) => return Ok(Vec::new()),
            outcome => outcome?,
        };
        let text = |wanted: u16, body: &[u8]| {
            let (_, value) = attributes(body).find(|(kind, _)| *kind == wanted)?;
            let value = value.strip_suffix(&[0]).unwrap_or(value);
            Some(String::from_utf8_lossy(value).into_owned())
        };
        // Chains are listed of every table of the family.
        Ok(answers
            .iter()
            .filter_map(|answer| answer.get(NFGENMSG_BYTES..))
            .filter(|body| text(1, body).as_deref() == Some(&*table.name))
            .filter_map(|body| text(name, body))
            .collect())
    }

    /// One request that is no dump: its answers, up to the acknowledgement.
    fn request(&mut self, kind: u16, payload: &[u8]) -> Result<Vec<RawMessage>, KernelError> {
        let sequence = self.transport.request(kind, NLM_F_ACK, payload)?;
        let answers = self.transport.collect(sequence, "nft query")?;
        Ok(answers.unwrap_or_default())
    }
}
