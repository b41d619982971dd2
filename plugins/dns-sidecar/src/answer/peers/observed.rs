//! Figures and health for other programs, at n-netman's ports and by its names, beside Weft's own.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use weft_api::exposition::{Exposition, Kind};
use weft_overlay::Overlays;
use weft_overlay::config::Observed;
use weft_overlay::exchange::{PeerReport, PeerState};

use super::{Peers, Task, figures, spawn};

/// The port may still be somebody's.
const AGAIN: Duration = Duration::from_secs(5);

/// Answers as long as the tasks live.
pub(super) fn start(peers: &Arc<Peers>, overlays: &Overlays) -> Vec<Task> {
    if overlays.overlay.is_empty() {
        return Vec::new();
    }
    let figures = Router::new().route("/metrics", get(metrics));
    let health = Router::new()
        .route("/livez", get(alive))
        .route("/readyz", get(ready))
        .route("/healthz", get(ready))
        .route("/status", get(status));
    let observed = &overlays.observability;
    let both = [
        (&observed.metrics, figures),
        (&observed.healthcheck, health),
    ];
    let on = both.into_iter().filter(|(place, _)| place.enabled);
    on.map(|(place, routes)| spawn(serve(place.clone(), routes.with_state(Arc::clone(peers)))))
        .collect()
}

