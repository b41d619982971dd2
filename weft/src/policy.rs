//! `weft policy`: what is allowed, and why.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use weft_cni::{CniError, IpFamily};
use weft_firewall::policy::{
    self, Party, PortMatch, Rule, Selector, World, probe, read_file, read_files,
};
use weft_node::Host;
use weft_store::AttachmentRecord;

use crate::cni::environment;
use crate::output;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Report every problem of the host's rules, and rules that match no container at the moment
    Check {
        /// Files instead of those of /etc/weft/policies.d
        files: Vec<PathBuf>,
    },
    /// Put the rules of files and networks in force, for running containers too
    Apply,
    /// Print the rules of files and networks
    List,
    /// May one begin a connection with the other? With the rule that decides
    Explain(Question),
}

#[derive(Debug, Args)]
pub(crate) struct Question {
    /// The side that begins: a container's name, id (or its beginning), NETWORK/NAME or NAMESPACE/NAME, an address, or "host"
    from: String,
    /// With whom
    to: String,
    /// By what: tcp/80, udp/53, icmp
    port: String,
    /// Send a packet and compare
    #[arg(long)]
    probe: bool,
}

pub(crate) fn run(verb: &Verb) -> Result<()> {
    let mut host = Host::of_environment(&environment())?;
    match verb {
        Verb::Check { files } => check(&mut host, files),
        Verb::Apply => {
            let applied = weft_firewall::apply(&mut host).map_err(CniError::from)?;
            output::line(&format!(
                "{} rules in force; {} containers concerned, {} connections ended",
                applied.rules, applied.changed, applied.ended
            ));
            Ok(())
        }
        Verb::List => {
            let world = World::read(&mut host).map_err(CniError::from)?;
            for rule in world.rules() {
                output::line(&rule.to_string());
            }
            Ok(())
        }
        Verb::Explain(question) => explain(&mut host, question),
    }
}

fn check(host: &mut Host, files: &[PathBuf]) -> Result<()> {
    let read = if files.is_empty() {
        read_files(&host.policy_dir)?
    } else {
        files
            .iter()
            .map(|path| {
                let error = |error: CniError| CniError {
                    msg: format!("{}: {}", path.display(), error.msg),
                    ..error
                };
                read_file(path).map_err(error)
            })
            .collect::<std::result::Result<Vec<_>, _>>()?
    };
    let records = host.attachments().map_err(CniError::from)?;
    let mut idle = 0;
    for rule in read.iter().flat_map(|file| &file.rules) {
        for (side, selector) in [("from", &rule.from), ("to", &rule.to)] {
            if matches_nothing(selector, &records) {
                output::line(&format!("{rule}: {side} means no container at the moment"));
                idle += 1;
            }
        }
        if let Some(text) = without_effect(rule, &records) {
            output::line(&format!("{rule}: {text}"));
            idle += 1;
        }
    }
    let rules: usize = read.iter().map(|file| file.rules.len()).sum();
    if idle > 0 {
        bail!("{rules} rules without mistakes, {idle} that do nothing at the moment");
    }
    output::line(&format!("{rules} rules, no problems"));
    Ok(())
}

fn matches_nothing(selector: &Selector, records: &[AttachmentRecord]) -> bool {
    match selector {
        Selector::Endpoints(endpoints) => !records.iter().any(|one| endpoints.matches(one)),
        Selector::Any | Selector::Addresses(_) => false,
    }
}

/// A rule between open networks changes nothing.
fn without_effect(rule: &Rule, records: &[AttachmentRecord]) -> Option<&'static str> {
    let mut meant = records.iter().filter(|record| {
        [&rule.from, &rule.to]
            .iter()
            .any(|side| matches!(side, Selector::Endpoints(one) if one.matches(*record)))
    });
    let is_known = meant.clone().next().is_some();
    let is_open = meant.all(|one| one.isolation.is_none() && !one.is_kept_apart());
    (is_known && is_open).then_some("no container that it matches is in a closed network")
}

fn explain(host: &mut Host, question: &Question) -> Result<()> {
    let world = World::read(host).map_err(CniError::from)?;
    let port = PortMatch::parse(&question.port)
        .map_err(|must| anyhow::anyhow!("{}: {must}", question.port))?;
    if port.ports.is_some_and(|(first, last)| first != last) {
        bail!("{}: one port at a time", question.port);
    }
    let number = port.ports.map(|(first, _)| first);
    let (from, to) = parties(&world, &question.from, &question.to)?;
    let decision = world.decide(from, to, port.protocol, number);
    let verdict = if decision.is_allowed {
        "allowed"
    } else {
        "denied"
    };
    output::line(&format!(
        "{verdict}: {} to {} by {port}: {}",
        words(from),
        words(to),
        decision.reason
    ));
    if question.probe {
        let number = number.context("--probe needs a port: tcp/80")?;
        let arrived = probe(from, to, port.protocol, number).map_err(CniError::from)?;
        let outcome = if arrived { "arrived" } else { "did not arrive" };
        output::line(&format!("probe: a packet {outcome}"));
        if arrived != decision.is_allowed {
            bail!(
                "what the kernel does is not what the rules say: see weft firewall diff, the chain \
                 user_pre, and other people's rules (weft doctor)"
            );
        }
    }
    Ok(())
}

