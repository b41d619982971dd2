//! What is known of one peer.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::message::{End, Route, RouteKey, Stamp};
use crate::config::{Overlays, Peer};
use crate::policy::{self, Home, Refusal};

/// Routes that one host may announce.
pub const MOST_ROUTES: usize = 1024;
/// An answer to a probe counts for so long.
pub(super) const FRESH: Duration = Duration::from_secs(5);

/// What a peer was told last.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    pub(super) routes: BTreeMap<RouteKey, Route>,
    pub(super) ends: Vec<End>,
    pub(super) at: Duration,
    /// By the connection that stands, so that it knows.
    pub(super) is_current: bool,
}

/// The last probe of the data path that was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// When.
    pub at: Duration,
    /// How long the answer took.
    pub time: Duration,
    /// When one of the overlay's full size was.
    pub full_at: Option<Duration>,
}

/// One peer.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) config: Peer,
    /// The newest that it has said.
    pub(super) said: Option<Stamp>,
    /// When it was last heard of; of one that is known from before only, when the daemon has started.
    pub(super) heard: Option<Duration>,
    /// It has been heard of since the daemon has started.
    pub(super) has_spoken: bool,
    pub(super) routes: BTreeMap<RouteKey, Route>,
    pub(super) ends: BTreeMap<u32, End>,
    /// How often something was refused, and which routes are now.
    pub(super) refused: BTreeMap<Refusal, u64>,
    pub(super) refused_routes: BTreeMap<RouteKey, Refusal>,
    pub(super) last_refusal: Option<String>,
    pub(super) told: Told,
    pub(super) is_connected: bool,
    /// What is known of it is not what it has.
    pub(super) is_behind: bool,
    pub(super) probes: BTreeMap<u32, Probe>,
    /// How much its clock is ahead of this host's, in milliseconds.
    pub(super) skew: i64,
    pub(super) changed_state_at: Duration,
    pub(super) was_up: bool,
    /// Why it cannot be spoken with.
    pub(super) error: Option<String>,
}

impl Known {
    pub(super) fn new(config: Peer) -> Self {
        Self {
            config,
            said: None,
            heard: None,
            has_spoken: false,
            routes: BTreeMap::new(),
            ends: BTreeMap::new(),
            refused: BTreeMap::new(),
            refused_routes: BTreeMap::new(),
            last_refusal: None,
            told: Told::default(),
            is_connected: false,
            is_behind: true,
            probes: BTreeMap::new(),
            skew: 0,
            changed_state_at: Duration::ZERO,
            was_up: false,
            error: None,
        }
    }

    pub(super) fn is_up(&self, now: Duration) -> bool {
        let silent = self.heard.map(|heard| now.saturating_sub(heard));
        self.has_spoken && silent.is_some_and(|time| time < self.config.health.dead_after())
    }

    pub(super) fn hear(&mut self, now: Duration) {
        self.heard = Some(now);
        self.has_spoken = true;
    }

    /// Whether its containers were reached just now.
    pub(super) fn answers(&self, vni: u32, now: Duration) -> bool {
        let probe = self.probes.get(&vni);
        probe.is_some_and(|probe| now.saturating_sub(probe.at) < FRESH)
    }

    /// Takes routes that may be taken; what is refused is counted.
    pub(super) fn take(&mut self, routes: &[Route], overlays: &Overlays, home: &Home) {
        for route in routes {
            let verdict = self.verdict(route, overlays, home);
            let verdict = match verdict {
                Ok(())
                    if self.routes.len() >= MOST_ROUTES
                        && !self.routes.contains_key(&route.key()) =>
                {
                    Err(Refusal::TooMany)
                }
                other => other,
            };
            match verdict {
                Ok(()) => {
                    self.refused_routes.remove(&route.key());
                    self.routes.insert(route.key(), route.clone());
                }
                Err(why) => {
                    self.routes.remove(&route.key());
                    if self.refused_routes.len() < MOST_ROUTES {
                        self.refused_routes.insert(route.key(), why);
                    }
                    self.refuse(why, &format!("{} of VNI {}", route.prefix, route.vni));
                }
            }
        }
    }

    fn verdict(&self, route: &Route, overlays: &Overlays, home: &Home) -> Result<(), Refusal> {
        let overlay = overlays.of(route.vni).ok_or(Refusal::UnknownOverlay)?;
        policy::judge(overlay, &self.config, home, route.prefix, route.next_hop)?;
        match self.ends.get(&route.vni) {
            Some(end) if end.mode != overlay.mode => Err(Refusal::OtherMode),
            Some(end) if overlay.mode.is_routed() => {
                let is_gateway = end.gateways.contains(&route.next_hop) && end.mac.is_some();
                is_gateway.then_some(()).ok_or(Refusal::NextHop)
            }
            None if overlay.mode.is_routed() => Err(Refusal::NotRouted),
            _ => Ok(()),
        }
    }

