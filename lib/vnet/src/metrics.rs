//! Everything that is counted, in Prometheus' text format.
//!
//! Why it is so: docs/decisions/observing.md.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use weft_api::exposition::{Exposition, Kind};
use weft_api::operations::{BUCKETS, Count, Totals, counters};
use weft_cni::{CniError, Code};
use weft_firewall::differences::{dropped_frames, refused_packets};
use weft_kernel::link::{self, Counters};
use weft_kernel::sysctl;

use crate::endpoint::Endpoint;
use crate::error::VNetError;
use crate::network::VirtualNetwork;
use crate::vnet_manager::VNetManager;

/// What is asked for besides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Detail {
    /// Bytes and packets of each endpoint: six lines for each.
    pub endpoints: bool,
}

fn seconds(us: u64) -> f64 {
    Duration::from_micros(us).as_secs_f64()
}

impl VNetManager {
    /// All metrics.
    ///
    /// # Errors
    /// The store's, the kernel's, the system's.
    pub fn metrics(&mut self, detail: Detail) -> Result<String, VNetError> {
        let mut text = Exposition::default();
        text.family("weft_build_info", Kind::Gauge, "The version of Weft.")
            .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        let networks = self.networks()?;
        let endpoints = self.endpoints()?;
        count_networks(&mut text, &networks, &endpoints);
        if self.config.metrics_enabled {
            let dir = &self.host_config.state_dir;
            let totals = counters(dir).map_err(|error| {
                CniError::new(Code::Io, format!("{}: operations: {error}", dir.display()))
            })?;
            count_operations(&mut text, &totals);
        }
        self.count_addresses(&mut text)?;
        self.count_packets(&mut text, &endpoints, detail)?;
        self.count_store(&mut text);
        count_connections(&mut text);
        Ok(text.into_text())
    }

    fn count_addresses(&self, text: &mut Exposition) -> Result<(), VNetError> {
        let help = "Addresses of a network's pool, leased and free.";
        text.family("weft_ipam_addresses", Kind::Gauge, help);
        let pools = self.pools()?;
        for pool in &pools {
            let labels = |state| {
                [
                    ("network", pool.network.as_str()),
                    ("family", pool.family),
                    ("state", state),
                ]
            };
            let free = pool.capacity.saturating_sub(pool.used);
            text.sample(&labels("used"), pool.used);
            text.sample(&labels("free"), free);
        }
        let mut by_pool: BTreeMap<String, u64> = BTreeMap::new();
        for lease in self.leases()? {
            *by_pool.entry(lease.pool).or_default() += 1;
        }
        text.family("weft_leases", Kind::Gauge, "Leased addresses by pool.");
        for (pool, count) in &by_pool {
            text.sample(&[("pool", pool)], count);
        }
        Ok(())
    }

    fn count_packets(
        &mut self,
        text: &mut Exposition,
        endpoints: &[Endpoint],
        detail: Detail,
    ) -> Result<(), VNetError> {
        let by_port: BTreeMap<&str, &Endpoint> = endpoints
            .iter()
            .filter_map(|one| Some((one.host_interface.as_deref()?, one)))
            .collect();
        let links: BTreeMap<String, String> = self.gateway_links()?;
        let mut frames: BTreeMap<&str, u64> = BTreeMap::new();
        for (port, packets) in dropped_frames(&mut self.host)? {
            if let Some(endpoint) = by_port.get(port.as_str()) {
                *frames.entry(endpoint.network.as_str()).or_default() += packets;
            }
        }
        let mut refused: BTreeMap<&str, u64> = BTreeMap::new();
        for (link, packets) in refused_packets(&mut self.host)? {
            if let Some(network) = links.get(&link) {
                *refused.entry(network.as_str()).or_default() += packets;
            }
        }
        let help = "Packets to and from containers that a closed network has not let through.";
        text.family("weft_firewall_refused_packets_total", Kind::Counter, help);
        for (network, packets) in &refused {
            text.sample(&[("network", network)], packets);
        }
        let help = "Frames that the containers of a network, as far as they are still there, were not allowed to send.";
        text.family("weft_guard_dropped_frames", Kind::Gauge, help);
        for (network, packets) in &frames {
            text.sample(&[("network", network)], packets);
        }
        let socket = self.host.route()?;
        let all = link::all_counters(socket).map_err(weft_node::WeftError::from)?;
        let own: Vec<(&Endpoint, Counters)> = all
            .iter()
            .filter_map(|(name, counters)| Some((*by_port.get(name.as_str())?, *counters)))
            .collect();
        count_traffic(text, &own, detail);
        Ok(())
    }

