//! Settings of an interface that another plugin of the chain has made, and of its namespace.
//!
//! They become part of the attachment's record, with what was there before; a record is made if the
//! other plugin is not Weft's. The attachment's DEL puts everything back.

use weft_attach::chained::Ends;
use weft_attach::chained::record::{foreign, recorded, withdraw};
use weft_attach::steps::tuning::{originals, restore, share_originals};
use weft_attach::{Differences, Sysctls, require_prev_result};
use weft_cni::phases::{Phase, measure};
use weft_cni::{CniResult, Mac, Request};
use weft_kernel::link::{self, Change};
use weft_kernel::netlink::Batch;
use weft_kernel::sysctl;
use weft_node::{Container, Host, WeftError, namespaces, with_cleanup_failure};
use weft_store::{Addition, AttachmentRecord, StoreError, TuningRecord};

/// What is to be set; what is not given stays.
#[derive(Debug, Clone, Default)]
pub struct Tuning {
    /// Kernel parameters of the container's namespace.
    pub sysctls: Sysctls,
    /// The interface's new MAC.
    pub mac: Option<Mac>,
    /// MTU, of both ends of a pair.
    pub mtu: Option<u32>,
    /// All frames are taken in.
    pub promiscuous: Option<bool>,
    /// All multicast frames are taken in.
    pub all_multicast: Option<bool>,
    /// Length of the transmit queue in packets.
    pub tx_queue_len: Option<u32>,
}

impl Tuning {
    fn is_nothing(&self) -> bool {
        let Self {
            sysctls,
            mac,
            mtu,
            promiscuous,
            all_multicast,
            tx_queue_len,
        } = self;
        sysctls.is_empty()
            && mac.is_none()
            && mtu.is_none()
            && promiscuous.is_none()
            && all_multicast.is_none()
            && tx_queue_len.is_none()
    }

    /// Whether anything of it is the interface's own.
    fn concerns_link(&self) -> bool {
        !Self {
            sysctls: Sysctls::default(),
            ..self.clone()
        }
        .is_nothing()
    }

    fn change(&self) -> Change<'static> {
        Change {
            mac: self.mac,
            mtu: self.mtu,
            tx_queue_len: self.tx_queue_len,
            promiscuous: self.promiscuous,
            all_multicast: self.all_multicast,
            ..Change::default()
        }
    }
}

/// Applies settings and returns the result of the plugins before with what has changed.
///
/// # Errors
/// Any; everything is as it was then.
pub(crate) fn add(
    host: &mut Host,
    plugin: &'static str,
    request: &Request,
    wanted: &Tuning,
) -> Result<CniResult, WeftError> {
    let mut result = require_prev_result(request)?;
    if wanted.is_nothing() {
        return Ok(result);
    }
    let id = request.attachment_id()?;
    let path = request.env.get("CNI_NETNS").unwrap_or_default();
    let mut inside = Container::open(path, request.env.netns_override())?;
    let netns = namespaces::record(path, &inside.netns, &inside.home)?;
    let ifname = id.ifname.as_str();
    let target = match (wanted.concerns_link(), wanted.mtu) {
        (true, Some(_)) => Some(Ends::find(host, &mut inside, ifname)?),
        // Nothing else concerns the host's end.
        (true, None) => Some(Ends::of_container(&mut inside, ifname)?),
        (false, _) => None,
    };
    let mut before = before(&inside, ifname, target.as_ref(), wanted)?;
    let mut previous = None;
    let record = host.store.write(|transaction| {
        let there = transaction.attachment(&id)?;
        let mut record = there.unwrap_or_else(|| foreign(&id, plugin, &netns));
        share_originals(transaction, &record, &mut before)?;
        previous = record.settings().cloned();
        let first = record.take_settings();
        record.set_addition(Addition::Settings(merged(first, before.clone())));
        transaction.replace_attachment(&record)?;
        Ok::<_, StoreError>(record)
    })?;
    let applied = measure(Phase::Settings, || {
        apply(host, &mut inside, target.as_ref(), wanted)
    });
    if let Err(error) = applied {
        // What an earlier call has set stays.
        let put_back = |record: &mut AttachmentRecord| {
            record.take_settings();
            record
                .additions
                .extend(previous.clone().map(Addition::Settings));
        };
        let restored =
            restore(host, &record, &before).and_then(|()| withdraw(host, &id, &put_back));
        return Err(with_cleanup_failure(error, restored.err()));
    }
    if let Some(target) = &target {
        tell(&mut result, target, wanted);
    }
    Ok(result)
}

