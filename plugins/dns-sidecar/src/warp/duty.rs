//! The route manager: what is known of containers becomes rules and routes in their namespaces.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::time::Instant;

use anyhow::Result;
use tokio::sync::mpsc::UnboundedSender;
use weft_attach::steps::warp::{Namespace, open_for};
use weft_cni::AttachmentId;
use weft_node::{Host, HostConfig};
use weft_warp::{
    Class, Container, ContainerId, Engine, NetnsPlace, Plan, Source, TargetPlan, WarpConfig,
};

use super::figures::Figures;
use super::managed::{Managed, is_alive, is_there, now, say};
use super::newborn::{Awaited, Newborn};
use super::record::{Record, Records};
use super::source::{Said, SourceState};
use super::watching::{Noticed, watch_namespace, watch_process};

/// Everything that is known and done.
#[derive(Debug)]
pub(super) struct Duty {
    pub(super) engine: Engine,
    pub(super) managed: BTreeMap<ContainerId, Managed>,
    pub(super) sources: BTreeMap<Source, SourceState>,
    pub(super) figures: Figures,
    /// `weft warp off` took everything away.
    pub(super) is_off: bool,
    host: Host,
    records: Records,
    /// Containers that runtimes have listed, and which of them have.
    listed: BTreeSet<ContainerId>,
    complete: BTreeSet<Source>,
    awaited: Awaited,
    noticed: UnboundedSender<Noticed>,
}

impl Duty {
    pub(super) fn new(
        config: WarpConfig,
        host: &HostConfig,
        awaited: Awaited,
        noticed: UnboundedSender<Noticed>,
    ) -> Result<Self> {
        Ok(Self {
            engine: Engine::new(config),
            managed: BTreeMap::new(),
            sources: BTreeMap::new(),
            figures: Figures::default(),
            is_off: false,
            host: Host::open(host),
            records: Records::open(&host.state_dir)?,
            listed: BTreeSet::new(),
            complete: BTreeSet::new(),
            awaited,
            noticed,
        })
    }

    /// A source has said something.
    pub(super) fn hear(&mut self, said: Said) {
        tracing::debug!("heard: {said:?}");
        match said {
            Said::Container(id, container, at) => {
                self.figures.events += 1;
                let changed = self.engine.put(id.clone(), *container);
                self.settle(changed);
                let is_concerned = self.managed.contains_key(&id);
                if let Some(at) = at.filter(|_| is_concerned) {
                    self.figures.reacted(at);
                }
            }
            Said::Created(id, mut container) => {
                self.figures.events += 1;
                let known = self.engine.container(&id);
                // An event may be told twice.
                if known.is_some_and(|one| one.is_running) {
                    return;
                }
                // Its namespace may be known before it is said to run.
                if let Some(known) = known {
                    container.netns.clone_from(&known.netns);
                    container.pid = known.pid;
                }
                let changed = self.engine.put(id, *container);
                self.settle(changed);
            }
            Said::Listed(id, container) => {
                if self.engine.container(&id).is_none() {
                    let changed = self.engine.put(id, *container);
                    self.settle(changed);
                }
            }
            Said::Stopped(id) => {
                self.figures.events += 1;
                // One that is told late is of a life before.
                let pid = self.engine.container(&id).and_then(|one| one.pid);
                if !pid.is_some_and(is_alive) {
                    self.stopped(&id);
                }
            }
            Said::Gone(id) => {
                self.figures.events += 1;
                self.listed.remove(&id);
                let changed = self.engine.remove(&id);
                self.settle(changed);
            }
            Said::Complete(source, ids) => self.complete(source, &ids),
            Said::State(state) => drop(self.sources.insert(state.source, state)),
            Said::Failed(id, why) => {
                self.figures.failures += 1;
                tracing::warn!("{id}: it cannot be looked at: {why}");
            }
        }
    }

    /// A container that runs no more has no namespace.
    pub(super) fn stopped(&mut self, id: &ContainerId) {
        let Some(known) = self.engine.container(id) else {
            return;
        };
        let container = Container {
            netns: None,
            pid: None,
            is_running: false,
            ..known.clone()
        };
        let changed = self.engine.put(id.clone(), container);
        self.settle(changed);
    }

    /// Containers that a source does not know any more are gone.
    fn complete(&mut self, source: Source, ids: &BTreeSet<String>) {
        self.listed.retain(|id| id.source != source);
        let listed = ids.iter().cloned();
        self.listed
            .extend(listed.map(|id| ContainerId { source, id }));
        self.complete.insert(source);
        let gone: Vec<ContainerId> = (self.engine.ids())
            .filter(|id| id.source == source && !ids.contains(&id.id))
            .cloned()
            .collect();
        for id in gone {
            let changed = self.engine.remove(&id);
            self.settle(changed);
        }
    }

