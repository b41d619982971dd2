//! The host's own resolver: systemd-resolved asks the daemon for names of containers, and for nothing else.

use std::collections::BTreeMap;
use std::process::Command;

use weft_kernel::{address, link};
use weft_node::{Host, WeftError};

use crate::channel::Network;

/// Servers and domains, by interface.
type ByLink = BTreeMap<String, (Vec<String>, Vec<String>)>;

/// What was told.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    told: ByLink,
}

impl Resolver {
    /// Tells it by which interfaces it finds which domains.
    pub(super) fn be<'n>(
        &mut self,
        host: &mut Host,
        networks: impl Iterator<Item = &'n Network>,
        domain: &str,
    ) {
        let wanted = match wanted(host, networks, domain) {
            Ok(wanted) => wanted,
            Err(error) => {
                tracing::warn!("systemd-resolved: {error}");
                return;
            }
        };
        for (link, (servers, domains)) in &wanted {
            if self.told.get(link) != wanted.get(link) {
                run("dns", link, servers);
                run("domain", link, domains);
            }
        }
        self.told = wanted;
    }
}

fn wanted<'n>(
    host: &mut Host,
    networks: impl Iterator<Item = &'n Network>,
    domain: &str,
) -> Result<ByLink, WeftError> {
    let addresses = address::list_all(host.route()?)?;
    let mut wanted: ByLink = BTreeMap::new();
    for network in networks.filter(|network| network.serves_subnets) {
        for server in &network.servers {
            let assigned = addresses.iter().find(|one| one.address.ip() == *server);
            let Some(assigned) = assigned else { continue };
            let Some(there) = link::find_index(host.route()?, assigned.link)? else {
                continue;
            };
            let (servers, domains) = wanted.entry(there.name).or_default();
            servers.push(server.to_string());
            for one in [Some(domain), network.domain.as_deref()]
                .into_iter()
                .flatten()
            {
                // A domain with this sign is asked for there, and searched by nobody.
                let one = format!("~{one}");
                if !domains.contains(&one) {
                    domains.push(one);
                }
            }
        }
    }
    Ok(wanted)
}

#[expect(clippy::disallowed_methods, reason = "the daemon is no plugin")]
fn run(verb: &str, link: &str, words: &[String]) {
    let outcome = Command::new("resolvectl")
        .arg(verb)
        .arg(link)
        .args(words)
        .output();
    match outcome {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            tracing::warn!("resolvectl {verb} {link}: {}", text.trim());
        }
        Err(error) => tracing::warn!("resolvectl (systemd-resolved): {error}"),
    }
}
