//! What is counted.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use weft_api::exposition::{Exposition, Kind};
use weft_warp::{BreakerState, Class};

use super::duty::Duty;

/// Upper ends in seconds.
const BUCKETS: [f64; 9] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0];

/// Counters since the start.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) events: u64,
    /// Rules and routes added or removed.
    pub(super) changes: u64,
    pub(super) failures: u64,
    /// How often it took so long from a container's start to its routes; one more for longer.
    reactions: [u64; BUCKETS.len() + 1],
    sum: Duration,
}

impl Figures {
    /// What an event of this time (nanoseconds since 1970) asked for is in force.
    pub(super) fn reacted(&mut self, at: u64) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let took = now.saturating_sub(Duration::from_nanos(at));
        let place = BUCKETS.iter().position(|end| took.as_secs_f64() <= *end);
        if let Some(count) = self.reactions.get_mut(place.unwrap_or(BUCKETS.len())) {
            *count += 1;
        }
        self.sum += took;
    }
}

/// All of it in Prometheus' text format.
pub(super) fn text(duty: &Duty) -> String {
    let figures = &duty.figures;
    let mut out = Exposition::default();
    let count = |is: &dyn Fn(&Class) -> bool| {
        let all = duty.engine.concerned();
        all.filter(|(_, one, class, _)| one.netns.is_some() && is(class))
            .count()
    };
    let led = (duty.engine.concerned())
        .filter(|(id, _, class, _)| matches!(class, Class::Target(_)) && duty.is_right(id, class));
    out.family("weft_warp_gateways", Kind::Gauge, "Gateways that run.")
        .sample(&[], count(&|class| matches!(class, Class::Gateway(_))));
    out.family("weft_warp_targets", Kind::Gauge, "Targets that run.")
        .sample(
            &[],
            count(&|class| matches!(class, Class::Target(_) | Class::Broken(_))),
        );
    out.family(
        "weft_warp_targets_led",
        Kind::Gauge,
        "Targets that run and have a route by their gateway.",
    )
    .sample(&[], led.count());
    for (name, help, value) in [
        (
            "weft_warp_events_total",
            "What runtimes have said of containers.",
            figures.events,
        ),
        (
            "weft_warp_route_changes_total",
            "Rules, routes and tables that were added or removed.",
            figures.changes,
        ),
        (
            "weft_warp_failures_total",
            "Containers that could not be looked at or led.",
            figures.failures,
        ),
    ] {
        out.family(name, Kind::Counter, help).sample(&[], value);
    }
    out.family(
        "weft_warp_reaction_seconds",
        Kind::Histogram,
        "From a container's start, as its runtime says it, to the routes in force.",
    )
    .histogram(
        &[],
        BUCKETS
            .iter()
            .copied()
            .zip(figures.reactions.iter().copied()),
        (figures.reactions.iter().sum(), figures.sum.as_secs_f64()),
    );
    out.family(
        "weft_warp_breaker_open",
        Kind::Gauge,
        "Whether a runtime has not answered for long, and is asked rarely.",
    );
    for (source, state) in &duty.sources {
        let is_open = u8::from(state.breaker == BreakerState::Open);
        out.sample(&[("source", source.as_str())], is_open);
    }
    out.into_text()
}
