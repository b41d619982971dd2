//! Reading resolv.conf(5).

use std::path::Path;

use weft_cni::file;
use weft_cni::result::Dns;

/// Resolver settings from a file.
///
/// # Errors
/// The system's.
pub(super) fn read(path: &Path) -> std::io::Result<Dns> {
    Ok(parse(&file::read_text(path)?))
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
}
