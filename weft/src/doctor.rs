//! `weft doctor`: what on this host keeps containers from working, and what to do.

use anyhow::{Result, bail};
use weft_attach::doctor::findings;
use weft_cni::CniError;
use weft_firewall::differences::differences;
use weft_firewall::policy::read_files;
use weft_node::Host;

use crate::cni::environment;
use crate::output;

pub(crate) fn run() -> Result<()> {
    let mut host = Host::of_environment(&environment())?;
    let mut found: Vec<String> = Vec::new();
    let store = host.store.read(|transaction| transaction.findings());
    match store {
        Ok(list) => found.extend(
            list.into_iter()
                .map(|one| format!("store: {}: weft store rebuild makes it anew", one.text)),
        ),
        Err(error) => found.push(CniError::from(weft_node::WeftError::from(error)).msg),
    }
    if let Err(error) = read_files(&host.policy_dir) {
        found.push(format!("policies: {}: weft policy check", error.msg));
    }
    match differences(&mut host) {
        Ok(list) if !list.is_empty() => found.push(format!(
            "nf_tables: {} differences to what should be: weft firewall diff shows them, weft \
             firewall reload puts them right",
            list.len()
        )),
        Ok(_) => {}
        Err(error) => found.push(format!("nf_tables: {error}")),
    }
    match findings(&mut host) {
        Ok(list) => found.extend(list),
        Err(error) => found.push(CniError::from(error).msg),
    }
    for finding in &found {
        output::line(finding);
    }
    if !found.is_empty() {
        bail!("{} findings", found.len());
    }
    output::line("nothing found");
    Ok(())
}
