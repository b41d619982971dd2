//! Which of a target's packets go through its gateway.

use std::fmt;

use ipnetwork::IpNetwork;

/// Ports of one protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports {
    /// IPPROTO_*.
    pub protocol: u8,
    /// Destination ports, first and last; none: all.
    pub ranges: Vec<(u16, u16)>,
}

/// Packets to some destinations, of some protocols and ports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoutingRule {
    /// None: all.
    pub destinations: Vec<IpNetwork>,
    /// None: all protocols and ports.
    pub ports: Vec<Ports>,
}

/// So many destinations, or ranges of ports, one rule may have.
const MOST_OF_A_RULE: usize = 64;
/// So many routing rules the kernel may be asked for, for one target and family: it looks at them one by one.
pub(crate) const MOST_RULES: usize = 256;

const PROTOCOLS: [(&str, u8); 5] = [
    ("icmp", 1),
    ("tcp", 6),
    ("udp", 17),
    ("icmpv6", 58),
    ("sctp", 132),
];

/// The number of a protocol by its name.
pub(crate) fn protocol(name: &str) -> Option<u8> {
    let known = PROTOCOLS.iter().find(|(known, _)| *known == name);
    known
        .map(|(_, number)| *number)
        .or_else(|| name.parse().ok().filter(|number| *number > 0))
}

fn protocol_name(number: u8) -> String {
    let known = PROTOCOLS.iter().find(|(_, known)| *known == number);
    known.map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", protocol_name(self.protocol))?;
        let ranges: Vec<String> = (self.ranges.iter())
            .map(|(first, last)| match first == last {
                true => first.to_string(),
                false => format!("{first}-{last}"),
            })
            .collect();
        if !ranges.is_empty() {
            write!(f, ":{}", ranges.join(","))?;
        }
        Ok(())
    }
}

impl fmt::Display for RoutingRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words: Vec<String> = self.destinations.iter().map(ToString::to_string).collect();
        if words.is_empty() {
            words.push("all".to_owned());
        }
        words.extend(self.ports.iter().map(ToString::to_string));
        f.write_str(&words.join(" "))
    }
}

impl RoutingRule {
    /// Reads `10.0.0.0/8 2001:db8::/32 tcp:443,8000-8080 udp`. The word `all` stands for all destinations.
    ///
    /// # Errors
    /// The word that is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut rule = Self::default();
        let mut is_all = false;
        for word in text.split_whitespace() {
            if matches!(word, "all" | "default") {
                is_all = true;
            } else if let Ok(prefix) = word.parse::<IpNetwork>() {
                let network = IpNetwork::new(prefix.network(), prefix.prefix());
                rule.destinations
                    .push(network.map_err(|error| error.to_string())?);
            } else {
                rule.ports.push(ports(word)?);
            }
        }
        if is_all && !rule.destinations.is_empty() {
            return Err(format!("{text:?} has \"all\" beside destinations"));
        }
        if !is_all && rule.destinations.is_empty() && rule.ports.is_empty() {
            return Err("a rule is empty: write \"all\" for everything".to_owned());
        }
        let ranges: usize = rule.ports.iter().map(|one| one.ranges.len().max(1)).sum();
        if rule.destinations.len() > MOST_OF_A_RULE || ranges > MOST_OF_A_RULE {
            return Err(format!(
                "a rule has more than {MOST_OF_A_RULE} destinations or ranges of ports"
            ));
        }
        Ok(rule)
    }

    /// Whether it is for everything.
    pub const fn is_everything(&self) -> bool {
        self.destinations.is_empty() && self.ports.is_empty()
    }
}

fn ports(word: &str) -> Result<Ports, String> {
    let (name, list) = match word.split_once(':') {
        Some((name, list)) => (name, Some(list)),
        None => (word, None),
    };
    let wrong = || {
        format!(
            "{word:?} is neither a destination (10.0.0.0/8) nor a protocol with ports (tcp:443,8000-8080)"
        )
    };
    let protocol = protocol(name).ok_or_else(wrong)?;
    let has_ports = matches!(protocol, 6 | 17 | 132);
    let Some(list) = list else {
        let ranges = Vec::new();
        return Ok(Ports { protocol, ranges });
    };
    if !has_ports {
        return Err(format!("{word:?}: {name} has no ports"));
    }
    let range = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range: (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
        (range.0 > 0 && range.0 <= range.1).then_some(range)
    };
    let ranges: Option<Vec<(u16, u16)>> = list.split(',').map(range).collect();
    let ranges = ranges.ok_or_else(|| format!("{word:?}: ports are 1 to 65535, or FIRST-LAST"))?;
    Ok(Ports { protocol, ranges })
}

/// Reads rules with semicolons between them.
///
/// # Errors
/// The word that is wrong; that they are too many.
pub fn parse_rules(text: &str) -> Result<Vec<RoutingRule>, String> {
    let rules: Vec<RoutingRule> = (text.split(';').map(str::trim))
        .filter(|one| !one.is_empty())
        .map(RoutingRule::parse)
        .collect::<Result<_, _>>()?;
    if rules.is_empty() {
        return Err("there is no rule: write \"all\" for everything".to_owned());
    }
    require_few(&rules)?;
    Ok(rules)
}

/// Refuses more than the kernel should be asked for.
pub(crate) fn require_few(rules: &[RoutingRule]) -> Result<(), String> {
    let count = |rule: &RoutingRule| {
        let ranges: usize = rule.ports.iter().map(|one| one.ranges.len().max(1)).sum();
        rule.destinations.len().max(1) * ranges.max(1)
    };
    let all: usize = rules.iter().map(count).sum();
    if all > MOST_RULES {
        return Err(format!(
            "destinations times ports are {all}, and {MOST_RULES} at most are possible"
        ));
    }
    Ok(())
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_as_they_are_shown() {
        for text in [
            "all",
            "10.0.0.0/8",
            "10.0.0.0/8 2001:db8::/32 tcp:443,8000-8080 udp",
            "all icmp",
            "192.0.2.1/32 sctp:5",
        ] {
            assert_eq!(RoutingRule::parse(text).unwrap().to_string(), text);
        }
        assert!(RoutingRule::parse("all").unwrap().is_everything());
        assert_eq!(
            RoutingRule::parse("10.1.2.3/8").unwrap().to_string(),
            "10.0.0.0/8"
        );
        assert_eq!(
            RoutingRule::parse("192.0.2.1").unwrap().destinations.len(),
            1
        );
    }

    #[test]
    fn wrong_words_are_named() {
        for (text, part) in [
            ("", "empty"),
            ("10.0.0.0/33", "10.0.0.0/33"),
            ("tcp:0", "1 to 65535"),
            ("tcp:9-8", "1 to 65535"),
            ("tcp:", "1 to 65535"),
            ("icmp:8", "has no ports"),
            ("all 10.0.0.0/8", "beside"),
            ("rm -rf", "neither"),
        ] {
            let error = RoutingRule::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        let many: Vec<String> = (1..=65).map(|port| port.to_string()).collect();
        assert!(RoutingRule::parse(&format!("tcp:{}", many.join(","))).is_err());
        let wide = format!(
            "{} tcp:{}",
            vec!["10.0.0.0/8"; 60].join(" "),
            many[..60].join(",")
        );
        assert!(parse_rules(&wide).unwrap_err().contains("3600"));
    }
}
