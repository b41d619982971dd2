//! The host's own resolver: systemd-resolved asks the daemon for names of containers, and for nothing else.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use weft_kernel::{address, link};
use weft_node::{Host, WeftError, default_route};

use crate::channel::Network;

/// What is said of an interface: servers and domains.
type Words = (Vec<String>, Vec<String>);
type ByLink = BTreeMap<String, Words>;

/// What it was told, by a thread of its own: a resolver that hangs is not waited for.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    asked: Option<(Option<Vec<Network>>, String)>,
    teller: Option<Sender<ByLink>>,
}

impl Resolver {
    /// Everything is said again: it may have been started anew.
    pub(super) fn forget_told(&mut self) {
        self.asked = None;
    }

    /// Tells it by which interfaces it finds which domains; none where it is to be left alone.
    pub(super) fn be(&mut self, networks: Option<Vec<Network>>, host: &mut Host, domain: &str) {
        let is_same =
            (self.asked.as_ref()).is_some_and(|(before, of)| *before == networks && of == domain);
        if is_same || (networks.is_none() && self.teller.is_none()) {
            return;
        }
        let wanted = match wanted(host, networks.iter().flatten(), domain) {
            Ok(wanted) => wanted,
            Err(error) => {
                tracing::warn!("systemd-resolved: {error}");
                return;
            }
        };
        let teller = self.teller.get_or_insert_with(start);
        // The thread ends with the process alone.
        let _ = teller.send(wanted);
        self.asked = Some((networks, domain.to_owned()));
    }
}

/// Interfaces that hold servers' addresses. The host's own way out is not among them: what it asks there stays as it is.
fn wanted<'n>(
    host: &mut Host,
    networks: impl Iterator<Item = &'n Network>,
    domain: &str,
) -> Result<ByLink, WeftError> {
    let addresses = address::list_all(host.route()?)?;
    let way_out = default_route::interface(host.route()?)?.map(|one| one.index);
    let mut wanted = ByLink::new();
    for network in networks.filter(|network| network.serves_subnets) {
        for server in &network.servers {
            let assigned = addresses.iter().find(|one| one.address.ip() == *server);
            let Some(assigned) = assigned.filter(|one| Some(one.link) != way_out) else {
                continue;
            };
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

fn start() -> Sender<ByLink> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || follow(&receiver));
    sender
}

/// Says what has changed, and what could not be said before.
fn follow(wanted: &Receiver<ByLink>) {
    let mut told = ByLink::new();
    while let Ok(mut next) = wanted.recv() {
        // What came meanwhile is newer.
        while let Ok(newer) = wanted.try_recv() {
            next = newer;
        }
        let gone: Vec<String> = told
            .keys()
            .filter(|one| !next.contains_key(*one))
            .cloned()
            .collect();
        for link in gone {
            told.remove(&link);
            // An interface that is gone has taken all with it.
            if nix::net::if_::if_nametoindex(link.as_str()).is_ok() {
                note(run(&["revert", &link]));
            }
        }
        for (link, words) in next {
            let (servers, domains) = &words;
            let say = |verb: &'static str, what: &[String]| {
                let what = what.iter().map(String::as_str);
                run(&[verb, &link].into_iter().chain(what).collect::<Vec<_>>())
            };
            let said = say("dns", servers).and_then(|()| say("domain", domains));
            if note(said) {
                told.insert(link, words);
            }
        }
    }
}

fn note(outcome: Result<()>) -> bool {
    if let Err(error) = &outcome {
        tracing::warn!("{error:#}");
    }
    outcome.is_ok()
}

#[expect(clippy::disallowed_methods, reason = "the daemon is no plugin")]
fn run(words: &[&str]) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(10);
    const STEP: Duration = Duration::from_millis(5);
    let what = || format!("resolvectl {} (systemd-resolved)", words.join(" "));
    let mut process = Command::new("resolvectl")
        .args(words)
        .stdout(Stdio::null())
        .spawn()
        .with_context(what)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match process.try_wait().with_context(what)? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => bail!("{}: {status}", what()),
            None if Instant::now() > deadline => {
                let _ = process.kill();
                let _ = process.wait();
                bail!("{} does not answer", what());
            }
            None => std::thread::sleep(STEP),
        }
    }
}