    /// The network behind each interface of the host that has gateway addresses of one.
    fn gateway_links(&self) -> Result<BTreeMap<String, String>, VNetError> {
        let records = self.host.attachments()?;
        let pair = |record: &weft_store::AttachmentRecord| {
            Some((record.gateway_link()?, record.id.network.to_string()))
        };
        Ok(records.iter().filter_map(pair).collect())
    }

    fn count_store(&self, text: &mut Exposition) {
        let path = self.host.store.path();
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |meta| meta.len());
        let below = std::fs::read_dir(&path).into_iter().flatten().flatten();
        let database = match path.is_dir() {
            true => below.map(|entry| size(&entry.path())).sum(),
            false => size(&path),
        };
        text.family("weft_store_bytes", Kind::Gauge, "Size of Weft's store.")
            .sample(&[("file", "database")], database)
            .sample(
                &[("file", "delta")],
                size(&path.with_extension("redb.delta")),
            );
    }
}

fn count_networks(text: &mut Exposition, networks: &[VirtualNetwork], endpoints: &[Endpoint]) {
    let mut kinds: BTreeMap<(String, String), u64> = BTreeMap::new();
    for one in networks {
        let key = (one.driver_type.to_string(), one.isolation_mode.to_string());
        *kinds.entry(key).or_default() += 1;
    }
    // No gauge: the name ends as a counter's does.
    text.family(
        "vnet_networks_total",
        Kind::Untyped,
        "Networks of the host.",
    )
    .sample(&[], networks.len());
    text.family(
        "vnet_endpoints_total",
        Kind::Untyped,
        "Endpoints of the host.",
    )
    .sample(&[], endpoints.len());
    let help = "Networks by kind and isolation.";
    text.family("weft_networks", Kind::Gauge, help);
    for ((driver, isolation), count) in &kinds {
        text.sample(&[("driver", driver), ("isolation", isolation)], count);
    }
    let mut by_network: BTreeMap<&str, u64> = BTreeMap::new();
    for one in endpoints {
        *by_network.entry(&one.network).or_default() += 1;
    }
    text.family("weft_endpoints", Kind::Gauge, "Endpoints by network.");
    for (network, count) in &by_network {
        text.sample(&[("network", network)], count);
    }
}

fn count_operations(text: &mut Exposition, totals: &Totals) {
    let mut by_verb: BTreeMap<&str, Count> = BTreeMap::new();
    for (key, count) in &totals.operations {
        let sum = by_verb.entry(&key.verb).or_default();
        sum.calls += count.calls;
        sum.us += count.us;
        for (code, errors) in &count.errors {
            *sum.errors.entry(*code).or_default() += errors;
        }
        let buckets = sum.buckets.iter_mut().zip(&count.buckets);
        buckets.for_each(|(sum, one)| *sum += one);
    }
    let verbs: Vec<(String, &Count)> = by_verb
        .iter()
        .map(|(verb, count)| (verb.to_lowercase(), count))
        .collect();
    text.family(
        "vnet_operations_total",
        Kind::Counter,
        "Calls of plugins, and changes of networks.",
    );
    for (verb, count) in &verbs {
        text.sample(&[("operation", verb)], count.calls);
    }
    text.family(
        "vnet_operation_errors_total",
        Kind::Counter,
        "Those that have failed.",
    );
    for (verb, count) in &verbs {
        text.sample(&[("operation", verb)], count.errors.values().sum::<u64>());
    }
    let help = "How long they took.";
    text.family("vnet_operation_duration_seconds", Kind::Histogram, help);
    for (verb, count) in &verbs {
        histogram(text, &[("operation", verb)], count);
    }
    let of = |key: &weft_api::operations::Key| (key.verb.to_lowercase(), key.plugin.clone());
    text.family(
        "weft_operations_total",
        Kind::Counter,
        "Calls by verb and plugin.",
    );
    for (key, count) in &totals.operations {
        let (verb, plugin) = of(key);
        text.sample(&[("operation", &verb), ("plugin", &plugin)], count.calls);
    }
    let help = "Calls that have failed, by verb, plugin and the error's code.";
    text.family("weft_operation_errors_total", Kind::Counter, help);
    for (key, count) in &totals.operations {
        let (verb, plugin) = of(key);
        for (code, errors) in &count.errors {
            let code = code.to_string();
            let labels = [
                ("operation", verb.as_str()),
                ("plugin", &plugin),
                ("code", &code),
            ];
            text.sample(&labels, errors);
        }
    }
    let help = "How long calls took, by verb and plugin.";
    text.family("weft_operation_duration_seconds", Kind::Histogram, help);
    for (key, count) in &totals.operations {
        let (verb, plugin) = of(key);
        histogram(text, &[("operation", &verb), ("plugin", &plugin)], count);
    }
    let help = "How long the parts of calls took.";
    text.family("weft_operation_phase_seconds", Kind::Summary, help);
    for (phase, total) in &totals.phases {
        text.suffixed("_sum", &[("phase", phase)], seconds(total.us));
        text.suffixed("_count", &[("phase", phase)], total.calls);
    }
}

