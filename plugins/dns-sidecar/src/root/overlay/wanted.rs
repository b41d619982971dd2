//! What is wanted of the kernel, and how each overlay is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::Result;
use weft_api::daemon::OverlayLine;
use weft_overlay::exchange::{Learned, Own};
use weft_overlay::underlay::{Chosen, Interface};
use weft_overlay::{Key, Objects, Overlay, Overlays, Step, Value, desired, underlay};

use super::kernel::Kernel;
use super::own::{self, Container};

/// What is wanted.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) objects: Objects,
    /// By interface: the address of this host that its MAC follows from.
    pub(super) locals: BTreeMap<String, IpAddr>,
    /// Interfaces of overlays of which it cannot be told what they are to be like: they stay.
    pub(super) kept: BTreeSet<String>,
    /// The same of routing tables.
    pub(super) kept_tables: BTreeSet<u32>,
    /// What other hosts are to be told.
    pub(super) own: Own,
    pub(super) lines: Vec<OverlayLine>,
}

impl Wanted {
    /// Everything that the file wants. `before` is what other hosts were told last.
    pub(super) fn of(
        overlays: &Overlays,
        learned: &Learned,
        (before, containers): (&Own, &[Container]),
        kernel: &mut Kernel,
    ) -> Result<Self> {
        let mut wanted = Self::default();
        if overlays.overlay.is_empty() {
            return Ok(wanted);
        }
        let interfaces = kernel.interfaces()?;
        let replaces = |one: &&Overlay| one.routing.import.install.replace_existing;
        let tables = overlays.overlay.iter().filter(replaces).map(Overlay::table);
        kernel.replaceable = tables.collect();
        let mut chosen = BTreeMap::new();
        for overlay in &overlays.overlay {
            let mut line = line_of(overlay);
            line.control = overlays.security.control_plane.as_ref().map(|plane| {
                let word = if plane.insecure { "insecure" } else { "tls" };
                word.to_owned()
            });
            match underlay::choose(overlay, &interfaces) {
                Ok(one) => {
                    chosen.insert(overlay.vni, one);
                }
                Err(why) => {
                    line.troubles.push(why);
                    wanted.keep(overlay);
                }
            }
            wanted.lines.push(line);
        }
        let (own, troubles) = own::own(overlays, &chosen, containers, kernel)?;
        wanted.own = own;
        wanted.keep_own(overlays, &chosen, before);
        let learned = match overlays.speaks() {
            true => learned.trusted(overlays, &wanted.own),
            false => Learned::default(),
        };
        let mut ids = BTreeSet::new();
        for overlay in &overlays.overlay {
            if let Some(chosen) = chosen.get(&overlay.vni) {
                wanted.add(overlays, overlay, chosen, &learned, &mut ids);
                if !kernel.can_answer(&overlay.bridge.name)? {
                    wanted.let_questions_out(overlay);
                }
            }
        }
        if let Err(error) = kernel.forward(&overlays.overlay) {
            let routed = wanted.lines.iter_mut().filter(|line| line.mode == "routed");
            routed.for_each(|line| line.troubles.push(format!("{error:#}")));
        }
        wanted.note_clashes(&interfaces, overlays);
        for (vni, text) in troubles {
            let mut lines = wanted.lines.iter_mut();
            if let Some(line) = lines.find(|line| line.vni == vni) {
                line.troubles.push(text);
            }
        }
        Ok(wanted)
    }

    fn add(
        &mut self,
        overlays: &Overlays,
        overlay: &Overlay,
        chosen: &Chosen,
        learned: &Learned,
        ids: &mut BTreeSet<u32>,
    ) {
        let (objects, problems) = desired::objects(
            overlay,
            (chosen, &self.own.locals),
            &overlays.peer,
            learned,
            ids,
        );
        self.objects.extend(objects);
        let own = [overlay.device(), overlay.bridge.name.clone()];
        self.locals.extend(own.map(|name| (name, chosen.local)));
        let mut lines = self.lines.iter_mut();
        if let Some(line) = lines.find(|line| line.vni == overlay.vni) {
            let peers = overlays.peer.iter().filter(|peer| peer.is_in(overlay.vni));
            let others = peers.filter(|peer| peer.address != chosen.local);
            line.peers = others
                .map(|one| format!("{} {}", one.id, one.address))
                .collect();
            line.troubles.extend(problems);
            (line.local, line.mtu) = (Some(chosen.local), chosen.mtu);
            line.underlay.clone_from(&chosen.interface);
        }
    }

    /// Containers that weft-bridge has plugged in ask other hosts, as on any bridge.
    fn let_questions_out(&mut self, overlay: &Overlay) {
        let port = self.objects.get_mut(&Key::Port(overlay.device()));
        if let Some(Value::Port { suppresses, .. }) = port {
            *suppresses = false;
        }
    }