fn before(
    inside: &Container,
    ifname: &str,
    target: Option<&Ends>,
    wanted: &Tuning,
) -> Result<TuningRecord, WeftError> {
    let of_namespace = TuningRecord {
        ifname: ifname.to_owned(),
        sysctls: originals(inside, &wanted.sysctls)?,
        wanted_sysctls: wanted.sysctls.to_list(),
        ..TuningRecord::default()
    };
    let Some(target) = target else {
        return Ok(of_namespace);
    };
    let own = &target.own;
    let peer = target.peer.as_ref();
    Ok(TuningRecord {
        mac: wanted.mac.and(own.mac),
        mtu: wanted.mtu.map(|_| own.mtu),
        host_mtu: wanted
            .mtu
            .and_then(|_| peer.map(|peer| (peer.name.clone(), peer.mtu))),
        promiscuous: wanted.promiscuous.map(|_| own.is_promiscuous),
        all_multicast: wanted.all_multicast.map(|_| own.is_all_multicast),
        tx_queue_len: wanted.tx_queue_len.map(|_| own.tx_queue_len),
        ..of_namespace
    })
}

/// What was noted first was there before anybody changed it.
fn merged(first: Option<TuningRecord>, second: TuningRecord) -> TuningRecord {
    let Some(mut first) = first else {
        return second;
    };
    for (name, value) in second.sysctls {
        if !first.sysctls.iter().any(|(there, _)| *there == name) {
            first.sysctls.push((name, value));
        }
    }
    let is_set_again = |name: &String| second.wanted_sysctls.iter().any(|(again, _)| again == name);
    first.wanted_sysctls.retain(|(name, _)| !is_set_again(name));
    first.wanted_sysctls.extend(second.wanted_sysctls);
    TuningRecord {
        ifname: second.ifname,
        sysctls: first.sysctls,
        wanted_sysctls: first.wanted_sysctls,
        mac: first.mac.or(second.mac),
        mtu: first.mtu.or(second.mtu),
        host_mtu: first.host_mtu.or(second.host_mtu),
        promiscuous: first.promiscuous.or(second.promiscuous),
        all_multicast: first.all_multicast.or(second.all_multicast),
        tx_queue_len: first.tx_queue_len.or(second.tx_queue_len),
    }
}

fn apply(
    host: &mut Host,
    inside: &mut Container,
    target: Option<&Ends>,
    wanted: &Tuning,
) -> Result<(), WeftError> {
    wanted.sysctls.apply(inside)?;
    let Some(target) = target else {
        return Ok(());
    };
    let mut batch = Batch::new();
    wanted.change().apply(&target.own.name, &mut batch);
    inside.route.commit(batch)?;
    if let (Some(mtu), Some(peer)) = (wanted.mtu, &target.peer) {
        let mut batch = Batch::new();
        let change = Change {
            mtu: Some(mtu),
            ..Change::default()
        };
        change.apply(&peer.name, &mut batch);
        host.route()?.commit(batch)?;
    }
    Ok(())
}

/// The result says what is now.
fn tell(result: &mut CniResult, target: &Ends, wanted: &Tuning) {
    for interface in &mut result.interfaces {
        let is_own = interface.name == target.own.name && !interface.sandbox.is_empty();
        let is_peer = target
            .peer
            .as_ref()
            .is_some_and(|peer| peer.name == interface.name && interface.sandbox.is_empty());
        if let Some(mac) = wanted.mac.filter(|_| is_own) {
            interface.mac = mac.to_string();
        }
        if is_own || is_peer {
            interface.mtu = wanted.mtu.or(interface.mtu);
        }
    }
}

fn forget(host: &mut Host, record: &AttachmentRecord) -> Result<(), WeftError> {
    withdraw(host, &record.id, &|record| drop(record.take_settings()))
}

