//! `weft store`: what Weft remembers.

use anyhow::{Result, bail};
use clap::Subcommand;
use weft_cni::CniError;
use weft_node::Host;
use weft_store::StoreError;

use crate::cni::environment;
use crate::output;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Print attachments, leases and shared objects as JSON
    Dump,
    /// Compare leases and counts with the attachments they belong to
    Check,
    /// Move the store aside and make a new one from what the kernel shows
    Rebuild,
}

fn cni_error(error: StoreError) -> CniError {
    weft_node::WeftError::from(error).into()
}

pub(crate) fn run(verb: &Verb) -> Result<()> {
    let mut host = Host::of_environment(&environment())?;
    match verb {
        Verb::Dump => {
            let dump = host
                .store
                .read(|transaction| transaction.dump())
                .map_err(cni_error)?;
            output::line(&serde_json::to_string_pretty(&dump)?);
        }
        Verb::Check => {
            let findings = host
                .store
                .read(|transaction| transaction.findings())
                .map_err(cni_error)?;
            for finding in &findings {
                output::line(&finding.text);
            }
            if !findings.is_empty() {
                bail!(
                    "{}: {} findings; weft store rebuild makes it anew",
                    host.store.path().display(),
                    findings.len()
                );
            }
            output::line(&format!("{}: consistent", host.store.path().display()));
        }
        Verb::Rebuild => {
            let report = weft_attach::rebuild(&mut host).map_err(CniError::from)?;
            if let Some(path) = &report.moved_to {
                output::line(&format!("the old store is now {}", path.display()));
            }
            for id in &report.found {
                let note = match report.without_addresses.contains(id) {
                    true => " (its container could not be looked into: no addresses)",
                    false => "",
                };
                output::line(&format!("found {id}{note}"));
            }
            for (id, ip) in &report.doubtful {
                output::line(&format!(
                    "{id} has {ip}, which nothing on the host confirms: it is not in the new store"
                ));
            }
            output::line(&format!(
                "{} attachments in the new store",
                report.found.len()
            ));
            if !report.found.is_empty() {
                output::line(
                    "names of containers (weft-dns) cannot be seen in the kernel: they come back with the next ADD of \
                     each container",
                );
            }
        }
    }
    Ok(())
}