async fn serve(place: Observed, routes: Router) {
    loop {
        let served = match TcpListener::bind(place.listen).await {
            Ok(listener) => axum::serve(listener, routes.clone()).await,
            Err(error) => Err(error),
        };
        if let Err(error) = served {
            tracing::warn!("observability: {}: {error}", place.listen);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn alive(State(peers): State<Arc<Peers>>) -> Json<Value> {
    Json(json!({"status": "ok", "uptime_seconds": peers.now().as_secs()}))
}

async fn ready(State(peers): State<Arc<Peers>>) -> (StatusCode, Json<Value>) {
    let looked = peers.looked();
    let mut reasons = peers.exchange().troubles(peers.now());
    reasons.extend(peers.refused().clone());
    if looked.looks == 0 {
        reasons.push("the kernel was not looked at yet".to_owned());
    }
    match reasons.is_empty() {
        true => (StatusCode::OK, Json(json!({"status": "ok"}))),
        false => {
            let body = json!({"status": "unavailable", "reasons": reasons});
            (StatusCode::SERVICE_UNAVAILABLE, Json(body))
        }
    }
}

async fn status(State(peers): State<Arc<Peers>>) -> Json<Value> {
    let (reports, routes, node, exported, troubles) = {
        let (exchange, now) = (peers.exchange(), peers.now());
        (
            exchange.peer_reports(now),
            exchange.route_reports(now),
            exchange.node().to_owned(),
            exchange.exported().len(),
            exchange.troubles(now),
        )
    };
    let count = |state| reports.iter().filter(|one| one.state == state).count();
    let installed: Vec<_> = routes.iter().filter(|one| one.is_chosen).collect();
    let by_peer = reports.iter().map(|peer| {
        let own = installed.iter().filter(|one| one.peer == peer.id);
        let prefixes: Vec<String> = own.map(|one| one.route.prefix.to_string()).collect();
        let value =
            json!({"address": peer.address, "state": peer.state.word(), "routes": prefixes});
        (peer.id.clone(), value)
    });
    Json(json!({
        "node_id": node,
        "uptime_seconds": peers.now().as_secs(),
        "peers": {
            "healthy": count(PeerState::Up),
            "unhealthy": count(PeerState::Stale),
            "disconnected": count(PeerState::Down),
        },
        "routes": {
            "exported": exported,
            "installed": installed.len(),
            "by_peer": by_peer.collect::<serde_json::Map<String, Value>>(),
        },
        "troubles": troubles,
    }))
}

async fn metrics(State(peers): State<Arc<Peers>>) -> ([(&'static str, &'static str); 1], String) {
    let mut text = Exposition::default();
    let reports = peers.exchange().peer_reports(peers.now());
    of_kernel(&peers, &mut text);
    of_peers(&peers, &reports, &mut text);
    of_each_peer(&reports, &mut text);
    of_calls(&peers, &mut text);
    (
        [("content-type", "text/plain; version=0.0.4")],
        text.into_text(),
    )
}

fn of_kernel(peers: &Peers, text: &mut Exposition) {
    let looked = peers.looked();
    for (name, kind, help, value) in [
        (
            "nnetman_reconciliations_total",
            Kind::Counter,
            "Looks at the kernel",
            looked.looks,
        ),
        (
            "nnetman_reconciliation_errors_total",
            Kind::Counter,
            "Looks after which something was not as it should be",
            looked.failures,
        ),
        (
            "weft_overlay_steps_total",
            Kind::Counter,
            "Changes of the kernel",
            looked.steps,
        ),
        (
            "weft_overlay_drift_total",
            Kind::Counter,
            "Changes that had to be made though nothing had told of a reason",
            looked.drift,
        ),
        (
            "nnetman_vxlans_active",
            Kind::Gauge,
            "VXLAN devices",
            u64::try_from(looked.devices).unwrap_or_default(),
        ),
        (
            "nnetman_bridges_active",
            Kind::Gauge,
            "Bridges of overlays",
            u64::try_from(looked.bridges).unwrap_or_default(),
        ),
        (
            "nnetman_fdb_entries_total",
            // A gauge by its meaning; a counter by its name.
            Kind::Untyped,
            "Forwarding entries of VXLAN devices",
            u64::try_from(looked.forwards).unwrap_or_default(),
        ),
        (
            "weft_overlay_routes",
            Kind::Gauge,
            "Routes to other hosts in the kernel",
            u64::try_from(looked.routes).unwrap_or_default(),
        ),
    ] {
        text.family(name, kind, help).sample(&[], value);
    }
    let name = "nnetman_reconciliation_duration_seconds";
    text.family(name, Kind::Summary, "How long looks took")
        .suffixed("_sum", &[], looked.seconds)
        .suffixed("_count", &[], looked.looks);
    let name = "nnetman_last_reconcile_timestamp_seconds";
    text.family(name, Kind::Gauge, "When the kernel was last looked at")
        .sample(&[], looked.last);
}

fn of_peers(peers: &Peers, reports: &[PeerReport], text: &mut Exposition) {
    let connected = reports.iter().filter(|one| one.is_connected).count();
    let healthy = reports
        .iter()
        .filter(|one| one.state == PeerState::Up)
        .count();
    let imported = reports.iter().map(|one| one.routes).sum();
    let (exported, troubles) = {
        let exchange = peers.exchange();
        (
            exchange.exported().len(),
            exchange.troubles(peers.now()).len(),
        )
    };
    for (name, help, value) in [
        ("nnetman_peers_configured", "Other hosts", reports.len()),
        (
            "nnetman_peers_connected",
            "Other hosts with a connection",
            connected,
        ),
        (
            "nnetman_peers_healthy",
            "Other hosts that are heard of",
            healthy,
        ),
        ("nnetman_routes_exported", "Routes of this host", exported),
        ("nnetman_routes_imported", "Routes of other hosts", imported),
        (
            "weft_overlay_troubles",
            "What is wrong between hosts",
            troubles,
        ),
    ] {
        text.family(name, Kind::Gauge, help).sample(&[], value);
    }
}

fn of_each_peer(reports: &[PeerReport], text: &mut Exposition) {
    let help = "Whether another host is heard of";
    text.family("weft_overlay_peer_up", Kind::Gauge, help);
    for one in reports {
        text.sample(&[("peer", &one.id)], u8::from(one.state == PeerState::Up));
    }
    let help = "How long a packet through the overlay takes to another host and back";
    text.family("weft_overlay_peer_rtt_seconds", Kind::Gauge, help);
    let probes = || {
        reports.iter().flat_map(|one| {
            one.probes
                .iter()
                .map(move |(vni, probe)| (one.id.as_str(), vni.to_string(), probe))
        })
    };
    for (peer, vni, probe) in probes() {
        if let Some(time) = probe.time {
            text.sample(&[("peer", peer), ("vni", &vni)], time.as_secs_f64());
        }
    }
    let help = "Whether a packet through the overlay comes back from another host";
    text.family("weft_overlay_peer_reachable", Kind::Gauge, help);
    for (peer, vni, probe) in probes() {
        text.sample(
            &[("peer", peer), ("vni", &vni)],
            u8::from(probe.time.is_some()),
        );
    }
    let help = "Whether one of the overlay's full size does";
    text.family("weft_overlay_peer_path_mtu_ok", Kind::Gauge, help);
    for (peer, vni, probe) in probes() {
        text.sample(&[("peer", peer), ("vni", &vni)], u8::from(probe.is_full));
    }
    let help = "Routes of another host that were refused";
    text.family("weft_overlay_refused_total", Kind::Counter, help);
    for one in reports {
        for (why, count) in &one.refused {
            text.sample(&[("peer", &one.id), ("reason", why.word())], count);
        }
    }
}

fn of_calls(peers: &Peers, text: &mut Exposition) {
    let counts = peers.figures.snapshot();
    text.family(
        "nnetman_grpc_requests_total",
        Kind::Counter,
        "Calls from and to other hosts",
    );
    for ((method, is_ok), count) in &counts.calls {
        let status = if *is_ok { "ok" } else { "error" };
        text.sample(&[("method", method), ("status", status)], count);
    }
    let name = "nnetman_grpc_request_duration_seconds";
    text.family(name, Kind::Histogram, "How long calls took");
    for (method, times) in &counts.times {
        let buckets = figures::BUCKETS.into_iter().zip(times.buckets);
        text.histogram(&[("method", method)], buckets, (times.count, times.seconds));
    }
    let help = "Messages of other hosts that were not believed";
    text.family("weft_overlay_rejected_total", Kind::Counter, help);
    for (reason, count) in &counts.rejected {
        text.sample(&[("reason", reason)], count);
    }
    let help = "Routes of other hosts that could not be read";
    text.family("weft_overlay_unreadable_total", Kind::Counter, help)
        .sample(&[], counts.unread);
}
