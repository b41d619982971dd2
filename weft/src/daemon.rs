//! How the daemon does, as `weft status` and `weft doctor` say it.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::time::Duration;

use weft_api::daemon::{Control, Done, ask, control_socket};
use weft_attach::doctor::{Finding, Symptom};
use weft_node::{Host, WeftError};

/// What is known of it.
#[derive(Debug)]
pub(crate) struct Daemon {
    /// How many interfaces ask it for names.
    pub(crate) asking: usize,
    pub(crate) is_running: bool,
    /// Why not all are answered as they should be.
    pub(crate) troubles: Vec<String>,
    /// Domains of names.
    domains: BTreeSet<String>,
}

impl Daemon {
    /// Looks into the store, and asks it.
    ///
    /// # Errors
    /// The store's.
    pub(crate) fn look(host: &Host) -> Result<Self, WeftError> {
        const PATIENCE: Duration = Duration::from_secs(1);
        let records = host.attachments()?;
        let named = records.iter().filter_map(|record| record.names());
        let mut domains: BTreeSet<String> = BTreeSet::new();
        domains.extend(named.clone().filter_map(|names| names.domain.clone()));
        let mut daemon = Self {
            asking: named.count(),
            is_running: true,
            troubles: Vec::new(),
            domains,
        };
        if daemon.asking > 0 {
            daemon.domains.insert(host.dns_domain.clone());
        }
        let socket = control_socket(host.store.dir());
        let hear = |done: Done| {
            daemon.troubles = done.troubles;
            false
        };
        if let Err(error) = ask(&socket, &Control::Poke, Some(PATIENCE), hear) {
            let is = |kinds: &[ErrorKind]| kinds.contains(&error.kind());
            match () {
                () if is(&[ErrorKind::NotFound, ErrorKind::ConnectionRefused]) => {
                    daemon.is_running = false;
                }
                () if is(&[ErrorKind::InvalidInput]) => daemon.troubles.push(error.to_string()),
                () => daemon
                    .troubles
                    .push("weftd does not answer: systemctl status weftd".to_owned()),
            }
        }
        Ok(daemon)
    }

    /// What keeps containers from finding each other by name.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        let mut texts = self.troubles.clone();
        if !self.is_running && self.asking > 0 {
            let asking = self.asking;
            texts.push(format!(
                "weftd does not run, and {asking} interfaces ask it for names: systemctl start weftd, or weftd run"
            ));
        }
        let is_local = |domain: &&String| {
            let labels = domain.trim_end_matches('.').rsplit('.').next();
            labels.is_some_and(|last| last.eq_ignore_ascii_case("local"))
        };
        texts.extend(self.domains.iter().filter(is_local).map(|domain| {
            format!(
                "domain {domain}: many resolvers ask for names below .local by multicast only (RFC 6762), and not \
                 weftd: take another one, such as internal"
            )
        }));
        let finding = |text| Finding::new(Symptom::Names, text);
        texts.into_iter().map(finding).collect()
    }
}
