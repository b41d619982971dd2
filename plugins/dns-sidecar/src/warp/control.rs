//! The superuser's questions to this part.

use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use weft_api::daemon::{
    Done, Text, WarpLine, WarpRequest, WarpSourceLine, WarpStatus, WarpWay, warp_socket,
};
use weft_warp::{Class, Container, ContainerId, Led, Plan, Way, way};

use super::duty::Duty;
use super::figures;

/// What is asked comes with the connection.
const PATIENCE: Duration = Duration::from_secs(2);
/// A question is no longer, in bytes.
const LONGEST: u64 = 4096;

/// A question, and where its answer goes: a line of JSON.
pub(super) type Question = (WarpRequest, oneshot::Sender<Vec<u8>>);

/// Listens.
///
/// # Errors
/// The socket's.
pub(super) fn listen(state_dir: &Path) -> Result<UnixListener> {
    let path = warp_socket(state_dir);
    let listener: StdListener = crate::root::listen(&path, 0o600)?;
    UnixListener::from_std(listener).with_context(|| path.display().to_string())
}

/// Takes questions for ever.
pub(super) async fn take(listener: UnixListener, questions: mpsc::UnboundedSender<Question>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let questions = questions.clone();
                tokio::spawn(async move { drop(answer(stream, questions).await) });
            }
            Err(error) => {
                tracing::warn!("the control socket: {error}");
                tokio::time::sleep(PATIENCE).await;
            }
        }
    }
}

async fn answer(mut stream: UnixStream, questions: mpsc::UnboundedSender<Question>) -> Result<()> {
    if stream.peer_cred()?.uid() != 0 {
        return Ok(());
    }
    let mut line = String::new();
    let (read, mut write) = stream.split();
    let mut reader = BufReader::new(read.take(LONGEST));
    tokio::time::timeout(PATIENCE, reader.read_line(&mut line)).await??;
    let bytes = match serde_json::from_str(&line) {
        Ok(request) => {
            let (sender, receiver) = oneshot::channel();
            questions.send((request, sender))?;
            receiver.await?
        }
        Err(error) => json(&failed(format!("nothing that is known: {error}"))),
    };
    tokio::time::timeout(PATIENCE, write.write_all(&bytes)).await??;
    Ok(())
}

