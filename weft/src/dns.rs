//! `weft dns`: names as the daemon knows them, and what it does with questions.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use clap::{Args, Subcommand};
use serde::Serialize;
use serde::de::DeserializeOwned;
use weft_api::daemon::{
    CacheLine, Control, DnsRequest, Done, Explanation, Flushed, NameLine, Seen, UpstreamLine, ask,
    control_socket, dns_socket,
};
use weft_dns::kind;
use weft_node::HostConfig;

use crate::cni::environment;
use crate::output::{self, Format, Table};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Ask for a name as a container would, and say where the answer is from
    Query(Query),
    /// List the names that containers may know
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Show each question as it is answered, until interrupted
    Watch(Watch),
    /// List the answers of other servers that are remembered
    Cache(Listed),
    /// Forget them
    Flush {
        /// Only this name and those below it
        name: Option<String>,
    },
    /// List other servers, and how they do
    Upstreams(Listed),
    /// Have the daemon read weft.toml again
    Reload,
}

/// Ask for a name as a container would, and say where the answer is from.
#[derive(Debug, Args)]
pub(crate) struct Query {
    /// Any name; an address asks for its name
    name: String,
    /// A, AAAA, PTR, SRV, TXT, or TYPE and a number
    #[arg(default_value = "A", value_parser = kind_of)]
    kind: u16,
    /// The container that asks: its name, its id, or the beginning of that
    #[arg(long, value_name = "CONTAINER")]
    from: String,
    /// In which of its networks
    #[arg(long, short)]
    network: Option<String>,
    #[command(flatten)]
    format: Format,
}

fn kind_of(text: &str) -> Result<u16, String> {
    kind::parse(text)
        .ok_or_else(|| "no type of a record: A, AAAA, PTR, SRV, TXT, TYPE65".to_owned())
}

/// List the names that containers may know.
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Only those of this network
    #[arg(long, short)]
    network: Option<String>,
    #[command(flatten)]
    format: Format,
}

/// Show each question as it is answered, until interrupted.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Only those of this network
    #[arg(long, short)]
    network: Option<String>,
    /// Stop after so many
    #[arg(long, value_name = "NUMBER")]
    count: Option<usize>,
    /// A line of JSON each
    #[arg(long)]
    json: bool,
}

/// A list without anything to choose.
#[derive(Debug, Args)]
pub(crate) struct Listed {
    #[command(flatten)]
    format: Format,
}

/// The daemon answers at once; what it asks of others takes four seconds at most.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn run(verb: &Verb) -> Result<()> {
    match verb {
        Verb::Query(query) => explain(query),
        Verb::Ls(ls) => names(ls),
        Verb::Watch(watch) => show(watch),
        Verb::Cache(listed) => cache(listed),
        Verb::Flush { name } => {
            let request = DnsRequest::Flush { name: name.clone() };
            for flushed in all::<Flushed>(&request)? {
                output::line(&format!("{} answers forgotten", flushed.entries));
            }
            Ok(())
        }
        Verb::Upstreams(listed) => upstreams(listed),
        Verb::Reload => {
            let socket = control_socket(&state_dir()?);
            ask(&socket, &Control::Reload, Some(PATIENCE), |_: Done| false).map_err(explained)?;
            output::line("weft.toml is in force");
            Ok(())
        }
    }
}

fn state_dir() -> Result<PathBuf> {
    Ok(HostConfig::read(&environment())?.state_dir)
}

pub(crate) fn explained(error: std::io::Error) -> anyhow::Error {
    let kind = error.kind();
    let is_absent = matches!(kind, ErrorKind::NotFound | ErrorKind::ConnectionRefused);
    match () {
        () if is_absent => anyhow!("weftd does not run: systemctl start weftd, or weftd run"),
        () if kind == ErrorKind::WouldBlock => {
            anyhow!("weftd does not answer: systemctl status weftd")
        }
        () if kind == ErrorKind::InvalidInput => anyhow!("{error}"),
        () => anyhow::Error::new(error).context("asking weftd"),
    }
}

/// Everything that the daemon says.
fn all<T: DeserializeOwned>(request: &DnsRequest) -> Result<Vec<T>> {
    let mut found = Vec::new();
    let socket = dns_socket(&state_dir()?);
    ask(&socket, request, Some(PATIENCE), |one| {
        found.push(one);
        true
    })
    .map_err(explained)?;
    Ok(found)
}

