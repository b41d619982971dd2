//! Requests gathered to be sent in one system call.

use netlink_packet_core::Emitable;

/// One request: its kind, flags, body, and words for its error message.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) payload: Vec<u8>,
    pub(super) words: String,
}

/// A list of requests. The kernel carries them out in order, and goes on after a failed one.
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) requests: Vec<Request>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a request. `kind` is `RTM_*`, `flags` are `NLM_F_CREATE` and the like; request and
    /// acknowledgement are implied. `words` say what it does: "create bridge weft0".
    pub(crate) fn push(
        &mut self,
        kind: u16,
        message: &impl Emitable,
        flags: u16,
        words: impl Into<String>,
    ) {
        self.push_bytes(kind, bytes_of(message), flags, words);
    }

    /// The same with a body that is written already.
    pub(crate) fn push_bytes(
        &mut self,
        kind: u16,
        payload: Vec<u8>,
        flags: u16,
        words: impl Into<String>,
    ) {
        self.requests.push(Request {
            kind,
            flags,
            payload,
            words: words.into(),
        });
    }

    /// How many requests it has.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }
}

/// A message's body as the kernel reads it.
pub(crate) fn bytes_of(message: &impl Emitable) -> Vec<u8> {
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    bytes
}
