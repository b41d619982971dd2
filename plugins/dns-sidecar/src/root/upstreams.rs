//! The host's own name servers.

use std::net::IpAddr;
use std::path::Path;

use anyhow::Result;
use weft_ipam::resolv_conf;

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
        let servers = resolv_conf::name_servers(Path::new(RESOLV_CONF));
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
