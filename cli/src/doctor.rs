//! `weft doctor`: what on this host keeps containers from working, and what to do.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use weft_attach::Host;
use weft_attach::firewall_state::differences;
use weft_attach::obstacles::obstacles;
use weft_attach::policy::read_files;
use weft_cni::CniError;

use crate::cni::environment;
use crate::output;

pub(crate) fn run() -> Result<()> {
    let mut host = Host::new(&environment(), None)?;
    let mut findings: Vec<String> = Vec::new();
    let store = host.store.read(|transaction| transaction.findings());
    match store {
        Ok(list) => findings.extend(
            list.into_iter()
                .map(|one| format!("store: {}: weft store rebuild makes it anew", one.text)),
        ),
        Err(error) => findings.push(CniError::from(weft_attach::AttachError::from(error)).msg),
    }
    if let Err(error) = read_files(&host.policy_dir) {
        findings.push(format!("policies: {}: weft policy check", error.msg));
    }
    match differences(&mut host) {
        Ok(list) if !list.is_empty() => findings.push(format!(
            "nf_tables: {} differences to what should be: weft firewall diff shows them, weft \
             firewall reload puts them right",
            list.len()
        )),
        Ok(_) => {}
        Err(error) => findings.push(format!("nf_tables: {error}")),
    }
    let links: BTreeSet<String> = host
        .all_attachments()
        .unwrap_or_default()
        .iter()
        .flat_map(|record| {
            record
                .host_links
                .iter()
                .filter_map(|one| one.bridge.clone())
        })
        .collect();
    let links: Vec<String> = links.into_iter().collect();
    for one in obstacles(&mut host, &links).map_err(CniError::from)? {
        findings.push(format!(
            "chain {} drops what is forwarded, and none of its rules names {}: {}",
            one.chain, one.link, one.remedy
        ));
    }
    for finding in &findings {
        output::line(finding);
    }
    if !findings.is_empty() {
        bail!("{} findings", findings.len());
    }
    output::line("nothing found");
    Ok(())
}