/// Puts everything back. Without a record there is nothing that could be put back.
///
/// # Errors
/// Only what could not be put back.
pub(crate) fn del(host: &mut Host, request: &Request) -> Result<(), WeftError> {
    let records = recorded(host, request)?.records;
    let mut errors = Vec::new();
    for record in &records {
        let Some(settings) = record.settings() else {
            continue;
        };
        let restored = restore(host, record, settings);
        errors.extend(restored.and_then(|()| forget(host, record)).err());
    }
    WeftError::collect("DEL", errors)
}

/// Compares the interface and its namespace with the configuration.
///
/// # Errors
/// [`WeftError::Differs`] with every difference.
pub(crate) fn check(host: &mut Host, request: &Request, wanted: &Tuning) -> Result<(), WeftError> {
    require_prev_result(request)?;
    if wanted.is_nothing() {
        return Ok(());
    }
    let id = request.attachment_id()?;
    let path = request.env.get("CNI_NETNS").unwrap_or_default();
    let mut inside = Container::open(path, request.env.netns_override())?;
    let mut found = Differences::default();
    let there = host.store.read(|transaction| transaction.attachment(&id))?;
    if there.is_none_or(|record| record.settings().is_none()) {
        found.add("no record of its tuning in Weft's store");
    }
    let name = id.ifname.as_str();
    if wanted.concerns_link() {
        if link::find(&mut inside.route, name)?.is_none() {
            found.add(format!("interface {name} is missing in the container"));
            return found.into_result(&id);
        }
        let target = Ends::find(host, &mut inside, name)?;
        check_link(&mut found, name, &target, wanted);
    }
    check_sysctls(&mut found, &inside, wanted)?;
    found.into_result(&id)
}

fn compare(found: &mut Differences, what: &str, actual: Option<String>, wanted: Option<String>) {
    if let Some(wanted) = wanted.filter(|wanted| actual.as_ref() != Some(wanted)) {
        let actual = actual.unwrap_or_default();
        found.add(format!("{what} is {actual} instead of {wanted}"));
    }
}

fn check_link(found: &mut Differences, name: &str, target: &Ends, wanted: &Tuning) {
    let own = &target.own;
    let mut compare = |what: &str, actual, wanted| compare(found, what, actual, wanted);
    let text = |value: Option<u32>| value.map(|value| value.to_string());
    let flag = |value: Option<bool>| value.map(|value| value.to_string());
    let own_mac = own.mac.map(|mac| mac.to_string());
    compare(
        &format!("MAC of {name}"),
        own_mac,
        wanted.mac.map(|mac| mac.to_string()),
    );
    compare(
        &format!("MTU of {name}"),
        text(Some(own.mtu)),
        text(wanted.mtu),
    );
    if let Some(peer) = &target.peer {
        let what = format!("MTU of {}", peer.name);
        compare(&what, text(Some(peer.mtu)), text(wanted.mtu));
    }
    let length = text(Some(own.tx_queue_len));
    compare(
        &format!("txQLen of {name}"),
        length,
        text(wanted.tx_queue_len),
    );
    let promiscuous = flag(Some(own.is_promiscuous));
    compare(
        &format!("promisc of {name}"),
        promiscuous,
        flag(wanted.promiscuous),
    );
    let multicast = flag(Some(own.is_all_multicast));
    compare(
        &format!("allmulti of {name}"),
        multicast,
        flag(wanted.all_multicast),
    );
}

fn check_sysctls(
    found: &mut Differences,
    inside: &Container,
    wanted: &Tuning,
) -> Result<(), WeftError> {
    let values = inside.run(|| {
        let read = |(name, wanted): (&str, &str)| {
            let actual = sysctl::read(name).ok();
            (name.to_owned(), actual, wanted.to_owned())
        };
        wanted.sysctls.iter().map(read).collect::<Vec<_>>()
    })?;
    for (name, actual, wanted) in values {
        // Lists of numbers are shown with tabs, however they were written.
        let words = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let what = format!("sysctl {name}");
        compare(found, &what, actual.map(words), Some(words(wanted)));
    }
    Ok(())
}