    /// Other hosts are told the same as before of what cannot be told at the moment.
    fn keep_own(&mut self, overlays: &Overlays, chosen: &BTreeMap<u32, Chosen>, before: &Own) {
        let is_kept = |vni: &u32| !chosen.contains_key(vni) && overlays.of(*vni).is_some();
        let routes = before.routes.iter().filter(|one| is_kept(&one.vni));
        self.own.routes.extend(routes.cloned());
        let ends = before.ends.iter().filter(|one| is_kept(&one.vni));
        self.own.ends.extend(ends.cloned());
        if before.routes.iter().any(|one| is_kept(&one.vni)) {
            self.own.locals.extend(before.locals.iter().copied());
        }
    }

    fn keep(&mut self, overlay: &Overlay) {
        self.kept
            .extend([overlay.device(), overlay.bridge.name.clone()]);
        self.kept_tables.insert(overlay.table());
    }

    /// Another interface of the host has addresses of an overlay.
    fn note_clashes(&mut self, interfaces: &[Interface], overlays: &Overlays) {
        for overlay in &overlays.overlay {
            let networks = overlay
                .subnets()
                .into_iter()
                .chain(overlay.networks.iter().copied());
            let networks: Vec<_> = networks.collect();
            let is_other = |one: &&Interface| {
                one.name != overlay.bridge.name
                    && one.name != overlay.device()
                    && one
                        .addresses
                        .iter()
                        .any(|ip| networks.iter().any(|net| net.contains(*ip)))
            };
            let is_routed_bridge = |one: &&Interface| {
                !overlays
                    .overlay
                    .iter()
                    .any(|other| other.bridge.name == one.name)
            };
            let found = interfaces.iter().filter(is_other).find(is_routed_bridge);
            let mut lines = self.lines.iter_mut();
            if let (Some(one), Some(line)) = (found, lines.find(|line| line.vni == overlay.vni)) {
                line.troubles.push(format!(
                    "{} has an address of the overlay: packets to it would not take the overlay's way",
                    one.name
                ));
            }
        }
    }

    /// Interfaces of these names that Weft has not made, and that are something else, are nobody's to change.
    pub(super) fn leave_others(
        &mut self,
        seen: &Objects,
        own: &BTreeSet<String>,
        strangers: &BTreeSet<String>,
    ) {
        let is_taken = |key: &&Key| {
            let name = key.link();
            let is_there = |kind: fn(String) -> Key| seen.contains_key(&kind(name.to_owned()));
            let is_device = matches!(key, Key::Vxlan(_));
            // A bridge of others is used, as a bridge.
            let is_others = is_there(Key::Vxlan) || (is_device && is_there(Key::Bridge));
            key.is_link() && (strangers.contains(name) || (is_others && !own.contains(name)))
        };
        let taken: Vec<String> = (self.objects.keys().filter(is_taken))
            .map(|key| key.link().to_owned())
            .collect();
        self.kept.extend(taken.iter().cloned());
        for name in taken {
            self.objects.retain(|key, _| key.link() != name);
            let mut lines = self.lines.iter_mut();
            let line = lines.find(|line| line.name == name || line.bridge == name);
            if let Some(line) = line {
                line.troubles.push(format!(
                    "{name} is there, and Weft has not made it: remove it, or give the overlay another name"
                ));
            }
        }
    }

    pub(super) fn note(&mut self, step: &Step, error: &anyhow::Error) {
        let (Step::Make(key, _) | Step::Change(key, _) | Step::Remove(key)) = step;
        let name = key.link();
        let mut lines = self.lines.iter_mut();
        let found = lines.find(|line| line.name == name || line.bridge == name);
        // A rule is on no interface.
        let line = match found {
            Some(line) => Some(line),
            None => self.lines.first_mut(),
        };
        if let Some(line) = line {
            line.troubles.push(format!("{step}: {error:#}"));
        }
    }
}

fn line_of(overlay: &Overlay) -> OverlayLine {
    let addresses = overlay.addresses();
    OverlayLine {
        name: overlay.device(),
        vni: overlay.vni,
        mode: match overlay.mode.is_routed() {
            true => "routed".to_owned(),
            false => "l2".to_owned(),
        },
        bridge: overlay.bridge.name.clone(),
        addresses: addresses.iter().map(ToString::to_string).collect(),
        networks: (overlay.networks.iter())
            .chain(&overlay.routing.import.allow)
            .map(ToString::to_string)
            .collect(),
        containers: overlay.containers.iter().map(ToString::to_string).collect(),
        port: overlay.port,
        ..OverlayLine::default()
    }
}