fn histogram(text: &mut Exposition, labels: &[(&str, &str)], count: &Count) {
    let ends = BUCKETS.into_iter().map(seconds);
    let buckets = ends.zip(count.buckets);
    text.histogram(labels, buckets, (count.calls, seconds(count.us)));
}

/// Of the ends on the host, seen from the containers: what the host's end sends they receive.
fn count_traffic(text: &mut Exposition, own: &[(&Endpoint, Counters)], detail: Detail) {
    type Family = (
        &'static str,
        &'static str,
        &'static str,
        fn(&Counters) -> u64,
    );
    const FAMILIES: [Family; 6] = [
        (
            "receive_bytes",
            "weft_network_receive_bytes",
            "weft_endpoint_receive_bytes_total",
            |c| c.tx_bytes,
        ),
        (
            "receive_packets",
            "weft_network_receive_packets",
            "weft_endpoint_receive_packets_total",
            |c| c.tx_packets,
        ),
        (
            "receive_dropped",
            "weft_network_receive_dropped",
            "weft_endpoint_receive_dropped_total",
            |c| c.tx_dropped,
        ),
        (
            "transmit_bytes",
            "weft_network_transmit_bytes",
            "weft_endpoint_transmit_bytes_total",
            |c| c.rx_bytes,
        ),
        (
            "transmit_packets",
            "weft_network_transmit_packets",
            "weft_endpoint_transmit_packets_total",
            |c| c.rx_packets,
        ),
        (
            "transmit_dropped",
            "weft_network_transmit_dropped",
            "weft_endpoint_transmit_dropped_total",
            |c| c.rx_dropped,
        ),
    ];
    for (what, name, _, value) in FAMILIES {
        let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
        for (endpoint, counters) in own {
            let sum = sums.entry(&endpoint.network).or_default();
            *sum = sum.saturating_add(value(counters));
        }
        let words = what.replace('_', " ");
        let help = format!("Of the containers that a network has now: {words}.");
        text.family(name, Kind::Gauge, &help);
        for (network, sum) in &sums {
            text.sample(&[("network", network)], sum);
        }
    }
    if !detail.endpoints {
        return;
    }
    for (what, _, name, value) in FAMILIES {
        let help = format!(
            "Of an endpoint since it was made: {}.",
            what.replace('_', " ")
        );
        text.family(name, Kind::Counter, &help);
        for (endpoint, counters) in own {
            let labels = [
                ("network", endpoint.network.as_str()),
                ("container", endpoint.container()),
                ("endpoint", endpoint.short_id()),
            ];
            text.sample(&labels, value(counters));
        }
    }
}

fn count_connections(text: &mut Exposition) {
    for (name, file, help) in [
        (
            "weft_conntrack_entries",
            "net/netfilter/nf_conntrack_count",
            "Tracked connections.",
        ),
        (
            "weft_conntrack_limit",
            "net/netfilter/nf_conntrack_max",
            "How many can be tracked.",
        ),
    ] {
        let number = sysctl::read(file).ok();
        if let Some(number) = number.and_then(|text| text.trim().parse::<u64>().ok()) {
            text.family(name, Kind::Gauge, help).sample(&[], number);
        }
    }
}
