//! One namespace that is led or leads, and what is known of its container's life.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use weft_attach::steps::warp::Namespace;
use weft_warp::{Container, NetnsPlace, Plan};

use super::Task;

/// A namespace that is Weft's to change.
#[derive(Debug)]
pub(super) struct Managed {
    pub(super) place: NetnsPlace,
    pub(super) namespace: Namespace,
    pub(super) _watch: Option<Task>,
    /// A gateway's first process: the end of it is heard of before its runtime says so.
    pub(super) process: Option<(i32, Option<Task>)>,
    pub(super) plan: Plan,
    pub(super) since: Instant,
    pub(super) has_gateway: bool,
    pub(super) error: Option<String>,
    /// When it got its first rule, since 1970, if it had none before.
    pub(super) first_led: Option<Duration>,
    /// It ran for so many seconds before it was led.
    pub(super) exposed: Option<u64>,
}

impl Managed {
    /// Whether it ran before it got its first rule: known when its runtime says when it was started.
    pub(super) fn judge(&mut self, container: &Container) {
        let Some(started) = container.started_at.filter(|_| container.is_running) else {
            return;
        };
        let Some(late) = (self.first_led.take()).and_then(|led| led.checked_sub(started)) else {
            return;
        };
        tracing::warn!(
            "{}: it ran before it was led: for {late:?} what it sent went as it would without Weft",
            container.name
        );
        self.exposed = Some(late.as_secs());
    }
}

/// Says whose business a container's traffic is now.
pub(super) fn say(container: &Container, managed: &Managed) {
    match &managed.plan {
        Plan::Target(plan) => match (&plan.missing, plan.hops.first()) {
            (Some(why), _) => tracing::warn!("{}: {why}", container.name),
            (None, Some(hop)) => {
                tracing::info!(
                    "{}: led by {} in network {}",
                    container.name,
                    hop.address,
                    hop.network
                );
            }
            (None, None) => {}
        },
        Plan::Gateway(_) => tracing::info!("{}: leads others", container.name),
        Plan::Nothing => {}
    }
}

/// Whether a process runs: one that has ended and was not waited for does not.
pub(super) fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.trim().chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// Whether the namespace is still at its path.
pub(super) fn is_there(place: &NetnsPlace) -> bool {
    // What cannot be opened for another reason has not gone.
    !matches!(Namespace::open(place), Ok(None))
}

/// The time since 1970.
pub(super) fn now() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}
