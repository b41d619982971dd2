//! `weft network`: closed networks that reach each other.

use anyhow::Result;
use clap::{Args, Subcommand};
use weft_cni::{CniError, NetworkName};
use weft_firewall::policy::{Connections, reachable_networks};
use weft_node::Host;

use crate::cni::environment;
use crate::output;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Let two networks of isolation mesh reach each other, now and after a reboot
    Connect(Pair),
    /// Take that back; connections between them end
    Disconnect(Pair),
    /// Print closed networks and what they reach
    List,
}

#[derive(Debug, Args)]
pub(crate) struct Pair {
    /// One network
    from: String,
    /// The other
    to: String,
    /// Only the first may begin connections with the second
    #[arg(long)]
    one_way: bool,
}

pub(crate) fn run(verb: &Verb) -> Result<()> {
    let mut host = Host::of_environment(&environment())?;
    match verb {
        Verb::Connect(pair) => change(&mut host, pair, true),
        Verb::Disconnect(pair) => change(&mut host, pair, false),
        Verb::List => list(&host),
    }
}

fn change(host: &mut Host, pair: &Pair, connects: bool) -> Result<()> {
    for name in [&pair.from, &pair.to] {
        NetworkName::try_from(name.as_str())
            .map_err(|error| anyhow::anyhow!("{name:?}: {}", error.rule))?;
    }
    if pair.from == pair.to {
        anyhow::bail!("{}: a network reaches itself already", pair.from);
    }
    let (there, back) = (
        (pair.from.clone(), pair.to.clone()),
        (pair.to.clone(), pair.from.clone()),
    );
    let pairs = if pair.one_way {
        vec![there]
    } else {
        vec![there, back]
    };
    Connections::change(host, |connections| {
        for pair in &pairs {
            if connects {
                connections.connected.insert(pair.clone());
            } else {
                connections.connected.remove(pair);
            }
        }
    })
    .map_err(CniError::from)?;
    let applied = weft_firewall::apply(host).map_err(CniError::from)?;
    let mut others = Vec::new();
    let reach = reachable_networks(host).map_err(CniError::from)?;
    for name in [&pair.from, &pair.to] {
        let known = reach.iter().find(|(known, _, _)| known == name);
        match known.map(|(_, network, _)| network.isolation.as_str()) {
            Some("mesh") => {}
            Some(isolation) => others.push(format!(
                "network {name} has isolation {isolation}: only isolation mesh can be connected"
            )),
            None => output::line(&format!(
                "network {name} has no closed containers at the moment"
            )),
        }
    }
    let still = |(from, to): &&(String, String)| {
        let reaches =
            |(name, _, others): &(String, _, Vec<String>)| name == from && others.contains(to);
        reach.iter().any(reaches)
    };
    if !connects && let Some((from, to)) = pairs.iter().find(still) {
        others.push(format!(
            "{from} still reaches {to}: they have a mesh or a parent in common, in their configurations"
        ));
    }
    if !others.is_empty() {
        anyhow::bail!("{}", others.join("; "));
    }
    let word = if connects {
        "connected"
    } else {
        "disconnected"
    };
    output::line(&format!(
        "{} and {} are {word}; {} connections ended",
        pair.from, pair.to, applied.ended
    ));
    Ok(())
}

fn list(host: &Host) -> Result<()> {
    let reach = reachable_networks(host).map_err(CniError::from)?;
    for (name, network, others) in reach {
        let others = if others.is_empty() {
            String::new()
        } else {
            format!(", reaches {}", others.join(", "))
        };
        let (link, isolation) = (network.link, network.isolation);
        output::line(&format!(
            "{name}: interface {link}, isolation {isolation}{others}"
        ));
    }
    Ok(())
}