    /// A namespace has come.
    pub(super) fn born(&mut self, newborn: Newborn) {
        tracing::debug!("a namespace has come: {newborn:?}");
        let id = ContainerId {
            source: newborn.source,
            id: newborn.id,
        };
        let Some(known) = self.engine.container(&id) else {
            return;
        };
        // That of a life which is over may not have been told of yet.
        let is_another =
            |place: &NetnsPlace| (place.dev, place.ino) != (newborn.place.dev, newborn.place.ino);
        let is_old = !known.is_running
            || (known.netns.as_ref()).is_some_and(|place| is_another(place) && !is_there(place));
        if !is_old || known.borrows.is_some() {
            return;
        }
        let container = Container {
            netns: Some(newborn.place),
            pid: Some(newborn.pid),
            is_running: false,
            // Its addresses are those of its life before.
            networks: BTreeMap::new(),
            ..known.clone()
        };
        let changed = self.engine.put(id, container);
        self.settle(changed);
    }

    /// Something has changed in a namespace, or a process has ended.
    pub(super) fn notice(&mut self, noticed: &Noticed) {
        match noticed {
            Noticed::Changed(id) => self.settle_one(id, true),
            Noticed::Ended(id, pid) => {
                let container = self.engine.container(id);
                if container.is_some_and(|one| one.pid == Some(*pid)) {
                    self.stopped(id);
                }
            }
        }
    }

