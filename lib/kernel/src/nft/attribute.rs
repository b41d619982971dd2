//! Netlink attributes, written and read.

/// NLA_F_NESTED (linux/netlink.h).
const NESTED: u16 = 1 << 15;
/// Flags in an attribute's type.
const TYPE_MASK: u16 = 0x3fff;

/// A growing list of attributes.
#[derive(Debug, Default, Clone)]
pub(super) struct Attributes {
    bytes: Vec<u8>,
}

impl Attributes {
    /// Behind bytes that are not attributes.
    pub(super) fn behind(header: [u8; 4]) -> Self {
        Self {
            bytes: header.to_vec(),
        }
    }

    pub(super) fn put(&mut self, kind: u16, value: &[u8]) {
        self.put_joined(kind, &[value]);
    }

    /// A value in several parts, one after the other.
    pub(super) fn put_joined(&mut self, kind: u16, parts: &[&[u8]]) {
        self.put_with(kind, |list| {
            parts.iter().for_each(|part| list.put_raw(part));
        });
    }

    /// A value that `fill` writes where it belongs: nothing is copied.
    fn put_with(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend(kind.to_ne_bytes());
        fill(self);
        // Attribute lengths are 16 bits; the largest value here is a batch of list items that the
        // callers keep far below that.
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        if let Some(place) = self.bytes.get_mut(start..start + 2) {
            place.copy_from_slice(&length.to_ne_bytes());
        }
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// nf_tables numbers are big-endian.
    pub(super) fn put_u32(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_be_bytes());
    }

    pub(super) fn put_text(&mut self, kind: u16, text: &str) {
        self.put_joined(kind, &[text.as_bytes(), &[0]]);
    }

    pub(super) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        self.put_with(kind | NESTED, fill);
    }

    /// Attributes that are ready, or part of a value.
    pub(super) fn put_raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// One attribute.
pub(crate) fn attribute_bytes(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut attributes = Attributes::default();
    attributes.put(kind, value);
    attributes.into_bytes()
}

/// The attributes in `bytes`; reading stops at the first malformed one.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (header, _) = bytes.split_first_chunk::<4>()?;
        let [l0, l1, k0, k1] = *header;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([k0, k1]) & TYPE_MASK, value))
    })
}

/// A netlink message of any family.
pub(crate) fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 16).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(payload.len() + 16);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}
