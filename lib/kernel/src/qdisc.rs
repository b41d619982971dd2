//! Queueing disciplines: how fast an interface sends.

use netlink_packet_core::{Emitable, NLM_F_CREATE, NLM_F_REPLACE};

use crate::error::KernelError;
use crate::netlink::{Batch, RouteSocket, kind};
use crate::nft::{attribute_bytes, attributes};

/// TC_H_ROOT (linux/pkt_sched.h).
const ROOT: u32 = 0xffff_ffff;
pub(crate) const TCA_KIND: u16 = 1;
pub(crate) const TCA_OPTIONS: u16 = 2;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
/// struct tcmsg.
pub(crate) const HEADER_BYTES: usize = 20;
const TOKEN_BUCKET: &[u8] = b"tbf\0";

/// A token bucket: what exceeds rate and burst waits for a moment, then is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenBucket {
    /// Bytes a second.
    pub rate: u64,
    /// Bytes at once.
    pub burst: u32,
}

/// A message that is bytes already.
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Emitable for Bytes {
    fn buffer_len(&self) -> usize {
        self.0.len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.0);
    }
}

/// struct tcmsg for the root of an interface.
fn header(index: u32) -> Vec<u8> {
    header_at(index, 0, ROOT, 0)
}

/// struct tcmsg.
pub(crate) fn header_at(index: u32, handle: u32, parent: u32, info: u32) -> Vec<u8> {
    const AF_UNSPEC: u32 = 0;
    let fields = [AF_UNSPEC, index, handle, parent, info];
    fields.map(u32::to_ne_bytes).concat()
}

impl TokenBucket {
    /// struct tc_tbf_qopt: rate, peak rate, and how many bytes may wait.
    fn parameters(self) -> Vec<u8> {
        /// With it the kernel needs no table of the sender's.
        const LINK_LAYER_ETHERNET: u8 = 1;
        /// How long a packet waits at most, in parts of a second.
        const LATENCY: u64 = 40;
        let rate = u32::try_from(self.rate).unwrap_or(u32::MAX);
        let waiting = (self.rate / LATENCY).saturating_add(u64::from(self.burst));
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
        let mut bytes = vec![0, LINK_LAYER_ETHERNET, 0, 0, 0, 0, 0, 0];
        bytes.extend(rate.to_ne_bytes());
        bytes.extend([0; 12]);
        bytes.extend(waiting.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes
    }

    /// Makes it the root of an interface, whatever was.
    pub fn install(self, index: u32, batch: &mut Batch) {
        let mut options = attribute_bytes(TCA_TBF_PARMS, &self.parameters());
        options.extend(attribute_bytes(TCA_TBF_BURST, &self.burst.to_ne_bytes()));
        if self.rate > u64::from(u32::MAX) {
            options.extend(attribute_bytes(TCA_TBF_RATE64, &self.rate.to_ne_bytes()));
        }
        let mut message = header(index);
        message.extend(attribute_bytes(TCA_KIND, TOKEN_BUCKET));
        message.extend(attribute_bytes(TCA_OPTIONS, &options));
        let words = format!("limit link {index} to {} bytes/s (tbf)", self.rate);
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        batch.push(kind::NEW_QDISC, &Bytes(message), flags, words);
    }
}

/// Removes what is the root of an interface; the kernel's default takes its place.
pub fn remove_root(index: u32, batch: &mut Batch) {
    let words = format!("remove the limit of link {index}");
    batch.push(kind::DELETE_QDISC, &Bytes(header(index)), 0, words);
}

/// The rate of the token bucket that is the root of an interface, in bytes a second.
///
/// # Errors
/// The socket's.
pub fn rate(socket: &mut RouteSocket, index: u32) -> Result<Option<u64>, KernelError> {
    let words = format!("look up the limit of link {index}");
    let mut query = header(index);
    query.truncate(HEADER_BYTES);
    for answer in socket.dump(kind::GET_QDISC, &query, &words)? {
        let Some((head, rest)) = answer.split_at_checked(HEADER_BYTES) else {
            continue;
        };
        let word = |at: usize| {
            let bytes = head.get(at..).and_then(|bytes| bytes.first_chunk::<4>());
            bytes.copied().map(u32::from_ne_bytes)
        };
        if word(4) != Some(index) || word(12) != Some(ROOT) {
            continue;
        }
        let part = |wanted| attributes(rest).find(|(kind, _)| *kind == wanted);
        if let (Some((_, TOKEN_BUCKET)), Some((_, options))) = (part(TCA_KIND), part(TCA_OPTIONS)) {
            return Ok(read_rate(options));
        }
    }
    Ok(None)
}

fn read_rate(options: &[u8]) -> Option<u64> {
    let part = |wanted| attributes(options).find(|(kind, _)| *kind == wanted);
    if let Some((_, wide)) = part(TCA_TBF_RATE64) {
        return wide.first_chunk().copied().map(u64::from_ne_bytes);
    }
    let (_, parameters) = part(TCA_TBF_PARMS)?;
    let rate = parameters.get(8..)?.first_chunk::<4>()?;
    Some(u64::from(u32::from_ne_bytes(*rate)))
}
