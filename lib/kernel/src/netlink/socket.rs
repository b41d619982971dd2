//! A socket for rtnetlink requests.

use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, Parseable};
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::batch::{Batch, Request, bytes_of};
use super::kind;
use super::transport::{Transport, Wait};
use crate::error::KernelError;
use crate::netns::NetNs;
use crate::nft::message;

/// Acknowledgements wait in the socket's receive buffer until all requests are done: more of them
/// than this could overflow it.
const REQUESTS_AT_ONCE: usize = 100;

/// An rtnetlink socket, bound for its life to the namespace it was opened in.
#[derive(Debug)]
pub struct RouteSocket {
    transport: Transport,
}

impl RouteSocket {
    /// Opens one in the calling thread's namespace.
    ///
    /// # Errors
    /// [`KernelError::Socket`].
    pub fn open() -> Result<Self, KernelError> {
        let transport = Transport::open(NETLINK_ROUTE)?;
        // Strict checking makes the kernel filter dumps by interface instead of sending all.
        let strict = transport.socket().set_netlink_get_strict_chk(true);
        strict.map_err(|source| KernelError::Socket {
            operation: "set NETLINK_GET_STRICT_CHK",
            source,
        })?;
        Ok(Self { transport })
    }

    /// Opens one in another namespace.
    ///
    /// # Errors
    /// [`KernelError::Socket`], [`KernelError::Netns`].
    pub fn open_in(netns: &NetNs, home: &NetNs) -> Result<Self, KernelError> {
        netns.run(home, Self::open)?
    }

    /// Sends all requests at once and returns each one's outcome, in order.
    ///
    /// # Errors
    /// The outer error is the socket's; the inner ones are [`KernelError::Refused`].
    pub fn send_all(&mut self, batch: Batch) -> Result<Vec<Result<(), KernelError>>, KernelError> {
        let mut outcomes = Vec::with_capacity(batch.requests.len());
        let mut requests = batch.requests.into_iter().peekable();
        while requests.peek().is_some() {
            self.send_part(requests.by_ref().take(REQUESTS_AT_ONCE), &mut outcomes)?;
        }
        Ok(outcomes)
    }

    fn send_part(
        &mut self,
        requests: impl Iterator<Item = Request>,
        outcomes: &mut Vec<Result<(), KernelError>>,
    ) -> Result<(), KernelError> {
        let mut bytes = Vec::new();
        let mut waiting: Vec<(u32, String)> = Vec::new();
        for request in requests {
            let sequence = self.transport.next_sequence();
            let flags = NLM_F_REQUEST | NLM_F_ACK | request.flags;
            bytes.extend(message(request.kind, flags, sequence, &request.payload));
            waiting.push((sequence, request.words));
        }
        self.transport.send(&bytes)?;
        for (sequence, words) in waiting {
            outcomes.push(self.acknowledgement(sequence, words)?);
        }
        Ok(())
    }

    /// Sends all requests at once; the first refusal is the error.
    ///
    /// # Errors
    /// Any of [`Self::send_all`].
    pub fn commit(&mut self, batch: Batch) -> Result<(), KernelError> {
        self.send_all(batch)?.into_iter().collect()
    }

    /// Acknowledgements come in the order of the requests; anything else (a notification) is
    /// passed over.
    fn acknowledgement(
        &mut self,
        sequence: u32,
        request: String,
    ) -> Result<Result<(), KernelError>, KernelError> {
        loop {
            for message in self.transport.receive(Wait::Block)?.unwrap_or_default() {
                if message.sequence != sequence {
                    continue;
                }
                if let Some(ack) = message.acknowledgement() {
                    tracing::trace!(request, errno = ?ack.errno, "acknowledged");
                    return Ok(match ack.errno {
                        None => Ok(()),
                        Some(errno) => Err(KernelError::Refused {
                            request,
                            errno,
                            reason: ack.reason,
                        }),
                    });
                }
            }
        }
    }

    /// Asks for one object; the answer's body.
    ///
    /// # Errors
    /// [`KernelError::Refused`] (absence included) and the socket's.
    pub(crate) fn get(
        &mut self,
        kind: u16,
        payload: &[u8],
        words: &str,
    ) -> Result<Vec<u8>, KernelError> {
        let sequence = self.transport.request(kind, 0, payload)?;
        loop {
            for message in self.transport.receive(Wait::Block)?.unwrap_or_default() {
                if message.sequence != sequence {
                    continue;
                }
                if let Some(ack) = message.acknowledgement() {
                    let errno = ack.errno.unwrap_or(nix::errno::Errno::ENOENT);
                    let request = words.to_owned();
                    return Err(KernelError::Refused {
                        request,
                        errno,
                        reason: ack.reason,
                    });
                }
                return Ok(message.payload);
            }
        }
    }

    /// Asks for a list; the answers' bodies. A list that changed while the kernel sent it is asked
    /// for again.
    ///
    /// # Errors
    /// [`KernelError::Unsteady`] when it never holds still, and as [`Self::get`].
    pub(crate) fn dump(
        &mut self,
        kind: u16,
        payload: &[u8],
        words: &str,
    ) -> Result<Vec<Vec<u8>>, KernelError> {
        self.transport.dump(kind, payload, words)
    }

    /// The id by which this socket's namespace knows another one; `None` if it knows it not.
    ///
    /// # Errors
    /// The socket's.
    pub fn netns_id(&mut self, netns: &NetNs) -> Result<Option<i32>, KernelError> {
        let words = "look up a namespace's id";
        let mut query = NsidMessage::default();
        let fd = u32::try_from(netns.as_fd().as_raw_fd()).unwrap_or(u32::MAX);
        query.attributes.push(NsidAttribute::Fd(fd));
        let answer = match self.get(kind::GET_NAMESPACE_ID, &bytes_of(&query), words) {
            Ok(answer) => parsed::<NsidMessage>(&answer, words)?,
            Err(error) if error.errno().is_some() => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(answer
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                NsidAttribute::Id(id) if *id >= 0 => Some(*id),
                _ => None,
            }))
    }
}

/// An answer's body as a message.
pub(crate) fn parsed<T: Parseable<[u8]>>(payload: &[u8], words: &str) -> Result<T, KernelError> {
    T::parse(payload).map_err(|error| KernelError::Answer {
        request: words.to_owned(),
        what: error.to_string(),
    })
}
