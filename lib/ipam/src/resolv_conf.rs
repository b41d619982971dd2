//! Reading resolv.conf(5).

use std::net::IpAddr;
use std::path::Path;

use weft_cni::file;
use weft_cni::result::Dns;

/// Resolver settings from a file.
///
/// # Errors
/// The system's.
pub fn read(path: &Path) -> std::io::Result<Dns> {
    Ok(parse(&file::read_text(path)?))
}

/// The name servers that a file names. One that is not there, or cannot be read, names none.
pub fn name_servers(path: &Path) -> Vec<IpAddr> {
    let servers = read(path).unwrap_or_default().nameservers;
    servers
        .iter()
        .filter_map(|text| text.parse().ok())
        .collect()
}

fn parse(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("nameserver") => dns.nameservers.extend(words.next()),
            Some("domain") => dns.domain = words.next().unwrap_or_default(),
            // The last line counts.
            Some("search") => dns.search = words.collect(),
            Some("options") => dns.options.extend(words),
            _ => {}
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_file_is_understood() {
        let text = "# made by hand\nnameserver 192.0.2.1\nnameserver ::1 ; second\n\
                    search old\nsearch a.example b.example\ndomain c.example\noptions ndots:5 edns0";
        let dns = parse(text);
        assert_eq!(dns.nameservers, ["192.0.2.1", "::1"]);
        assert_eq!(dns.search, ["a.example", "b.example"]);
        assert_eq!((dns.domain.as_str(), dns.options.len()), ("c.example", 2));
    }

    #[test]
    fn servers_are_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("resolv.conf");
        let text = "nameserver 192.0.2.1 # first\nnameserver\nnameserver fd00::1\nnameserver x\n";
        std::fs::write(&file, text).unwrap();
        let expected: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        assert_eq!(name_servers(&file), expected);
        assert!(name_servers(&dir.path().join("none")).is_empty());
    }
}