    /// Everything is looked at again.
    pub(super) fn audit(&mut self) {
        let all: BTreeSet<ContainerId> = self.engine.ids().cloned().collect();
        let gone: Vec<ContainerId> = (self.managed.iter())
            .filter(|(_, managed)| !is_there(&managed.place))
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            self.stopped(&id);
        }
        for id in self.in_order(all) {
            self.settle_one(&id, true);
        }
        self.clear_forgotten();
    }

    /// Namespaces that are noted, and are those of no gateway or target any more.
    pub(super) fn clear_forgotten(&mut self) {
        let managed: BTreeSet<(u64, u64)> = (self.managed.values())
            .map(|one| (one.place.dev, one.place.ino))
            .collect();
        for record in self.records.all() {
            let place = record.place();
            if managed.contains(&(place.dev, place.ino)) {
                continue;
            }
            match Namespace::open(&place) {
                Ok(None) => self.records.remove(&place),
                Ok(Some(mut namespace)) if self.is_nobodys(&record) => {
                    match namespace.clear(&record.forwarding) {
                        Ok(done) => {
                            self.figures.changes += done.changes as u64;
                            self.records.remove(&place);
                        }
                        Err(error) => tracing::warn!("{}: {error}", record.name),
                    }
                }
                Ok(Some(_)) => {}
                Err(error) => tracing::warn!("{}: {error}", record.name),
            }
        }
    }

    /// Whether it is sure that a namespace is no target's and no gateway's: a container that could not be looked at may be
    /// one.
    fn is_nobodys(&self, record: &Record) -> bool {
        let id = &record.id;
        if self.engine.container(id).is_some() {
            return self.plan(id) == Plan::Nothing;
        }
        self.complete.contains(&id.source) && !self.listed.contains(id)
    }

    /// Makes what is wanted in the namespaces of these containers.
    pub(super) fn settle(&mut self, changed: BTreeSet<ContainerId>) {
        for id in self.in_order(changed) {
            self.settle_one(&id, false);
        }
    }

    /// What closes comes first, then gateways, then what leads to them.
    fn in_order(&self, ids: BTreeSet<ContainerId>) -> Vec<ContainerId> {
        let mut all: Vec<ContainerId> = ids.into_iter().collect();
        all.sort_by_cached_key(|id| match self.plan(id) {
            Plan::Target(plan) if plan.hops.is_empty() => 0,
            Plan::Nothing => 1,
            Plan::Gateway(_) => 2,
            Plan::Target(_) => 3,
        });
        all
    }

    pub(super) fn plan(&self, id: &ContainerId) -> Plan {
        // Containers of CNI are switched by their network's configuration.
        match self.is_off && id.source != Source::Cni {
            true => Plan::Nothing,
            false => self.engine.plan(id),
        }
    }

    /// Whether weft-warp was called for the container in a namespace: its words count, not those of its runtime.
    fn is_claimed(&self, id: &ContainerId, place: &NetnsPlace) -> bool {
        let is_same =
            |managed: &Managed| (managed.place.dev, managed.place.ino) == (place.dev, place.ino);
        let mut all = self.managed.iter();
        id.source != Source::Cni
            && all.any(|(other, managed)| other.source == Source::Cni && is_same(managed))
    }

    fn settle_one(&mut self, id: &ContainerId, is_looked_at: bool) {
        let plan = self.plan(id);
        let container = self.engine.container(id).cloned().unwrap_or_default();
        let place = container.netns.clone();
        if place
            .as_ref()
            .is_some_and(|place| self.is_claimed(id, place))
        {
            self.managed.remove(id);
            return;
        }
        let number = |place: &NetnsPlace| (place.dev, place.ino);
        let is_same = |managed: &Managed| {
            plan != Plan::Nothing && place.as_ref().map(number) == Some(number(&managed.place))
        };
        if let Some(old) = self.managed.remove(id) {
            if is_same(&old) {
                let is_done = old.plan == plan && old.error.is_none() && !is_looked_at;
                self.managed.insert(id.clone(), old);
                if is_done {
                    return;
                }
            } else if plan == Plan::Nothing {
                self.leave(&container.name, old);
            }
            // A namespace whose container is said to have stopped is not opened for what may still be in it.
        }
        let Some(place) = place.filter(|_| plan != Plan::Nothing) else {
            return;
        };
        match self.make(id, &container, place, plan) {
            Ok(()) => {}
            Err(error) => {
                self.figures.failures += 1;
                let text = format!("{error:#}");
                if let Some(managed) = self.managed.get_mut(id) {
                    if managed.error.as_ref() == Some(&text) {
                        return;
                    }
                    managed.error = Some(text.clone());
                }
                tracing::error!("{}: {text}", container.name);
            }
        }
    }

    /// A namespace is none of Weft's business any more: what there is of it goes, if it still lives.
    fn leave(&mut self, name: &str, mut managed: Managed) {
        let record = self.records.of(&managed.place);
        let forwarding = record.map(|record| record.forwarding).unwrap_or_default();
        let is_alive = is_there(&managed.place);
        let cleared = match is_alive {
            true => managed.namespace.clear(&forwarding).map(Some),
            false => Ok(None),
        };
        match cleared {
            Ok(done) => {
                self.figures.changes += done.map_or(0, |done| done.changes) as u64;
                self.records.remove(&managed.place);
            }
            Err(error) => tracing::warn!("{name}: {error}"),
        }
    }

    fn make(
        &mut self,
        id: &ContainerId,
        container: &Container,
        place: NetnsPlace,
        plan: Plan,
    ) -> Result<()> {
        let is_new = !self.managed.contains_key(id);
        if is_new {
            let Some(managed) = self.open(id, container, place, &plan)? else {
                return Ok(());
            };
            self.managed.insert(id.clone(), managed);
        }
        let Some(managed) = self.managed.get_mut(id) else {
            return Ok(());
        };
        let is_gateway = matches!(plan, Plan::Gateway(_));
        if id.source == Source::Cni && matches!(plan, Plan::Target(_)) {
            return self.make_attached(id, plan);
        }
        if managed.process.as_ref().map(|(pid, _)| *pid) != container.pid {
            let (pid, sender) = (container.pid, self.noticed.clone());
            managed.process = (pid.filter(|_| is_gateway))
                .map(|pid| (pid, watch_process(id.clone(), pid, sender)));
        }
        let done = match &plan {
            Plan::Target(plan) => managed.namespace.lead(plan)?,
            Plan::Gateway(plan) => managed.namespace.serve(plan)?,
            Plan::Nothing => return Ok(()),
        };
        self.figures.changes += done.changes as u64;
        let is_same = std::mem::replace(&mut managed.plan, plan) == managed.plan;
        if !is_new && (managed.has_gateway != done.has_gateway || !is_same) {
            managed.since = Instant::now();
        }
        managed.has_gateway = done.has_gateway;
        managed.error = None;
        if is_new && !is_gateway && !done.had_rules {
            managed.first_led = Some(now());
        }
        managed.judge(container);
        if is_new || (!is_gateway && !is_same) {
            say(container, managed);
        }
        Ok(())
    }

    /// The same of a container of CNI: it is closed, or led, before the ruleset is opened for it and its gateway, which may
    /// have to wait for others.
    fn make_attached(&mut self, id: &ContainerId, plan: Plan) -> Result<()> {
        let led = self.engine.led(id).cloned();
        let network = led.as_ref().and_then(|led| led.networks.first());
        let attachment = |id: &ContainerId, network: &str| -> Result<Option<AttachmentId>> {
            let container = weft_cni::ContainerId::try_from(id.id.as_str())?;
            let records =
                (self.host.store).read(|transaction| transaction.attachments_of_id(&container))?;
            let found = records
                .into_iter()
                .find(|one| one.id.network.as_str() == network);
            Ok(found.map(|one| one.id))
        };
        let pair = match (&led, network) {
            (Some(led), Some(network)) => {
                attachment(id, network)?.zip(attachment(&led.by, network)?)
            }
            _ => None,
        };
        let container = weft_cni::ContainerId::try_from(id.id.as_str())?;
        let own: Vec<AttachmentId> = (self.host.store)
            .read(|transaction| transaction.attachments_of_id(&container))?
            .into_iter()
            .filter(|one| one.warp().is_some())
            .map(|one| one.id)
            .collect();
        if let Some(managed) = self.managed.get_mut(id)
            && let Plan::Target(target) = &plan
        {
            let done = managed.namespace.lead(target)?;
            self.figures.changes += done.changes as u64;
            if managed.has_gateway != done.has_gateway || managed.plan != plan {
                managed.since = Instant::now();
            }
            managed.has_gateway = done.has_gateway;
            managed.plan = plan;
            managed.error = None;
        }
        if let Some((target, gateway)) = &pair {
            open_for(&mut self.host, target, Some(gateway))?;
        }
        for other in own {
            if pair.as_ref().is_none_or(|(target, _)| *target != other) {
                open_for(&mut self.host, &other, None)?;
            }
        }
        Ok(())
    }

    fn open(
        &self,
        id: &ContainerId,
        container: &Container,
        place: NetnsPlace,
        plan: &Plan,
    ) -> Result<Option<Managed>> {
        let Some(namespace) = Namespace::open(&place)? else {
            return Ok(None);
        };
        // The number may have been another namespace's.
        let is_noted = |record: &Record| record.path == place.path && record.id == *id;
        if !self.records.of(&place).as_ref().is_some_and(is_noted) {
            let forwarding = match plan {
                Plan::Gateway(_) => namespace.forwarding()?,
                Plan::Target(_) | Plan::Nothing => Vec::new(),
            };
            self.records.write(&Record {
                id: id.clone(),
                name: container.name.clone(),
                path: place.path.clone(),
                dev: place.dev,
                ino: place.ino,
                forwarding,
            })?;
        }
        let is_gateway = matches!(plan, Plan::Gateway(_));
        let watch = watch_namespace(id.clone(), &namespace, is_gateway, self.noticed.clone());
        Ok(Some(Managed {
            place,
            namespace,
            _watch: watch,
            process: None,
            plan: plan.clone(),
            since: Instant::now(),
            has_gateway: false,
            error: None,
            first_led: None,
            exposed: None,
        }))
    }

    /// Says which namespaces need not be looked at.
    pub(super) fn expect(&self) {
        let mut expected = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        // While a runtime is away it does not say which of its containers have ended.
        let is_away = self.sources.values().any(|one| one.error.is_some());
        let mut all = self.engine.concerned();
        expected.is_anyone_awaited =
            is_away || all.any(|(_, one, ..)| one.netns.is_none() && !one.is_running);
        let places = (self.engine.ids())
            .filter_map(|id| self.engine.container(id).filter(|one| one.is_running))
            .filter_map(|one| one.netns.as_ref());
        expected.known = places.map(|place| (place.dev, place.ino)).collect();
    }

    /// The plan of a target, and what its namespace is like.
    pub(super) fn wiring(&mut self, id: &ContainerId) -> Option<(TargetPlan, weft_warp::Wiring)> {
        let Plan::Target(plan) = self.plan(id) else {
            return None;
        };
        let managed = self.managed.get_mut(id);
        let wiring = managed.and_then(|one| one.namespace.wiring().ok());
        Some((plan, wiring.unwrap_or_default()))
    }

    /// Takes everything away, or puts it back.
    pub(super) fn switch(&mut self, is_off: bool) {
        self.is_off = is_off;
        let all = self.engine.ids().cloned().collect();
        self.settle(all);
        if is_off {
            self.clear_forgotten();
        }
    }

    /// Runtimes that are not asked any more tell of no containers.
    pub(super) fn forget_sources(&mut self, asked: &BTreeSet<Source>) {
        self.sources.retain(|source, _| asked.contains(source));
        for source in [Source::Docker, Source::Podman] {
            if !asked.contains(&source) {
                self.complete(source, &BTreeSet::new());
            }
        }
    }

    /// Another configuration.
    pub(super) fn configure(&mut self, config: WarpConfig) {
        let changed = self.engine.configure(config);
        self.settle(changed);
    }

    /// Why something is not as it should be.
    pub(super) fn problem(&self, id: &ContainerId) -> Option<String> {
        let error = self.managed.get(id).and_then(|one| one.error.clone());
        error.or_else(|| match self.engine.plan(id) {
            Plan::Target(plan) => plan.missing,
            Plan::Gateway(plan) => plan.problem,
            Plan::Nothing => None,
        })
    }

    /// Whether a container is led by a gateway that it can reach, or is one.
    pub(super) fn is_right(&self, id: &ContainerId, class: &Class) -> bool {
        let managed = self.managed.get(id);
        managed.is_some_and(|one| match class {
            Class::Gateway(_) => one.error.is_none(),
            Class::Target(_) => one.error.is_none() && one.has_gateway,
            Class::Broken(_) | Class::Other => false,
        })
    }
}
