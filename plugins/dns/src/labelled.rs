//! What labels say: services of a container, and texts.

use std::collections::BTreeMap;

use weft_store::Service;

/// A label's most bytes as a text.
const LONGEST_TEXT: usize = 255;

/// `dns/services`: `NAME/PROTOCOL:PORT`, with spaces between them. What is none is left out.
pub(crate) fn services(labels: &BTreeMap<String, String>) -> Vec<Service> {
    let text = labels.get("dns/services").map_or("", String::as_str);
    let service = |word: &str| {
        let (name, place) = word.split_once('/')?;
        let (protocol, port) = place.split_once(':')?;
        let is_known = matches!(protocol, "tcp" | "udp" | "sctp");
        let port = port.parse().ok().filter(|port| *port > 0)?;
        (is_known && !name.is_empty()).then(|| Service {
            name: name.to_lowercase(),
            protocol: protocol.to_owned(),
            port,
        })
    };
    text.split_whitespace().filter_map(service).collect()
}

/// `dns/text`.
pub(crate) fn texts(labels: &BTreeMap<String, String>) -> Vec<String> {
    let text = labels.get("dns/text");
    let fits = text.filter(|text| (1..=LONGEST_TEXT).contains(&text.len()));
    fits.cloned().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_have_a_name_a_protocol_and_a_port() {
        let text = "http/tcp:80 dns/udp:53  x/icmp:1 y/tcp:0 z/tcp /tcp:4 q";
        let labels = BTreeMap::from([("dns/services".to_owned(), text.to_owned())]);
        let found = services(&labels);
        let texts: Vec<String> = (found.iter())
            .map(|one| format!("{} {} {}", one.name, one.protocol, one.port))
            .collect();
        assert_eq!(texts, ["http tcp 80", "dns udp 53"]);
        assert!(super::texts(&labels).is_empty());
    }
}
