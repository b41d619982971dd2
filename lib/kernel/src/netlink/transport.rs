//! Bytes to and from a netlink socket, message by message, for every netlink family.

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;

use crate::error::KernelError;
use crate::nft::message;

/// Large enough for the kernel's largest dump part (NLMSG_GOODSIZE grows to 32 KiB).
const RECEIVE_BYTES: usize = 64 * 1024;
/// nlmsghdr (linux/netlink.h).
pub(crate) const HEADER_BYTES: usize = 16;

/// A dump that was disturbed is repeated this often.
const DUMP_ATTEMPTS: u32 = 10;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// One message as it came.
#[derive(Debug, Clone)]
pub(crate) struct RawMessage {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    /// Behind the header.
    pub(crate) payload: Vec<u8>,
}

/// What an NLMSG_ERROR says: zero is an acknowledgement.
#[derive(Debug, Clone)]
pub(crate) struct Acknowledgement {
    pub(crate) errno: Option<Errno>,
    pub(crate) reason: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Transport {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Transport {
    /// A socket that hears of groups too; requests are not sent by it.
    pub(crate) fn open_unconnected(protocol: isize) -> Result<Self, KernelError> {
        let failed = |operation| move |source| KernelError::Socket { operation, source };
        let mut socket = Socket::new(protocol).map_err(failed("open"))?;
        socket
            .bind(&SocketAddr::new(0, 0))
            .map_err(failed("bind"))?;
        Ok(Self {
            socket,
            sequence: 0,
            buffer: Vec::with_capacity(RECEIVE_BYTES),
        })
    }

    /// Hears of a group from now on.
    pub(crate) fn join(&mut self, group: u32) -> Result<(), KernelError> {
        let joined = self.socket.add_membership(group);
        joined.map_err(|source| KernelError::Socket {
            operation: "join a group",
            source,
        })
    }

    pub(crate) fn open(protocol: isize) -> Result<Self, KernelError> {
        let failed = |operation| move |source| KernelError::Socket { operation, source };
        let mut this = Self::open_unconnected(protocol)?;
        let socket = &mut this.socket;
        socket
            .connect(&SocketAddr::new(0, 0))
            .map_err(failed("connect"))?;
        // Without these two the kernel echoes whole requests and keeps its reasons to itself.
        socket
            .set_cap_ack(true)
            .map_err(failed("set NETLINK_CAP_ACK"))?;
        socket
            .set_ext_ack(true)
            .map_err(failed("set NETLINK_EXT_ACK"))?;
        Ok(this)
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(crate) fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    pub(crate) fn send(&self, bytes: &[u8]) -> Result<(), KernelError> {
        let sent = self.socket.send(bytes, 0);
        sent.map(drop).map_err(|source| KernelError::Socket {
            operation: "send",
            source,
        })
    }

    /// Sends one request; its sequence number.
    pub(crate) fn request(
        &mut self,
        kind: u16,
        flags: u16,
        payload: &[u8],
    ) -> Result<u32, KernelError> {
        let sequence = self.next_sequence();
        self.send(&message(kind, NLM_F_REQUEST | flags, sequence, payload))?;
        Ok(sequence)
    }

    /// The answers to a dump or to a request with acknowledgement, up to its end; `None` when the
    /// list changed meanwhile.
    pub(crate) fn collect(
        &mut self,
        sequence: u32,
        words: &str,
    ) -> Result<Option<Vec<RawMessage>>, KernelError> {
        let mut answers = Vec::new();
        let mut is_steady = true;
        loop {
            for message in self.receive(Wait::Block)?.unwrap_or_default() {
                if message.sequence != sequence {
                    continue;
                }
                is_steady &= message.flags & NLM_F_DUMP_INTR == 0;
                match message.acknowledgement() {
                    Some(Acknowledgement {
                        errno: Some(errno),
                        reason,
                    }) => {
                        let request = words.to_owned();
                        return Err(KernelError::Refused {
                            request,
                            errno,
                            reason,
                        });
                    }
                    Some(_) => return Ok(is_steady.then_some(answers)),
                    None if message.is_done() => {
                        return match message.dump_error() {
                            Some(errno) => Err(KernelError::Refused {
                                request: words.to_owned(),
                                errno,
                                reason: None,
                            }),
                            None => Ok(is_steady.then_some(answers)),
                        };
                    }
                    None => answers.push(message),
                }
            }
        }
    }

    /// Asks for a list; the answers' bodies. A list that changed while the kernel sent it is asked
    /// for again.
    pub(crate) fn dump(
        &mut self,
        kind: u16,
        payload: &[u8],
        words: &str,
    ) -> Result<Vec<Vec<u8>>, KernelError> {
        for _ in 0..DUMP_ATTEMPTS {
            let sequence = self.request(kind, NLM_F_DUMP, payload)?;
            if let Some(answers) = self.collect(sequence, words)? {
                return Ok(answers.into_iter().map(|message| message.payload).collect());
            }
        }
        Err(KernelError::Unsteady {
            request: words.to_owned(),
            attempts: DUMP_ATTEMPTS,
        })
    }

    /// The next datagram's messages; `None` if there is none and `wait` is false.
    pub(crate) fn receive(&mut self, wait: Wait) -> Result<Option<Vec<RawMessage>>, KernelError> {
        let flags = match wait {
            Wait::Block => 0,
            Wait::No => nix::libc::MSG_DONTWAIT,
        };
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, flags) {
                Ok(_) => return Ok(Some(split(&self.buffer))),
                Err(error) if error.raw_os_error() == Some(nix::libc::EINTR) => {}
                Err(error) if error.raw_os_error() == Some(nix::libc::EAGAIN) => return Ok(None),
                Err(source) => {
                    return Err(KernelError::Socket {
                        operation: "receive",
                        source,
                    });
                }
            }
        }
    }
}

/// Whether to wait for a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    Block,
    No,
}

