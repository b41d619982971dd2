//! Ethernet addresses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An Ethernet (EUI-48) address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

/// The text is not six groups of two hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an Ethernet address")]
pub struct InvalidMac;

impl Mac {
    /// A locally administered unicast address made of the first five bytes of a digest, so that
    /// whatever has the same origin has the same address.
    pub fn from_digest(digest: &[u8; 32]) -> Self {
        let [a, b, c, d, e, ..] = *digest;
        Self([0x02, a, b, c, d, e])
    }

    /// The address in a netlink attribute; `None` if it is no Ethernet address.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Whether an interface may have it: neither all zeros nor a group address (IEEE 802).
    pub fn is_usable(&self) -> bool {
        let [first, ..] = self.0;
        first & 1 == 0 && self.0 != [0; 6]
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = InvalidMac;

    /// Also as switches write it: `aabb.cc00.1126`.
    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        let mut bytes = [0; 6];
        if text.contains('.') {
            let groups: Vec<&str> = text.split('.').collect();
            let digits = groups.concat();
            let is_dotted = groups.len() == 3 && groups.iter().all(|group| group.len() == 4);
            if !is_dotted || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(InvalidMac);
            }
            let number = u64::from_str_radix(&digits, 16).map_err(|_| InvalidMac)?;
            let [_, _, rest @ ..] = number.to_be_bytes();
            return Ok(Self(rest));
        }
        let mut groups = text.split([':', '-']);
        for byte in &mut bytes {
            let group = groups.next().filter(|g| g.len() == 2).ok_or(InvalidMac)?;
            *byte = u8::from_str_radix(group, 16).map_err(|_| InvalidMac)?;
        }
        if groups.next().is_some() {
            Err(InvalidMac)
        } else {
            Ok(Self(bytes))
        }
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_and_written() {
        let mac: Mac = "02:AB:cd:00:00:ff".parse().unwrap();
        assert_eq!(mac.to_string(), "02:ab:cd:00:00:ff");
        let dotted: Mac = "02AB.cd00.00ff".parse().unwrap();
        assert_eq!(dotted, mac);
        for bad in [
            "02ab.cd00.00ff.0000",
            "02ab.cd0.000ff",
            "+2ab.cd00.00ff",
            "",
            "02:ab",
            "02:ab:cd:00:00:ff:00",
            "2:a:b:c:d:e",
            "zz:00:00:00:00:00",
        ] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
    }

    #[test]
    fn derived_addresses_are_local_unicast() {
        assert!(Mac::from_digest(&[0xff; 32]).is_usable());
        assert!(!Mac([1, 0, 0, 0, 0, 0]).is_usable());
        assert!(!Mac([0; 6]).is_usable());
    }
}
