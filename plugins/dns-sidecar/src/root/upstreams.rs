//! The host's own name servers.

use std::net::IpAddr;

use anyhow::Result;

use super::RESOLV_CONF;
use super::child::Child;
use crate::channel::Message;

/// What was told of them.
#[derive(Debug, Default)]
pub(super) struct Upstreams {
    told: Option<Vec<IpAddr>>,
    is_known: bool,
}

impl Upstreams {
    /// They are to be looked at again.
    pub(super) fn forget_told(&mut self) {
        self.is_known = false;
    }

    pub(super) fn tell(&mut self, child: &Child) -> Result<()> {
        if self.is_known {
            return Ok(());
        }
        // Early in a boot there may be no such file: then nobody is asked yet.
        let text = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
        let servers = servers_in(&text);
        child.tell(&Message::Upstreams {
            servers: servers.clone(),
        })?;
        if self.told.as_ref() != Some(&servers) {
            tracing::info!(?servers, "the host's name servers");
        }
        self.told = Some(servers);
        self.is_known = true;
        Ok(())
    }
}

/// The name servers of a resolv.conf(5).
fn servers_in(text: &str) -> Vec<IpAddr> {
    let lines = text
        .lines()
        .map(|line| line.split(['#', ';']).next().unwrap_or_default());
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let is_server = words.next() == Some("nameserver");
        words.next().filter(|_| is_server)?.parse().ok()
    };
    lines.filter_map(server).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_other_words_are_passed_over() {
        let text = "search x\n# nameserver 1.1.1.1\n nameserver 192.0.2.1 # first\nnameserver\n\
            nameserver fd00::1\noptions ndots:2\nnameserver x\n";
        let expected: Vec<IpAddr> = vec!["192.0.2.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        assert_eq!(servers_in(text), expected);
    }
}
