//! What happens in a namespace, and to a gateway's first process.

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::UnboundedSender;
use weft_attach::steps::warp::Namespace;
use weft_kernel::KernelError;
use weft_kernel::monitor::{Monitor, Topic};
use weft_warp::ContainerId;

use super::Task;
use super::readable::{Readable, wait_for};

/// Something that has to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Noticed {
    /// An address, a route, a rule, or the ruleset of a gateway's namespace.
    Changed(ContainerId),
    /// A process has ended.
    Ended(ContainerId, i32),
}

/// Tells of changes as long as the task lives. A namespace that cannot be watched is looked at now and then.
pub(super) fn watch_namespace(
    id: ContainerId,
    namespace: &Namespace,
    with_ruleset: bool,
    noticed: UnboundedSender<Noticed>,
) -> Option<Task> {
    let open = || -> Result<Vec<Monitor>, KernelError> {
        const TOPICS: [Topic; 4] = [Topic::Links, Topic::Addresses, Topic::Routes, Topic::Rules];
        let (netns, home) = (namespace.netns(), namespace.home());
        let mut monitors = vec![Monitor::of_routing_in(&TOPICS, netns, home)?];
        if with_ruleset {
            monitors.push(netns.run(home, Monitor::of_ruleset)??);
        }
        Ok(monitors)
    };
    let monitors = open()
        .inspect_err(|error| tracing::warn!("{id}: its namespace cannot be watched: {error}"))
        .ok()?;
    let listening: Vec<AsyncFd<Readable<Monitor>>> = monitors
        .into_iter()
        .filter_map(|one| wait_for(one).ok())
        .collect();
    Some(Task(tokio::spawn(async move {
        let mut listening = listening.into_iter();
        let Some(routing) = listening.next() else {
            return;
        };
        match listening.next() {
            None => tell(routing, id, noticed).await,
            Some(ruleset) => {
                let both = (
                    tell(routing, id.clone(), noticed.clone()),
                    tell(ruleset, id, noticed),
                );
                tokio::join!(both.0, both.1);
            }
        }
    })))
}

async fn tell(
    mut listening: AsyncFd<Readable<Monitor>>,
    id: ContainerId,
    noticed: UnboundedSender<Noticed>,
) {
    loop {
        let Ok(mut ready) = listening.readable_mut().await else {
            return;
        };
        let events = ready.get_inner_mut().0.read();
        ready.clear_ready();
        let is_over = events.is_err();
        if noticed.send(Noticed::Changed(id.clone())).is_err() || is_over {
            return;
        }
    }
}

/// Tells of the end of a process.
pub(super) fn watch_process(
    id: ContainerId,
    pid: i32,
    noticed: UnboundedSender<Noticed>,
) -> Option<Task> {
    let process = match pidfd_open(Pid::from_raw(pid)?, PidfdFlags::NONBLOCK) {
        Ok(process) => process,
        Err(rustix::io::Errno::SRCH) => {
            let _ = noticed.send(Noticed::Ended(id, pid));
            return None;
        }
        Err(_) => return None,
    };
    let process = wait_for(process).ok()?;
    Some(Task(tokio::spawn(async move {
        if process.readable().await.is_ok() {
            let _ = noticed.send(Noticed::Ended(id, pid));
        }
    })))
}
