//! Domain names as they are in messages: labels, each behind its length, lower-case.

use std::borrow::Borrow;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A name's most bytes in a message (RFC 1035, section 2.3.4).
pub const LONGEST: usize = 255;
/// A label's.
const LONGEST_LABEL: usize = 63;

/// A domain name in canonical form: compared byte by byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name {
    /// Without the root's empty label.
    wire: Box<[u8]>,
}

/// A text that is no domain name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidName(String);

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no domain name: labels of 1 to 63 bytes with dots between them, 253 bytes at most",
            self.0
        )
    }
}

impl std::error::Error for InvalidName {}

impl Name {
    /// The root.
    pub fn root() -> Self {
        Self::default()
    }

    /// Reads labels with dots between them; a dot at the end says nothing more.
    ///
    /// # Errors
    /// An empty or long label, or a long name.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let invalid = || InvalidName(text.to_owned());
        let trimmed = text.strip_suffix('.').unwrap_or(text);
        let mut wire = Vec::with_capacity(trimmed.len() + 1);
        if !trimmed.is_empty() {
            for label in trimmed.split('.') {
                let length = u8::try_from(label.len()).map_err(|_| invalid())?;
                if length == 0 || label.len() > LONGEST_LABEL {
                    return Err(invalid());
                }
                wire.push(length);
                wire.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
            }
        }
        match wire.len() < LONGEST {
            true => Ok(Self { wire: wire.into() }),
            false => Err(invalid()),
        }
    }

    /// Labels that a message has, each behind its length, without the root's, in any case. The caller has checked them.
    pub(crate) fn from_wire(labels: &[u8]) -> Self {
        Self {
            wire: labels.to_ascii_lowercase().into(),
        }
    }

    /// The labels, each behind its length, without the root's.
    pub fn wire(&self) -> &[u8] {
        &self.wire
    }

    /// The labels, the most particular first.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest: &[u8] = &self.wire;
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first()?;
            let (label, next) = after.split_at_checked(usize::from(*length))?;
            rest = next;
            Some(label)
        })
    }

    /// The name without its first label; none for the root.
    pub fn parent(&self) -> Option<Self> {
        let length = usize::from(*self.wire.first()?);
        let rest = self.wire.get(length + 1..)?;
        Some(Self { wire: rest.into() })
    }

    /// This name below another one.
    ///
    /// # Errors
    /// If both together are too long.
    pub fn below(&self, parent: &Self) -> Result<Self, InvalidName> {
        let wire = [&*self.wire, &*parent.wire].concat();
        match wire.len() < LONGEST {
            true => Ok(Self { wire: wire.into() }),
            false => Err(InvalidName(format!("{self}.{parent}"))),
        }
    }

    /// Whether it is `ancestor` or below it.
    pub fn is_within(&self, ancestor: &Self) -> bool {
        self.suffixes().any(|rest| rest == &*ancestor.wire)
    }

    /// The name itself, then without its first label, and so on to the root, each as [`Self::wire`].
    pub fn suffixes(&self) -> impl Iterator<Item = &[u8]> {
        let mut next: Option<&[u8]> = Some(&self.wire);
        std::iter::from_fn(move || {
            let rest = next?;
            next = match rest.first() {
                Some(length) => rest.get(usize::from(*length) + 1..),
                None => None,
            };
            Some(rest)
        })
    }

    /// Whether it has one label, as names have that are looked up without a domain.
    pub fn is_single(&self) -> bool {
        (self.wire.first()).is_some_and(|length| usize::from(*length) + 1 == self.wire.len())
    }

    /// The name that the reverse of an address is asked by (RFC 1035, section 3.5; RFC 3596, section 2.5).
    pub fn of_address(address: IpAddr) -> Self {
        let text = match address {
            IpAddr::V4(v4) => {
                let [a, b, c, d] = v4.octets();
                format!("{d}.{c}.{b}.{a}.in-addr.arpa")
            }
            IpAddr::V6(v6) => {
                let digits = v6.octets().into_iter().rev();
                let digits = digits.map(|byte| format!("{:x}.{:x}.", byte & 0xf, byte >> 4));
                format!("{}ip6.arpa", digits.collect::<String>())
            }
        };
        Self::parse(&text).unwrap_or_default()
    }

    /// The address whose reverse this name asks for, if it is one.
    pub fn to_address(&self) -> Option<IpAddr> {
        let labels: Vec<&[u8]> = self.labels().collect();
        let text = |label: &[u8]| str::from_utf8(label).ok().map(str::to_owned);
        match labels.as_slice() {
            [d, c, b, a, b"in-addr", b"arpa"] => {
                let octet = |label: &[u8]| text(label)?.parse::<u8>().ok();
                Some([octet(a)?, octet(b)?, octet(c)?, octet(d)?].into())
            }
            [digits @ .., b"ip6", b"arpa"] if digits.len() == 32 => {
                let digits: Option<String> = digits
                    .iter()
                    .rev()
                    .map(|digit| text(digit).filter(|digit| digit.len() == 1))
                    .collect();
                let number = u128::from_str_radix(&digits?, 16).ok()?;
                Some(number.to_be_bytes().into())
            }
            _ => None,
        }
    }
}

/// So that a map from names is looked into by a part of one.
impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.wire
    }
}

impl fmt::Display for Name {
    /// With dots; bytes that are no printable ASCII as `\DDD` (RFC 1035, section 5.1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.wire.is_empty() {
            return f.write_str(".");
        }
        for (number, label) in self.labels().enumerate() {
            if number > 0 {
                f.write_str(".")?;
            }
            for byte in label {
                match byte {
                    b'.' | b'\\' => write!(f, "\\{}", char::from(*byte))?,
                    0x21..=0x7e => write!(f, "{}", char::from(*byte))?,
                    _ => write!(f, "\\{byte:03}")?,
                }
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::parse(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels_in_lower_case() {
        let name = Name::parse("Web.Demo.weft.internal.").unwrap();
        assert_eq!(name.wire(), b"\x03web\x04demo\x04weft\x08internal");
        assert_eq!(name.to_string(), "web.demo.weft.internal");
        assert_eq!(name.parent().unwrap().to_string(), "demo.weft.internal");
        assert!(name.is_within(&Name::parse("weft.internal").unwrap()));
        assert!(!name.is_within(&Name::parse("ft.internal").unwrap()));
        assert!(name.is_within(&Name::root()) && Name::root().parent().is_none());
        let long = "a".repeat(64);
        for wrong in ["a..b", ".", ".a", &long, &["a"; 130].join(".")] {
            assert!(Name::parse(wrong).is_err() || wrong == ".", "{wrong}");
        }
    }

    #[test]
    fn reverses_lead_there_and_back() {
        for text in [
            "192.0.2.7",
            "0.0.0.0",
            "2001:db8::1",
            "::",
            "fd00:1234::abcd",
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(Name::of_address(address).to_address(), Some(address));
        }
        let v4 = Name::of_address("192.0.2.7".parse().unwrap());
        assert_eq!(v4.to_string(), "7.2.0.192.in-addr.arpa");
        for wrong in [
            "2.0.192.in-addr.arpa",
            "300.0.2.1.in-addr.arpa",
            "a.ip6.arpa",
            "in-addr.arpa",
        ] {
            assert_eq!(Name::parse(wrong).unwrap().to_address(), None, "{wrong}");
        }
    }
}
