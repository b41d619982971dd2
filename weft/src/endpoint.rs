//! `weft endpoint`: containers' interfaces in networks.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde::Serialize;
use weft_vnet::{Endpoint, EndpointState, VNetManager, Verdict};

use crate::network::manager;
use crate::output::{self, Format, Mood, Table, coloured};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List endpoints
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Show endpoints with their state: interface, counters, what CHECK says
    Inspect(Inspect),
}

/// List endpoints.
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Only those of this network
    #[arg(long, short)]
    network: Option<String>,
    /// Ids only
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    format: Format,
}

/// Show endpoints with their state: interface, counters, what CHECK says.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Ids, containers (by id or name), or addresses
    #[arg(required = true)]
    endpoints: Vec<String>,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Serialize)]
struct Whole {
    #[serde(flatten)]
    endpoint: Endpoint,
    state: EndpointState,
}

pub(crate) fn run(verb: &Verb) -> Result<()> {
    let mut vnet = manager()?;
    match verb {
        Verb::Ls(ls) => list(&vnet, ls),
        Verb::Inspect(inspect) => show_all(&mut vnet, inspect),
    }
}

fn list(vnet: &VNetManager, ls: &Ls) -> Result<()> {
    let mut all = vnet.endpoints()?;
    if let Some(network) = &ls.network {
        let name = vnet.network(network)?.name;
        all.retain(|one| one.network == name);
    }
    if ls.quiet {
        all.iter().for_each(|one| output::line(one.short_id()));
        return Ok(());
    }
    if !ls.format.prints_json(&all)? {
        table(&all).print();
    }
    Ok(())
}

/// As rows.
pub(crate) fn table(endpoints: &[Endpoint]) -> Table {
    let mut table = Table::new(&[
        "ENDPOINT",
        "CONTAINER",
        "NETWORK",
        "ADDRESSES",
        "MAC",
        "INTERFACE",
        "HOST",
        "PORTS",
    ]);
    for one in endpoints {
        let addresses: Vec<String> = one
            .ip_addresses
            .iter()
            .map(|ip| ip.ip().to_string())
            .collect();
        table.row([
            one.short_id().to_owned(),
            one.container().to_owned(),
            one.network.clone(),
            addresses.join(","),
            one.mac_address
                .map(|mac| mac.to_string())
                .unwrap_or_default(),
            one.interface_name.clone(),
            one.host_interface.clone().unwrap_or_default(),
            one.ports.join(","),
        ]);
    }
    table
}

fn show_all(vnet: &mut VNetManager, inspect: &Inspect) -> Result<()> {
    let mut shown: Vec<Whole> = Vec::new();
    for text in &inspect.endpoints {
        for endpoint in vnet.endpoints_of(text)? {
            let state = vnet.state_of(&endpoint)?;
            shown.push(Whole { endpoint, state });
        }
    }
    if inspect.format.prints_json(&shown)? {
        return Ok(());
    }
    for (number, whole) in shown.iter().enumerate() {
        if number > 0 {
            output::line("");
        }
        show(whole);
    }
    Ok(())
}

fn show(whole: &Whole) {
    let (one, state) = (&whole.endpoint, &whole.state);
    let field = |name: &str, value: &str| {
        if !value.is_empty() {
            output::line(&format!("{name:<12} {value}"));
        }
    };
    field("endpoint", &one.id);
    field("container", &one.container_id);
    field("name", one.name.as_deref().unwrap_or_default());
    field("network", &one.network);
    field("interface", &one.interface_name);
    field("host", one.host_interface.as_deref().unwrap_or_default());
    for address in &one.ip_addresses {
        field("address", &address.to_string());
    }
    field(
        "mac",
        &one.mac_address
            .map(|mac| mac.to_string())
            .unwrap_or_default(),
    );
    one.ports.iter().for_each(|port| field("port", port));
    field("labels", &output::labels(&one.labels));
    let netns = one.netns.as_ref().map(|path| path.display().to_string());
    field("namespace", &netns.unwrap_or_default());
    field("plugin", &one.plugin);
    field("created", &output::date(one.created_at));
    match &state.interface {
        Some(interface) => {
            let word = |is: bool, yes: &'static str, no: &'static str| match is {
                true => coloured(yes, Mood::Good),
                false => coloured(no, Mood::Bad),
            };
            let up = word(interface.is_up, "up", "down");
            let carrier = word(interface.has_carrier, "carrier", "no carrier");
            field("state", &format!("{up}, {carrier}, MTU {}", interface.mtu));
            for (name, traffic) in [("received", interface.received), ("sent", interface.sent)] {
                let (bytes, packets, dropped) = (traffic.bytes, traffic.packets, traffic.dropped);
                field(
                    name,
                    &format!("{bytes} bytes, {packets} packets, {dropped} dropped"),
                );
            }
        }
        None => field(
            "state",
            &coloured("gone: the container has no such interface", Mood::Bad),
        ),
    }
    match &state.check {
        Verdict::Right => field("check", &coloured("as it was made", Mood::Good)),
        Verdict::Wrong(text) => field("check", &coloured(text, Mood::Bad)),
        Verdict::Unknown(text) => field("check", &format!("not known: {text}")),
    }
}
