//! Keys of set elements: fields in the bytes that the kernel compares, and their hexadecimal text in records.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use weft_kernel::nft::Set;
use weft_store::NftRecord;

pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or_default();
    let pair = |byte: &u8| [digit(byte >> 4), digit(byte & 15)];
    bytes.iter().flat_map(pair).collect()
}

pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |text: u8| char::from(text).to_digit(16);
    let byte = |pair: &[u8]| match *pair {
        [high, low] => u8::try_from(digit(high)? << 4 | digit(low)?).ok(),
        _ => None,
    };
    text.as_bytes().chunks(2).map(byte).collect()
}

pub(super) fn ip_bytes(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// An address as part of a key, in hexadecimal.
pub fn address_bytes_hex(ip: IpAddr) -> String {
    hex(&ip_bytes(ip))
}

pub(super) fn record(set: Set, key: &[u8]) -> NftRecord {
    NftRecord {
        set: set.name,
        key: hex(key),
        key_end: None,
        value: None,
    }
}

/// An interface name as the kernel compares it: sixteen bytes, padded with zeros.
pub(super) fn ifname_bytes(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

/// A port of a transport protocol as a field of a key: padded to four bytes.
pub(super) fn service(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

/// From one network to another, in a set of such pairs.
pub(super) fn interval_in(set: Set, source: &IpNetwork, destination: &IpNetwork) -> NftRecord {
    let bounds = |net: &IpNetwork| match net {
        IpNetwork::V4(v4) => (
            v4.network().octets().to_vec(),
            v4.broadcast().octets().to_vec(),
        ),
        IpNetwork::V6(v6) => (
            v6.network().octets().to_vec(),
            v6.broadcast().octets().to_vec(),
        ),
    };
    let ((mut key, mut end), (to, to_end)) = (bounds(source), bounds(destination));
    key.extend(to);
    end.extend(to_end);
    NftRecord {
        key_end: Some(hex(&end)),
        ..record(set, &key)
    }
}
