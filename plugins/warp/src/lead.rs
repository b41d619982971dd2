//! Leading a container of a chain through another one, and making one lead others.
//!
//! What is wanted becomes part of the attachment's record; a record is made if the interface plugin is not Weft's. The
//! attachment's DEL takes it back.

use std::time::{Duration, Instant};

use weft_attach::chained::record::{recorded, take_back, undo};
use weft_attach::del::idle;
use weft_attach::steps::warp::{self, Namespace};
use weft_attach::{Differences, require_prev_result};
use weft_cni::{CniError, CniResult, Code, Request};
use weft_kernel::NetNs;
use weft_node::{Host, WeftError};
use weft_store::{Addition, AttachmentRecord, LINKS_LOCK, Sharing, StoreError, WarpRecord};
use weft_warp::{Class, OnMissing, Wish};

use crate::config::Wanted;
use crate::own::{Own, Pairing, tell_gateway};

/// A gateway that is waited for is looked for so often.
const AGAIN: Duration = Duration::from_millis(50);

/// Makes the container a target or a gateway, and returns the result of the plugins before.
///
/// # Errors
/// Any; nothing is changed then. Code 11 if there is no gateway, and one was to be waited for.
pub(crate) fn add(
    host: &mut Host,
    plugin: &'static str,
    request: &Request,
    wanted: &Wanted,
) -> Result<CniResult, WeftError> {
    let result = require_prev_result(request)?;
    let own = Own::look(host, request, &result, wanted)?;
    match &own.class {
        Class::Other => {}
        Class::Broken(problems) => return Err(refusal(&own, problems)),
        Class::Gateway(_) => serve(host, plugin, &own, wanted)?,
        Class::Target(wish) => {
            require_possible(host, &own)?;
            lead(host, plugin, (&own, wish), wanted)?;
        }
    }
    Ok(result)
}

fn refusal(own: &Own, problems: &[String]) -> WeftError {
    let text = format!("container {}: {}", own.warp.name, problems.join("; "));
    CniError::new(Code::InvalidConfig, text).into()
}

/// An ipvlan has its parent's MAC: frames for a gateway are not told from those for others by it.
fn require_possible(host: &Host, own: &Own) -> Result<(), WeftError> {
    let there = host
        .store
        .read(|transaction| transaction.attachment(&own.id))?;
    let is_ipvlan = there.is_some_and(|record| record.plugin == "weft-ipvlan");
    if is_ipvlan || own.addresses().is_empty() {
        let why = match is_ipvlan {
            true => {
                "an ipvlan's containers have one MAC, by which no gateway can be told: use weft-macvlan or weft-bridge"
            }
            false => {
                "the plugins before have given the container no address: weft-warp comes behind the plugin that makes the interface"
            }
        };
        let text = format!("container {}: {why}", own.warp.name);
        return Err(CniError::new(Code::InvalidConfig, text).into());
    }
    Ok(())
}

fn serve(
    host: &mut Host,
    plugin: &'static str,
    own: &Own,
    wanted: &Wanted,
) -> Result<(), WeftError> {
    let mut namespace = open(own)?;
    let forwarding = namespace.forwarding()?;
    host.store.write(|transaction| {
        let mut record = own.record(transaction, plugin)?;
        record.set_addition(Addition::Warp(WarpRecord {
            forwarding: forwarding.clone(),
            ..own.warp.clone()
        }));
        transaction.replace_attachment(&record)?;
        Ok::<_, StoreError>(())
    })?;
    let plan = own.gateway_plan(host, wanted)?;
    if let Err(error) = namespace.send_on(&plan) {
        let part = AttachmentRecord::new(own.id.clone(), plugin);
        let clear = |_: &mut Host| Ok(namespace.clear(&forwarding).map(drop)?);
        return Err(undo(host, &part, clear, &take_out, error.into()));
    }
    Ok(())
}

fn open(own: &Own) -> Result<Namespace, WeftError> {
    let netns = NetNs::open(std::path::Path::new(&own.netns.path))?;
    Ok(Namespace::of(netns)?)
}