fn words(party: Party<'_>) -> String {
    match party.record {
        Some(record) => {
            let name = record
                .name
                .as_deref()
                .unwrap_or(record.id.container_id.as_str());
            format!("{}/{name} ({})", record.id.network, party.address)
        }
        None if party.is_host => format!("the host ({})", party.address),
        None => party.address.to_string(),
    }
}

/// A side, as it was named on the command line.
enum Named<'a> {
    Address(IpAddr),
    Host,
    Container(&'a AttachmentRecord),
}

fn named<'a>(world: &'a World, text: &str) -> Result<Named<'a>> {
    if text == "host" {
        return Ok(Named::Host);
    }
    if let Ok(address) = text.parse() {
        return Ok(Named::Address(address));
    }
    let (before, name) = match text.split_once('/') {
        Some((before, name)) => (Some(before), name),
        None => (None, text),
    };
    // A network or, of pods, the namespace.
    let is_there = |record: &&AttachmentRecord| {
        let namespace = record.labels.get("namespace");
        before.is_none_or(|before| {
            record.id.network.as_str() == before || namespace.is_some_and(|one| one == before)
        })
    };
    let has_address = |record: &&AttachmentRecord| !record.addresses.is_empty();
    let all: Vec<_> = world
        .attachments()
        .iter()
        .filter(has_address)
        .filter(is_there)
        .collect();
    // A name or an id counts before the beginning of an id that happens to be the same.
    let is_exact = |record: &&&AttachmentRecord| {
        record.name.as_deref() == Some(name) || record.id.container_id.as_str() == name
    };
    let begins = |record: &&&AttachmentRecord| record.id.container_id.as_str().starts_with(name);
    let mut found: Vec<_> = all.iter().filter(is_exact).copied().collect();
    if found.is_empty() {
        found = all.iter().filter(begins).copied().collect();
    }
    match found[..] {
        [only] => Ok(Named::Container(only)),
        [] => bail!("{text}: no container of this name or id has an address of Weft's"),
        _ => {
            let all: Vec<String> = found.iter().map(|one| candidate(one)).collect();
            bail!(
                "{text}: could be {}: NETWORK/NAME, NAMESPACE/NAME or more of the id tells them apart",
                all.join(", ")
            )
        }
    }
}

fn candidate(record: &AttachmentRecord) -> String {
    let namespace = record.labels.get("namespace").map(|one| format!("{one}/"));
    match &record.name {
        Some(name) => format!("{} ({}{name})", record.id, namespace.unwrap_or_default()),
        None => record.id.to_string(),
    }
}

/// Both sides, by addresses of one family.
fn parties<'a>(world: &'a World, from: &str, to: &str) -> Result<(Party<'a>, Party<'a>)> {
    let (from, to) = (named(world, from)?, named(world, to)?);
    let address = |one: &Named<'_>, family: IpFamily| match one {
        Named::Address(address) => Some(*address).filter(|ip| family.has(*ip)),
        Named::Host => Some(match family {
            IpFamily::V4 => Ipv4Addr::LOCALHOST.into(),
            IpFamily::V6 => Ipv6Addr::LOCALHOST.into(),
        }),
        Named::Container(record) => record
            .addresses
            .iter()
            .map(|one| one.address.ip())
            .find(|ip| family.has(*ip)),
    };
    let pair = IpFamily::ALL
        .into_iter()
        .find_map(|family| address(&from, family).zip(address(&to, family)))
        .context("the two have no addresses of one family")?;
    // The host, asked by a container, is at that one's gateway.
    let gateway = |of: &Named<'_>, other: IpAddr| match (of, world.party(other).record) {
        (Named::Host, Some(record)) => {
            policy::gateway(record, IpFamily::of(other)).unwrap_or(other)
        }
        (Named::Host, None) | (Named::Address(_) | Named::Container(_), _) => other,
    };
    let host_at = |one: &Named<'_>, own: IpAddr, other: IpAddr| match one {
        Named::Host => gateway(one, other),
        Named::Address(_) | Named::Container(_) => own,
    };
    let (first, second) = pair;
    Ok((
        world.party(host_at(&from, first, second)),
        world.party(host_at(&to, second, first)),
    ))
}
