//! Connections as `/proc/net/nf_conntrack` shows them (net/netfilter/nf_conntrack_standalone.c,
//! CONFIG_NF_CONNTRACK_PROCFS).
//!
//! ```text
//! ipv4 2 udp 17 28 src=10.1.0.2 dst=192.0.2.7 sport=4 dport=5 [UNREPLIED] src=... mark=0 zone=0 use=2
//! ```

use std::fs::File;
use std::io::Read;
use std::net::IpAddr;

use super::{Connection, NESTED, TUPLE_ORIGINAL, Tuple};
use crate::nft::attribute_bytes;

/// More hardly fit a page. Before 6.15 each page begins anew at the first bucket, past as many entries
/// as were shown; entries that have ended meanwhile, also those that showing ends because their time is
/// over, make it pass over others.
pub(super) const MANY: u32 = 24;
/// What the kernel shows at once, less than its PAGE_SIZE by more than a line.
const PAGE: usize = 4096 - 512;

/// IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP: addresses and ports are all that names a connection.
const WITH_PORTS: [u8; 3] = [6, 17, 132];
/// AF_INET, AF_INET6.
const FAMILIES: [(&str, u8); 2] = [("ipv4", 2), ("ipv6", 10)];

/// The whole text, if it came in one page.
pub(super) fn read_page() -> Option<String> {
    let mut text = String::with_capacity(1 << 13);
    // Not /proc/net, which is the namespace of the process's first thread.
    let mut file = File::open("/proc/thread-self/net/nf_conntrack").ok()?;
    file.read_to_string(&mut text).ok()?;
    (text.len() <= PAGE).then_some(text)
}

/// The connections for which `is_wanted` holds; none if the text does not say enough of all `count`.
pub(super) fn find(
    text: &str,
    count: u32,
    is_wanted: &dyn Fn(&Connection) -> bool,
) -> Option<Vec<Connection>> {
    let mut found = Vec::new();
    let mut shown = 0;
    for line in text.lines() {
        let (connection, can_be_named) = read(line)?;
        shown += 1;
        if is_wanted(&connection) {
            found.push(can_be_named.then_some(connection)?);
        }
    }
    (shown >= count).then_some(found)
}

/// A line, and whether the kernel would know the connection by what it says.
fn read(line: &str) -> Option<(Connection, bool)> {
    let mut words = line.split_ascii_whitespace();
    let family = words.next()?;
    let (_, family) = FAMILIES.iter().find(|(name, _)| *name == family)?;
    let protocol: u8 = words.nth(2)?.parse().ok()?;
    let mut tuples: Vec<Tuple> = Vec::with_capacity(2);
    let mut source = None;
    let mut can_be_named = WITH_PORTS.contains(&protocol);
    for word in words {
        let Some((key, value)) = word.split_once('=') else {
            continue;
        };
        match key {
            "src" => source = Some(value.parse::<IpAddr>().ok()?),
            "dst" => tuples.push(Tuple {
                protocol,
                source: source.take()?,
                destination: value.parse().ok()?,
                source_port: 0,
                destination_port: 0,
            }),
            "sport" => tuples.last_mut()?.source_port = value.parse().ok()?,
            "dport" => tuples.last_mut()?.destination_port = value.parse().ok()?,
            "zone" | "zone-orig" | "zone-reply" => can_be_named &= value == "0",
            _ => {}
        }
    }
    let [original, reply] = tuples[..] else {
        return None;
    };
    let connection = Connection {
        identity: attribute_bytes(TUPLE_ORIGINAL | NESTED, &original.bytes()),
        original,
        reply,
        family: *family,
    };
    Some((connection, can_be_named))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSLATED: &str = "ipv4     2 tcp      6 431999 ESTABLISHED src=10.1.0.1 dst=192.0.2.1 \
        sport=39000 dport=8080 packets=2 bytes=120 src=10.2.0.5 dst=10.1.0.1 sport=80 dport=39000 \
        packets=1 bytes=60 [ASSURED] mark=0 zone=0 use=2";

    #[test]
    fn both_directions_are_read() {
        let (connection, can_be_named) = read(TRANSLATED).unwrap();
        assert!(can_be_named);
        assert_eq!(connection.original.destination_port, 8080);
        assert_eq!(
            connection.reply.source,
            "10.2.0.5".parse::<IpAddr>().unwrap()
        );
        assert_eq!(connection.reply.source_port, 80);
        assert_eq!(connection.family, 2);
    }

    #[test]
    fn addresses_and_ports_do_not_name_everything() {
        let other_zone = TRANSLATED.replace("zone=0", "zone-orig=7");
        assert!(!read(&other_zone).unwrap().1);
        let echo = "ipv6     10 icmpv6   58 29 src=fe80:0000:0000:0000:0000:0000:0000:0001 \
            dst=fe80:0000:0000:0000:0000:0000:0000:0002 type=128 code=0 id=9 \
            src=fe80:0000:0000:0000:0000:0000:0000:0002 dst=fe80:0000:0000:0000:0000:0000:0000:0001 \
            type=129 code=0 id=9 mark=0 use=1";
        let (connection, can_be_named) = read(echo).unwrap();
        assert!(!can_be_named && connection.original.source.is_ipv6());
    }

    #[test]
    fn a_list_that_is_not_whole_is_none() {
        let found = |count| find(TRANSLATED, count, &|_| true).map(|found| found.len());
        assert_eq!((found(1), found(2)), (Some(1), None));
        assert_eq!(find("what", 0, &|_| true), None);
    }

    #[test]
    fn what_is_not_understood_is_nothing() {
        for line in [
            "",
            "ipv4 2 tcp",
            "ipx 9 tcp 6 1 src=a dst=b",
            "ipv4 2 tcp 6 1 dst=10.0.0.1",
        ] {
            assert_eq!(read(line), None);
        }
    }
}