fn split(mut bytes: &[u8]) -> Vec<RawMessage> {
    let mut messages = Vec::new();
    while let Some((header, _)) = bytes.split_first_chunk::<HEADER_BYTES>() {
        let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = *header;
        let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
        let Some(whole) = bytes.get(..length).filter(|_| length >= HEADER_BYTES) else {
            break;
        };
        messages.push(RawMessage {
            kind: u16::from_ne_bytes([k0, k1]),
            flags: u16::from_ne_bytes([f0, f1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            payload: whole.get(HEADER_BYTES..).unwrap_or_default().to_vec(),
        });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    messages
}

impl RawMessage {
    pub(crate) fn is_done(&self) -> bool {
        self.kind == NLMSG_DONE
    }

    /// What the end of a dump says, which may have failed on the way (struct nlmsgerr's error).
    fn dump_error(&self) -> Option<Errno> {
        let code = i32::from_ne_bytes(*self.payload.first_chunk()?);
        (code < 0).then(|| Errno::from_raw(code.wrapping_neg()))
    }

    /// The acknowledgement, if the message is one.
    pub(crate) fn acknowledgement(&self) -> Option<Acknowledgement> {
        if self.kind != NLMSG_ERROR {
            return None;
        }
        let (code, rest) = self.payload.split_first_chunk::<4>()?;
        let code = i32::from_ne_bytes(*code);
        let errno = (code != 0).then(|| Errno::from_raw(code.wrapping_neg()));
        Some(Acknowledgement {
            errno,
            reason: self.reason(rest),
        })
    }

    /// The kernel's words behind the echoed request.
    fn reason(&self, rest: &[u8]) -> Option<String> {
        if self.flags & NLM_F_ACK_TLVS == 0 {
            return None;
        }
        let echoed = if self.flags & NLM_F_CAPPED != 0 {
            HEADER_BYTES
        } else {
            let (length, _) = rest.split_first_chunk::<4>()?;
            (u32::from_ne_bytes(*length) as usize).next_multiple_of(4)
        };
        let text = crate::nft::attributes(rest.get(echoed..)?)
            .find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG)
            .map(|(_, text)| String::from_utf8_lossy(text).into_owned())?;
        Some(text.trim_end_matches('\0').to_owned())
    }
}