fn json(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

const fn failed(why: String) -> Done {
    Done {
        error: Some(why),
        troubles: Vec::new(),
    }
}

/// Answers what needs nothing but the duty.
pub(super) fn reply(duty: &mut Duty, request: &WarpRequest) -> Vec<u8> {
    match request {
        WarpRequest::Status => json(&status(duty)),
        WarpRequest::Metrics => json(&Text {
            text: figures::text(duty),
        }),
        WarpRequest::Explain {
            container,
            destination,
            protocol,
            port,
        } => {
            let way = explain(duty, container, |plan, wiring| {
                way(plan, wiring, *destination, *protocol, *port)
            });
            match way {
                Ok(way) => json(&way),
                Err(why) => json(&failed(why)),
            }
        }
        WarpRequest::Off | WarpRequest::On => {
            duty.switch(matches!(request, WarpRequest::Off));
            json(&Done::default())
        }
        WarpRequest::Reload => json(&Done::default()),
    }
}

/// The answer to `Reload`.
pub(super) fn reloaded(error: Option<String>) -> Vec<u8> {
    json(&Done {
        error,
        troubles: Vec::new(),
    })
}

fn status(duty: &Duty) -> WarpStatus {
    let mut status = WarpStatus {
        is_off: duty.is_off,
        ..WarpStatus::default()
    };
    for state in duty.sources.values() {
        status.sources.push(WarpSourceLine {
            source: state.source.as_str().to_owned(),
            place: state.place.clone(),
            version: state.version.clone(),
            breaker: state.breaker.as_str().to_owned(),
            error: state.error.clone(),
        });
    }
    for (id, container, class, led) in duty.engine.concerned() {
        let line = line(duty, id, container, class, led);
        match class {
            Class::Gateway(_) => status.gateways.push(line),
            Class::Target(_) | Class::Broken(_) => status.targets.push(line),
            Class::Other => {}
        }
    }
    status
}

fn line(
    duty: &Duty,
    id: &ContainerId,
    container: &Container,
    class: &Class,
    led: Option<&Led>,
) -> WarpLine {
    let managed = duty.managed.get(id);
    let by = led.and_then(|led| duty.engine.container(&led.by));
    let plan = duty.plan(id);
    let (network, addresses) = match &plan {
        Plan::Target(plan) => (
            plan.hops.first().map(|hop| hop.network.clone()),
            plan.hops.iter().map(|hop| hop.address).collect(),
        ),
        Plan::Gateway(plan) => {
            let all = container.networks.values().flat_map(|one| &one.addresses);
            let network = plan.egress.as_ref().map(|(name, _)| name.clone());
            (network, all.map(|one| one.ip()).collect())
        }
        Plan::Nothing => (None, Vec::new()),
    };
    let rules = match class {
        Class::Target(wish) => wish.rules.iter().map(ToString::to_string).collect(),
        Class::Gateway(_) | Class::Broken(_) | Class::Other => Vec::new(),
    };
    WarpLine {
        source: id.source.as_str().to_owned(),
        id: id.id.clone(),
        name: container.name.clone(),
        state: state(duty, id, class, &plan).to_owned(),
        seconds: managed.map_or(0, |one| one.since.elapsed().as_secs()),
        gateway: by.map(|one| one.name.clone()),
        network,
        addresses,
        rules,
        problem: duty.problem(id),
        exposed_seconds: managed.and_then(|one| one.exposed),
    }
}

fn state(duty: &Duty, id: &ContainerId, class: &Class, plan: &Plan) -> &'static str {
    let Some(managed) = duty.managed.get(id) else {
        return "stopped";
    };
    if managed.error.is_some() {
        return "error";
    }
    match (class, plan) {
        (Class::Gateway(_), _) => "serving",
        (_, Plan::Target(plan)) if plan.rules.is_empty() => "direct",
        _ if managed.has_gateway => "led",
        _ => "closed",
    }
}

fn explain(
    duty: &mut Duty,
    wanted: &str,
    decide: impl FnOnce(&weft_warp::TargetPlan, &weft_warp::Wiring) -> Way,
) -> Result<WarpWay, String> {
    let is_meant = |(id, one, ..): &(&ContainerId, &Container, &Class, Option<&Led>)| {
        one.name == wanted || (wanted.len() >= 4 && id.id.starts_with(wanted))
    };
    let found: Vec<(ContainerId, String)> = (duty.engine.concerned())
        .filter(is_meant)
        .map(|(id, one, ..)| (id.clone(), one.name.clone()))
        .collect();
    let (id, name) = match found.as_slice() {
        [only] => only.clone(),
        [] => return Err(format!("{wanted}: there is no target with this name or id")),
        several => {
            return Err(format!(
                "{wanted} is {} containers: name one by its id",
                several.len()
            ));
        }
    };
    let Some((plan, wiring)) = duty.wiring(&id) else {
        return Ok(WarpWay {
            container: name,
            way: "direct".to_owned(),
            reason: "it is no target: its packets go as its own routes say".to_owned(),
            ..WarpWay::default()
        });
    };
    let gateway = duty.engine.led(&id).map(|led| led.by.clone());
    let gateway = gateway.and_then(|by| Some(duty.engine.container(&by)?.name.clone()));
    let (way, next_hop, reason) = match decide(&plan, &wiring) {
        Way::Direct { reason } => ("direct", None, reason),
        Way::Closed { reason } => ("closed", None, reason),
        Way::Gateway { address, reason } => ("gateway", Some(address), reason),
    };
    Ok(WarpWay {
        container: name,
        way: way.to_owned(),
        gateway: next_hop.and(gateway),
        next_hop,
        reason,
    })
}