fn lead(
    host: &mut Host,
    plugin: &'static str,
    (own, wish): (&Own, &Wish),
    wanted: &Wanted,
) -> Result<(), WeftError> {
    let deadline = Instant::now() + wanted.wait;
    let mut namespace = open(own)?;
    loop {
        let lock = host.store.named_lock(LINKS_LOCK, Sharing::Shared)?;
        let pairing = host.store.write(|transaction| {
            let pairing = own.pair(transaction, plugin, wanted)?;
            let is_waiting = !pairing.is_led && wish.on_missing == OnMissing::Wait;
            if !is_waiting {
                transaction.replace_attachment(&pairing.record)?;
            }
            Ok::<_, StoreError>(
                (!is_waiting)
                    .then_some(pairing)
                    .ok_or_else(|| wish.gateway.to_string()),
            )
        })?;
        let missing = match pairing {
            Ok(pairing) => {
                let led = make(host, &pairing, &mut namespace);
                // Removing takes it for itself.
                drop(lock);
                return led.map_err(|error| take_all_back(host, plugin, &pairing, error));
            }
            Err(missing) => missing,
        };
        drop(lock);
        if Instant::now() >= deadline {
            let text = format!(
                "container {}: there is no gateway {missing}, and onMissing is wait",
                own.warp.name
            );
            let error = CniError::new(Code::TryAgainLater, text);
            return Err(error
                .with_details("start the gateway, or set onMissing to block or direct")
                .into());
        }
        std::thread::sleep(AGAIN);
    }
}

fn make(host: &mut Host, pairing: &Pairing, namespace: &mut Namespace) -> Result<(), WeftError> {
    if let Some(warp) = pairing.record.warp().filter(|warp| !warp.nft.is_empty()) {
        let mut part = AttachmentRecord::new(pairing.record.id.clone(), &pairing.record.plugin);
        part.nft.clone_from(&warp.nft);
        weft_firewall::add_elements(host, &part)?;
    }
    tell_gateway(pairing)?;
    namespace.lead(&pairing.plan)?;
    Ok(())
}

fn take_all_back(
    host: &mut Host,
    plugin: &'static str,
    pairing: &Pairing,
    error: WeftError,
) -> WeftError {
    let mut part = AttachmentRecord::new(pairing.record.id.clone(), plugin);
    let warp = pairing.record.warp().cloned().unwrap_or_default();
    part.nft.clone_from(&warp.nft);
    let more = |host: &mut Host| warp::take_back(host, &pairing.record, &warp);
    undo(host, &part, more, &take_out, error)
}

/// What weft-warp has added to a record.
fn take_out(record: &mut AttachmentRecord) {
    if let Some(warp) = record.take_warp() {
        record.nft.retain(|element| !warp.nft.contains(element));
    }
}

/// Takes back what the records say.
///
/// # Errors
/// The store's and the kernel's.
pub(crate) fn del(host: &mut Host, request: &Request) -> Result<(), WeftError> {
    let mut errors = Vec::new();
    let mut is_changed = false;
    let recorded = recorded(host, request)?;
    for record in recorded.records {
        let Some(warp) = record.warp().cloned() else {
            continue;
        };
        is_changed = true;
        let mut part = AttachmentRecord::new(record.id.clone(), &record.plugin);
        part.nft.clone_from(&warp.nft);
        let more = |host: &mut Host| warp::take_back(host, &record, &warp);
        errors.extend(take_back(host, &part, more, &take_out).err());
    }
    // What a DEL that was killed has left to be removed.
    if !is_changed && recorded.has_idle {
        errors.extend(idle::remove_found(host).err());
    }
    WeftError::collect("leading a container no more", errors)
}

/// Compares record, ruleset and namespace with what is wanted.
///
/// # Errors
/// Code 108 with every difference.
pub(crate) fn check(host: &mut Host, request: &Request, wanted: &Wanted) -> Result<(), WeftError> {
    let result = require_prev_result(request)?;
    let own = Own::look(host, request, &result, wanted)?;
    let mut found = Differences::default();
    match &own.class {
        Class::Other => {}
        Class::Broken(problems) => return Err(refusal(&own, problems)),
        Class::Gateway(_) => {
            let there = host
                .store
                .read(|transaction| transaction.attachment(&own.id))?;
            if there.as_ref().and_then(|record| record.warp()).is_none() {
                found.add("no gateway in Weft's store");
            }
            let plan = own.gateway_plan(host, wanted)?;
            for difference in open(&own)?.differences_of_gateway(&plan)? {
                found.add(difference);
            }
        }
        Class::Target(_) => {
            let pairing = host
                .store
                .read(|transaction| own.pair(transaction, "", wanted))?;
            let there = host
                .store
                .read(|transaction| transaction.attachment(&own.id))?;
            let recorded = there.as_ref().and_then(|record| record.warp());
            match (recorded, pairing.record.warp()) {
                (None, _) => found.add("no target in Weft's store"),
                (Some(there), Some(now)) if there.led_by != now.led_by => {
                    let name = |by: &Option<weft_cni::AttachmentId>| {
                        by.as_ref()
                            .map_or_else(|| "nobody".to_owned(), ToString::to_string)
                    };
                    found.add(format!(
                        "it is led by {} in Weft's store, and is to be led by {}",
                        name(&there.led_by),
                        name(&now.led_by)
                    ));
                }
                (Some(_), _) => {}
            }
            for difference in open(&own)?.differences(&pairing.plan)? {
                found.add(difference);
            }
        }
    }
    found.into_result(&own.id)
}
