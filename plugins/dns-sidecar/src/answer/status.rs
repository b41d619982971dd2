//! What everybody may ask about the daemon, by HTTP: whether it lives, whether it is ready, and what it has counted.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::UnixListener;
use weft_api::exposition::{Exposition, Kind};

use super::counters::BUCKETS;
use super::known::Known;
use super::world::World;

/// Answers until the process ends.
pub(super) async fn serve(world: Arc<World>, listener: UnixListener) {
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(world);
    if let Err(error) = axum::serve(listener, routes).await {
        tracing::warn!("the socket for status: {error}");
    }
}

async fn ready(State(world): State<Arc<World>>) -> (StatusCode, String) {
    let known = world.known();
    match (known.is_complete, known.troubles.as_slice()) {
        (true, []) => (StatusCode::OK, "ready\n".to_owned()),
        (false, _) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the store is not read yet\n".to_owned(),
        ),
        (true, troubles) => (
            StatusCode::SERVICE_UNAVAILABLE,
            troubles
                .iter()
                .flat_map(|text| [text.as_str(), "\n"])
                .collect(),
        ),
    }
}

async fn metrics(State(world): State<Arc<World>>) -> ([(&'static str, &'static str); 1], String) {
    let mut text = Exposition::default();
    let known = world.known();
    of_networks(&known, &mut text);
    of_memory(&known, &mut text);
    of_servers(&known, &mut text);
    let kind = [("content-type", "text/plain; version=0.0.4")];
    (kind, text.into_text())
}

fn of_networks(known: &Known, text: &mut Exposition) {
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    text.family(
        "weftd_build_info",
        Kind::Gauge,
        "The daemon's version; always 1",
    )
    .sample(&version, 1);
    let ready = u8::from(known.is_complete && known.troubles.is_empty());
    text.family(
        "weftd_ready",
        Kind::Gauge,
        "Whether everything is known and every address is had",
    )
    .sample(&[], ready);
    let mut networks: Vec<_> = known.networks.iter().collect();
    networks.sort_by_key(|(name, _)| Arc::clone(name));
    text.family(
        "weft_dns_names",
        Kind::Gauge,
        "Names that the containers of a network may know",
    );
    for (name, served) in &networks {
        text.sample(&[("network", name)], served.view.len());
    }
    text.family(
        "weft_dns_requests_total",
        Kind::Counter,
        "Questions of containers",
    );
    for (name, served) in &networks {
        for (protocol, kind, count) in served.counters.requests() {
            let labels = [("network", &***name), ("proto", protocol), ("type", kind)];
            text.sample(&labels, count);
        }
    }
    text.family(
        "weft_dns_responses_total",
        Kind::Counter,
        "Answers to containers",
    );
    for (name, served) in &networks {
        for (source, code, count) in served.counters.responses() {
            let labels = [("network", &***name), ("rcode", code), ("source", source)];
            text.sample(&labels, count);
        }
    }
    text.family(
        "weft_dns_updates_total",
        Kind::Counter,
        "Changes that were taken in",
    )
    .sample(&[], known.totals.updates);
}

fn of_memory(known: &Known, text: &mut Exposition) {
    let cache = known.cache.statistics;
    text.family(
        "weft_dns_cache_entries",
        Kind::Gauge,
        "Answers of other servers that are remembered",
    )
    .sample(&[], known.cache.len());
    for (name, help, count) in [
        (
            "weft_dns_cache_hits_total",
            "Questions answered from memory",
            cache.hits,
        ),
        (
            "weft_dns_cache_misses_total",
            "Questions that had to be asked",
            cache.misses,
        ),
        (
            "weft_dns_cache_evictions_total",
            "Answers forgotten for want of room",
            cache.evictions,
        ),
    ] {
        text.family(name, Kind::Counter, help).sample(&[], count);
    }
    text.family(
        "weft_dns_inflight",
        Kind::Gauge,
        "Questions to other servers without an answer yet",
    )
    .sample(&[], known.in_flight.count());
    let totals = &known.totals;
    text.family(
        "weft_dns_dropped_total",
        Kind::Counter,
        "Questions that were not answered as asked",
    );
    for (reason, count) in [
        ("stranger", totals.strangers),
        ("malformed", totals.malformed),
        ("client_limit", totals.over_client_limit),
        ("limit", totals.over_limit),
        ("connections", totals.connections),
    ] {
        text.sample(&[("reason", reason)], count);
    }
}

fn of_servers(known: &Known, text: &mut Exposition) {
    let times = &known.totals.forwarded;
    let help = "How long questions to other servers took";
    text.family("weft_dns_forward_duration_seconds", Kind::Histogram, help)
        .histogram(
            &[],
            BUCKETS.into_iter().zip(times.buckets),
            (times.count, times.seconds),
        );
    let mut servers: Vec<_> = known.upstreams.iter().collect();
    servers.sort_by_key(|(address, _)| **address);
    let servers: Vec<_> = servers
        .iter()
        .map(|(ip, server)| (ip.to_string(), server))
        .collect();
    text.family(
        "weft_dns_upstream_up",
        Kind::Gauge,
        "Whether a server answers",
    );
    for (address, server) in &servers {
        text.sample(&[("upstream", address)], u8::from(server.state() == "up"));
    }
    text.family(
        "weft_dns_upstream_requests_total",
        Kind::Counter,
        "Questions to a server",
    );
    for (address, server) in &servers {
        text.sample(&[("upstream", address)], server.asked);
    }
    text.family(
        "weft_dns_upstream_timeouts_total",
        Kind::Counter,
        "Questions that it let wait",
    );
    for (address, server) in &servers {
        text.sample(&[("upstream", address)], server.timeouts);
    }
    text.family(
        "weft_dns_upstream_rtt_seconds",
        Kind::Gauge,
        "Smoothed time of its answers",
    );
    for (address, server) in &servers {
        if let Some(time) = server.time {
            text.sample(&[("upstream", address)], time.as_secs_f64());
        }
    }
    text.family(
        "weft_dns_loops_detected_total",
        Kind::Counter,
        "Questions that came back here",
    )
    .sample(&[], known.upstreams.loops_detected);
}