/// Prints JSON, or a table.
fn print<T: Serialize>(
    found: &[T],
    format: Format,
    titles: &[&str],
    cells: impl Fn(&T) -> Vec<String>,
) -> Result<()> {
    if format.prints_json(&found)? {
        return Ok(());
    }
    let mut table = Table::new(titles);
    for one in found {
        table.row(cells(one));
    }
    table.print();
    Ok(())
}

fn names(ls: &Ls) -> Result<()> {
    let request = DnsRequest::Names {
        network: ls.network.clone(),
    };
    let found: Vec<NameLine> = all(&request)?;
    if let (Some(network), []) = (&ls.network, found.as_slice()) {
        bail!(
            "{network}: no container of this network has names: weft-dns in its configuration gives them"
        );
    }
    let titles = ["NETWORK", "NAME", "TYPE", "DATA"];
    print(&found, ls.format, &titles, |one| {
        vec![
            one.network.clone(),
            one.name.clone(),
            one.kind.clone(),
            one.data.clone(),
        ]
    })
}

fn cache(listed: &Listed) -> Result<()> {
    let found: Vec<CacheLine> = all(&DnsRequest::Cache)?;
    print(
        &found,
        listed.format,
        &["NAME", "TYPE", "ANSWER", "SECONDS"],
        |one| {
            vec![
                one.name.clone(),
                one.kind.clone(),
                one.code.clone(),
                one.seconds.to_string(),
            ]
        },
    )
}

fn milliseconds(microseconds: u64) -> String {
    let whole = microseconds / 1000;
    format!("{whole}.{} ms", microseconds % 1000 / 100)
}

fn upstreams(listed: &Listed) -> Result<()> {
    let found: Vec<UpstreamLine> = all(&DnsRequest::Upstreams)?;
    let titles = ["SERVER", "STATE", "TIME", "ASKED", "UNANSWERED"];
    print(&found, listed.format, &titles, |one| {
        vec![
            one.address.to_string(),
            one.state.clone(),
            one.microseconds
                .map_or_else(|| "-".to_owned(), milliseconds),
            one.asked.to_string(),
            one.timeouts.to_string(),
        ]
    })
}

fn explain(query: &Query) -> Result<()> {
    // An address is asked for by its reverse.
    let (name, kind) = match query.name.parse::<IpAddr>() {
        Ok(address) => (weft_dns::Name::of_address(address).to_string(), kind::PTR),
        Err(_) => (query.name.clone(), query.kind),
    };
    let request = DnsRequest::Query {
        name,
        kind,
        from: query.from.clone(),
        network: query.network.clone(),
    };
    let found: Vec<Explanation> = all(&request)?;
    let Some(found) = found.first() else {
        bail!("weftd has said nothing");
    };
    if !query.format.prints_json(found)? {
        for record in &found.records {
            output::line(record);
        }
        let servers: Vec<String> = found.servers.iter().map(ToString::to_string).collect();
        let from = match (found.source.as_str(), found.upstream) {
            ("local", _) => "Weft's own names".to_owned(),
            ("cache", _) => "memory".to_owned(),
            ("forward", Some(server)) => format!("the name server {server}"),
            ("forward", None) => "no server".to_owned(),
            (other, _) => other.to_owned(),
        };
        output::line(&format!(
            "{} from {from} in {}, in network {} at {}",
            found.code,
            milliseconds(found.microseconds),
            found.network,
            if servers.is_empty() {
                "its own loopback".to_owned()
            } else {
                servers.join(", ")
            }
        ));
        if let Some(reason) = &found.reason {
            output::line(reason);
        }
    }
    match found.code.as_str() {
        "NOERROR" => Ok(()),
        code => bail!("{}: {code}", query.name),
    }
}

fn show(watch: &Watch) -> Result<()> {
    let socket = dns_socket(&state_dir()?);
    let mut shown = 0;
    let each = |one: Seen| {
        if watch
            .network
            .as_ref()
            .is_some_and(|network| *network != one.network)
        {
            return true;
        }
        shown += 1;
        match (watch.json, serde_json::to_string(&one)) {
            (true, Ok(text)) => output::line(&text),
            _ => output::line(&format!(
                "{} {} {} {} {} {} {}",
                one.network,
                one.client,
                one.name,
                one.kind,
                one.code,
                one.source,
                milliseconds(one.microseconds)
            )),
        }
        output::is_read() && watch.count.is_none_or(|count| shown < count)
    };
    ask(&socket, &DnsRequest::Watch, None, each).map_err(explained)
}
