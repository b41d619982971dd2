//! `weft network create` and `update`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::Result;
use clap::Args;
use ipnetwork::IpNetwork;
use serde_json::Value;
use weft_vnet::{
    DriverType, IpRange, IsolationMode, Made, NamesRequest, NetworkRequest, NetworkUpdate,
    VNetManager,
};

use crate::output::{self, Format};

/// Make a network: a configuration that every CNI runtime reads.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Its name
    name: String,
    /// bridge, macvlan, ipvlan, host or overlay [default: bridge]
    #[arg(long, short)]
    driver: Option<DriverType>,
    /// From where connections to its containers may begin: full (only where a policy allows it), peer (the same
    /// network), mesh (connected networks too) or none (everywhere) [default: full]
    #[arg(long)]
    isolation: Option<IsolationMode>,
    /// A subnet, one of a family [default: the next free /26 of 172.20.0.0/16]
    #[arg(long = "subnet", value_name = "PREFIX")]
    subnets: Vec<IpNetwork>,
    /// The gateway in a subnet [default: the first address]
    #[arg(long = "gateway", value_name = "ADDRESS")]
    gateways: Vec<IpAddr>,
    /// The part of a subnet that addresses are given from: a prefix, or FIRST-LAST
    #[arg(long = "ip-range", value_name = "RANGE")]
    ip_ranges: Vec<IpRange>,
    /// IPv6 addresses too, from a prefix of the host's own unless --subnet gives one
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    ipv6: Option<bool>,
    /// No way to the outside: no default route, no masquerade
    #[arg(long)]
    internal: bool,
    /// MTU in bytes
    #[arg(long)]
    mtu: Option<u32>,
    /// The interface of the host that it sits on: the master of a macvlan or ipvlan, the device of a host network; of a
    /// bridge, an interface that becomes a port of it; of an overlay network, the overlay of weft.toml, by the name of its
    /// VXLAN device or its VNI [default: the network's name]
    #[arg(long, value_name = "INTERFACE")]
    uplink: Option<String>,
    /// With isolation mesh: it and the network of this name reach each other, its other children not
    #[arg(long, value_name = "NETWORK")]
    parent: Option<String>,
    /// With isolation mesh: networks with the same word reach each other
    #[arg(long, value_name = "WORD")]
    mesh: Option<String>,
    /// Its containers find each other by name; weftd answers them
    #[arg(long)]
    dns: bool,
    /// The domain of their names [default: the network's name below weft.internal]; says --dns
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// A server that is asked for names of others [default: the host's]; says --dns; may be repeated
    #[arg(long = "upstream", value_name = "ADDRESS")]
    upstreams: Vec<IpAddr>,
    /// A label; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    /// A key of the network's plugin, as docs/configuration.md has it; may be repeated
    #[arg(long = "option", short = 'o', alias = "opt", value_name = "KEY=VALUE", value_parser = pair)]
    options: Vec<(String, String)>,
    #[command(flatten)]
    format: Format,
}

/// Change a network's labels, options or isolation.
#[derive(Debug, Args)]
pub(crate) struct Update {
    /// Its name or id
    network: String,
    /// full, peer, mesh or none; only while it has no endpoints
    #[arg(long)]
    isolation: Option<IsolationMode>,
    /// A label to be set, or removed by KEY-; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = change)]
    labels: Vec<(String, Option<String>)>,
    /// A key of the network's plugin to be set, or removed by KEY-, for endpoints from now on; may be repeated
    #[arg(long = "option", short = 'o', alias = "opt", value_name = "KEY=VALUE", value_parser = change)]
    options: Vec<(String, Option<String>)>,
    #[command(flatten)]
    format: Format,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    match key.is_empty() {
        true => Err("the key is empty".to_owned()),
        false => Ok((key.to_owned(), value.to_owned())),
    }
}

fn change(text: &str) -> Result<(String, Option<String>), String> {
    match text.strip_suffix('-') {
        Some(key) if !key.is_empty() && !key.contains('=') => Ok((key.to_owned(), None)),
        _ => pair(text).map(|(key, value)| (key, Some(value))),
    }
}

/// What is JSON is taken as that, anything else as a text.
fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

pub(super) fn create(vnet: &mut VNetManager, create: &Create) -> Result<()> {
    let made = vnet.create_network(&NetworkRequest {
        name: create.name.clone(),
        driver: create.driver.clone(),
        isolation: create.isolation,
        subnets: create.subnets.clone(),
        gateways: create.gateways.clone(),
        ip_ranges: create.ip_ranges.clone(),
        ipv6: create.ipv6,
        is_internal: create.internal,
        mtu: create.mtu,
        uplink: create.uplink.clone(),
        parent: create.parent.clone(),
        mesh: create.mesh.clone(),
        names: (create.dns || create.domain.is_some() || !create.upstreams.is_empty()).then(|| {
            NamesRequest {
                domain: create.domain.clone(),
                upstreams: create.upstreams.clone(),
            }
        }),
        labels: create.labels.iter().cloned().collect(),
        options: create
            .options
            .iter()
            .map(|(key, text)| (key.clone(), value(text)))
            .collect(),
    })?;
    report(&made, create.format)?;
    let is_implied =
        create.isolation.is_none() && made.network.isolation_mode == IsolationMode::Full;
    if is_implied {
        output::warning(
            "isolation is full: no connection to or from its containers is allowed until a policy says so \
             (docs/operations.md); --isolation peer or none opens it",
        );
    }
    Ok(())
}

pub(super) fn update(vnet: &mut VNetManager, update: &Update) -> Result<()> {
    let options: BTreeMap<String, Option<Value>> = update
        .options
        .iter()
        .map(|(key, text)| (key.clone(), text.as_deref().map(value)))
        .collect();
    let made = vnet.update_network(
        &update.network,
        &NetworkUpdate {
            isolation: update.isolation,
            labels: update.labels.iter().cloned().collect(),
            options,
        },
    )?;
    report(&made, update.format)
}

fn report(made: &Made, format: Format) -> Result<()> {
    for warning in &made.warnings {
        output::warning(warning);
    }
    let network = &made.network;
    if format.prints_json(network)? {
        return Ok(());
    }
    let mut parts = vec![format!("network {}: {}", network.name, network.driver_type)];
    for (cidr, gateway) in [
        (network.cidr, network.gateway),
        (network.cidr_v6, network.gateway_v6),
    ] {
        parts.extend(cidr.map(|cidr| cidr.to_string()));
        parts.extend(gateway.map(|gateway| format!("gateway {gateway}")));
    }
    if network.driver_type.can_isolate() {
        parts.push(format!("isolation {}", network.isolation_mode));
    }
    output::line(&parts.join(", "));
    Ok(())
}