    pub(super) fn refuse(&mut self, why: Refusal, what: &str) {
        *self.refused.entry(why).or_default() += 1;
        self.last_refusal = Some(format!("{what}: {why}"));
    }

    /// Takes what it tells of overlays that both have.
    pub(super) fn take_ends(&mut self, ends: Vec<End>, overlays: &Overlays) {
        let is_shared = |end: &End| self.config.is_in(end.vni) && overlays.of(end.vni).is_some();
        let shared = ends.into_iter().filter(is_shared);
        self.ends = shared
            .map(|mut end| {
                /// Of one family each, and parts of a subnet.
                const MOST: usize = 64;
                end.neighbours.truncate(MOST_ROUTES);
                end.gateways.truncate(MOST);
                end.ranges.truncate(MOST);
                (end.vni, end)
            })
            .collect();
    }

    /// What does not fit of its overlays, and of what it announces.
    pub(super) fn troubles(&self, overlays: &Overlays) -> Vec<String> {
        /// Certificates are valid from one time to another.
        const MOST_SKEW: u64 = 60_000;
        let mut troubles = Vec::new();
        if self.skew.unsigned_abs() > MOST_SKEW {
            let (seconds, way) = (
                self.skew.unsigned_abs() / 1000,
                if self.skew > 0 { "ahead" } else { "behind" },
            );
            troubles.push(format!(
                "its clock is {seconds} s {way} of this host's: certificates may not be valid at both (timedatectl)"
            ));
        }
        for (vni, end) in &self.ends {
            let Some(overlay) = overlays.of(*vni) else {
                continue;
            };
            if end.mode != overlay.mode {
                troubles.push(format!("VNI {vni}: {}", Refusal::OtherMode));
            }
            let is_shared = |range: &&ipnetwork::IpNetwork| {
                overlay
                    .containers
                    .iter()
                    .any(|mine| policy::overlaps(*mine, **range))
            };
            if let Some(range) = end.ranges.iter().find(is_shared) {
                troubles.push(format!("VNI {vni}, {range}: {}", Refusal::SharedRange));
            }
        }
        // What policy refuses is as somebody wanted it.
        let refused = self
            .refused_routes
            .iter()
            .filter(|(_, why)| !matches!(why, Refusal::Policy | Refusal::UnknownOverlay));
        troubles
            .extend(refused.map(|((vni, prefix), why)| format!("{prefix} of VNI {vni}: {why}")));
        troubles
    }

    /// Removes what has had its time. Whether anything was.
    pub(super) fn expire(&mut self, now: Duration, overlays: &Overlays) -> bool {
        if self.is_up(now) {
            return false;
        }
        let silent = now.saturating_sub(self.heard.unwrap_or_default());
        let before = self.routes.len();
        let answering: Vec<u32> = (self.probes.keys().copied())
            .filter(|vni| self.answers(*vni, now))
            .collect();
        let dead_after = self.config.health.dead_after();
        self.routes.retain(|_, route| {
            let Some(overlay) = overlays.of(route.vni) else {
                return false;
            };
            let install = &overlay.routing.import.install;
            // A host cannot have its routes outlive it for longer than this one wants.
            let seconds = match route.lease_seconds {
                0 => install.route_lease_seconds,
                theirs => theirs.min(install.route_lease_seconds),
            };
            let lease = Duration::from_secs(seconds.into());
            let hold = Duration::from_secs(install.hold_seconds.into());
            let flushes = install.flush_on_peer_down && silent >= dead_after;
            let is_held = answering.contains(&route.vni) && silent < hold;
            !flushes && (silent < lease || is_held)
        });
        let routes = &self.routes;
        self.ends
            .retain(|vni, _| routes.keys().any(|(other, _)| other == vni));
        self.routes.len() != before
    }

    /// Where its part of an overlay is reached, to be probed.
    pub(super) fn gateway(&self, vni: u32) -> Option<IpAddr> {
        let of_end = self.ends.get(&vni).and_then(|end| end.gateways.first());
        let of_route = || {
            let mut routes = self.routes.values();
            routes
                .find(|route| route.vni == vni)
                .map(|route| &route.next_hop)
        };
        of_end.or_else(of_route).copied()
    }
}
