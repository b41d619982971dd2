//! What may be begun by whom with whom.

use std::fmt::{self, Display, Formatter};

use weft_cni::IpFamily;

use super::selector::Selector;

/// A connection that matches may be begun; nothing else may where a network is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The side that begins the connection.
    pub from: Selector,
    /// With whom.
    pub to: Selector,
    /// By what; everything if empty.
    pub ports: Vec<PortMatch>,
    /// Where it is written: a file or a network, and its name or number there.
    pub origin: String,
}

impl Rule {
    /// The text that tells it from every other rule, the same in every version of Weft.
    pub(super) fn canonical(&self) -> String {
        let ports: Vec<String> = self.ports.iter().map(ToString::to_string).collect();
        let (from, to) = (self.from.canonical(), self.to.canonical());
        serde_json::json!([from, to, ports, self.origin]).to_string()
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let ports: Vec<String> = self.ports.iter().map(ToString::to_string).collect();
        let ports = if ports.is_empty() {
            "everything".to_owned()
        } else {
            ports.join(", ")
        };
        write!(
            f,
            "{}: from {} to {}: {ports}",
            self.origin, self.from, self.to
        )
    }
}

/// A protocol, with ports if it has any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortMatch {
    /// What.
    pub protocol: Protocol,
    /// The first and the last port; none for all.
    pub ports: Option<(u16, u16)>,
}

/// Protocols that rules know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// IP protocol 6.
    Tcp,
    /// IP protocol 17.
    Udp,
    /// IP protocol 132.
    Sctp,
    /// ICMP and `ICMPv6`.
    Icmp,
    /// Another, which only rules without ports mean.
    Other,
}

impl Protocol {
    const ALL: [Self; 4] = [Self::Tcp, Self::Udp, Self::Sctp, Self::Icmp];

    /// The word of policies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
            Self::Icmp => "icmp",
            Self::Other => "other",
        }
    }

    /// The number in packets (`IPPROTO_*`).
    pub const fn number(self, family: IpFamily) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
            Self::Icmp => match family {
                IpFamily::V4 => 1,
                IpFamily::V6 => 58,
            },
            Self::Other => 255,
        }
    }
}

impl PortMatch {
    /// Reads `tcp`, `tcp/80`, `udp/5000-5010`, `icmp`.
    ///
    /// # Errors
    /// What it must be.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const MUST: &str = "must be tcp, udp, sctp or icmp, with a port or a range after '/' \
                            except for icmp: \"tcp/80\", \"udp/5000-5010\"";
        let (word, ports) = match text.split_once('/') {
            Some((word, ports)) => (word, Some(ports)),
            None => (text, None),
        };
        let protocol = Protocol::ALL
            .into_iter()
            .find(|one| one.as_str().eq_ignore_ascii_case(word))
            .ok_or(MUST)?;
        let Some(ports) = ports else {
            return Ok(Self {
                protocol,
                ports: None,
            });
        };
        let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
        let range = match ports.split_once('-') {
            Some((first, last)) => number(first).zip(number(last)),
            None => number(ports).zip(number(ports)),
        };
        let range = range.filter(|(first, last)| first <= last && protocol != Protocol::Icmp);
        Ok(Self {
            protocol,
            ports: Some(range.ok_or(MUST)?),
        })
    }

    /// Whether a packet of this protocol to this port is meant.
    pub fn covers(self, protocol: Protocol, port: Option<u16>) -> bool {
        let is_port =
            |(first, last): (u16, u16)| port.is_some_and(|port| (first..=last).contains(&port));
        self.protocol == protocol && self.ports.is_none_or(is_port)
    }
}

impl Display for PortMatch {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.protocol.as_str())?;
        match self.ports {
            None => Ok(()),
            Some((first, last)) if first == last => write!(f, "/{first}"),
            Some((first, last)) => write!(f, "/{first}-{last}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_and_shown_alike() {
        for text in ["tcp", "tcp/80", "udp/5000-5010", "icmp", "sctp/1-65535"] {
            assert_eq!(PortMatch::parse(text).unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "tcp/",
            "tcp/0",
            "tcp/70000",
            "tcp/9-5",
            "icmp/8",
            "http",
            "tcp/80-",
        ] {
            assert!(PortMatch::parse(wrong).is_err(), "{wrong}");
        }
        let range = PortMatch::parse("udp/5000-5010").unwrap();
        assert!(range.covers(Protocol::Udp, Some(5010)) && !range.covers(Protocol::Udp, None));
        assert!(!range.covers(Protocol::Tcp, Some(5010)));
    }
}
