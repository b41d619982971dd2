//! `weft doctor`: what on this host keeps containers from working, and what to do.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use weft_attach::doctor::{Finding, Symptom};
use weft_cni::CniError;
use weft_firewall::differences::differences;
use weft_firewall::policy::read_files;
use weft_node::Host;
use weft_vnet::counted;

use crate::config::problems;
use crate::daemon::Daemon;
use crate::network::manager;
use crate::output::{self, Format, Mood, coloured};

/// Look for what keeps containers from working, and say what to do. The exit status is 1 if something is found.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    format: Format,
}

pub(crate) fn run(doctor: &Doctor) -> Result<ExitCode> {
    let mut vnet = manager()?;
    let mut found = state(&mut vnet.host);
    // What cannot be looked at does not hide the rest.
    match weft_attach::doctor::findings(&mut vnet.host) {
        Ok(list) => found.extend(list),
        Err(error) => found.push(Finding::new(Symptom::State, CniError::from(error).msg)),
    }
    match Daemon::look(&vnet.host) {
        Ok(daemon) => found.extend(daemon.findings()),
        Err(error) => found.push(Finding::new(Symptom::State, CniError::from(error).msg)),
    }
    found.extend(crate::overlay::findings(vnet.host.store.dir()));
    found.extend(crate::warp::findings());
    found.extend(vnet.findings());
    found.extend(configurations());
    found.sort_by(|one, other| (one.symptom, &one.text).cmp(&(other.symptom, &other.text)));
    found.dedup();
    let code = match found.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    };
    let shown: Vec<_> = found
        .iter()
        .map(|one| json!({"symptom": one.symptom.name(), "text": one.text}))
        .collect();
    if doctor.format.prints_json(&shown)? {
        return Ok(code);
    }
    let mut last = None;
    for finding in &found {
        if last != Some(finding.symptom) {
            output::line(&coloured(
                &format!("{}:", finding.symptom.name()),
                Mood::Title,
            ));
            last = Some(finding.symptom);
        }
        output::line(&format!("  {}", finding.text));
    }
    match found.len() {
        0 => output::line("nothing found"),
        count => output::line(&counted(count, "finding")),
    }
    Ok(code)
}

/// What every ADD of a network would fail for.
fn configurations() -> Vec<Finding> {
    match problems(&[]) {
        Ok(list) => {
            let found = list.into_iter();
            found
                .map(|text| Finding::new(Symptom::Attachment, text))
                .collect()
        }
        Err(error) => vec![Finding::new(Symptom::Attachment, format!("{error:#}"))],
    }
}

/// The store, the rules of the host, the rules in the kernel.
fn state(host: &mut Host) -> Vec<Finding> {
    let mut found = Vec::new();
    let store = host.store.read(|transaction| transaction.findings());
    match store {
        Ok(list) => found.extend(list.into_iter().map(|one| {
            let text = format!("store: {}: weft store rebuild makes it anew", one.text);
            Finding::new(Symptom::State, text)
        })),
        Err(error) => {
            let error = CniError::from(weft_node::WeftError::from(error));
            found.push(Finding::new(Symptom::Attachment, error.msg));
        }
    }
    if let Err(error) = read_files(&host.policy_dir) {
        let text = format!("policies: {}: weft policy check", error.msg);
        found.push(Finding::new(Symptom::Attachment, text));
    }
    match differences(host) {
        Ok(list) if !list.is_empty() => {
            let text = format!(
                "nf_tables: {} differences to what should be: weft firewall diff shows them, weft firewall reload puts \
                 them right",
                list.len()
            );
            found.push(Finding::new(Symptom::BetweenContainers, text));
        }
        Ok(_) => {}
        Err(error) => {
            let text = format!(
                "nf_tables: {error}: without nf_tables (module nf_tables, CONFIG_NF_TABLES) networks cannot be closed or \
                 masqueraded"
            );
            found.push(Finding::new(Symptom::NetworkCreation, text));
        }
    }
    found
}
