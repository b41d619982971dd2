//! An interface on a parent: macvlan, ipvlan.

use ipnetwork::IpNetwork;
use weft_cni::Mac;
use weft_cni::result::{Interface, Route};
use weft_kernel::child::{ChildKind, has_driver};
use weft_kernel::link;
use weft_node::names::{alias, alternative_name, host_access_name};
use weft_node::{Container, Host, WeftError};
use weft_store::{
    AddressRecord, AttachmentRecord, ContainerLink, HostRoute, LinkRecord, ParentRecord,
    SharedObject, Transaction,
};

use super::{Checking, LinkKind, Making, NetworkState, PreparedLink};
use crate::add::{Leased, container_interface, default_routes};
use crate::differences::Differences;
use crate::plan::{ChildPlan, HostAccess, Plan};
use crate::status::{suffering, unavailable};
use crate::steps::container::{self, Settings};
use crate::steps::parent::{self, Parent};
use crate::steps::{Created, child, host_access};

impl LinkKind for ChildPlan {
    fn look<'a>(
        &'a self,
        host: &mut Host,
        plan: &'a Plan,
        inside: &mut Container,
    ) -> Result<Box<dyn PreparedLink + 'a>, WeftError> {
        let parent = parent::look(host, Some(inside), self)?;
        // The tagged interface, if it has addresses; else the one that carries it.
        let mut sources = host_access::sources(host, self, parent.link())?;
        if sources.is_empty() {
            sources = host_access::sources(host, self, Some(&parent.master))?;
        }
        Ok(Box::new(Child {
            plan,
            wanted: self,
            parent,
            sources,
        }))
    }

    /// The parent, the interface on it, and the host's way to the container.
    fn check(&self, checking: &mut Checking<'_>) -> Result<(), WeftError> {
        let LinkRecord::OnParent {
            own,
            parent,
            host_routes,
        } = &checking.record.link
        else {
            return Ok(());
        };
        let mut parent_index = None;
        if !parent.in_container {
            let there = link::find(checking.host.route()?, &parent.name)?;
            parent_index = there.as_ref().map(|there| there.index);
            match there {
                None => checking
                    .found
                    .add(format!("master {} is missing", parent.name)),
                Some(there) if !there.is_up => {
                    checking
                        .found
                        .add(format!("master {} is down", parent.name));
                }
                Some(_) => {}
            }
        }
        let missing = host_access::missing(checking.host, host_routes)?;
        checking.found.extend(missing);
        match &mut checking.inside {
            Some(inside) => check_inside(checking.found, inside, own, (parent, parent_index)),
            None => Ok(()),
        }
    }

    fn status(&self, host: &mut Host, network: &NetworkState<'_>) -> Result<(), WeftError> {
        let kinds = [Some(self.kind), self.vlan.map(|id| ChildKind::Vlan { id })];
        for kind in kinds.into_iter().flatten() {
            if !has_driver(host.route()?, kind)? {
                return Err(unavailable(WeftError::NoDriver(kind)));
            }
        }
        // Another container's namespace cannot be looked into in advance.
        if self.link_in_container {
            return Ok(());
        }
        let has_containers = || {
            network
                .records
                .iter()
                .any(|record| record.link.parent().is_some())
        };
        let found = match parent::look(host, None, self) {
            Ok(found) => found,
            Err(error) if has_containers() => {
                return suffering(format!("{error}, and has containers"));
            }
            Err(error) => return Err(unavailable(error)),
        };
        if !found.master.is_up {
            tracing::warn!(
                master = found.master.name,
                "is down: its containers reach nothing beyond it"
            );
        }
        let refused = host
            .store
            .read(|transaction| parent::refuse_other_modes(transaction, found.name(), self.kind));
        refused.map_err(unavailable)
    }

    /// Where nothing answers ARP, everything is on the link.
    fn gateway(&self, one: &AddressRecord) -> Option<std::net::IpAddr> {
        one.gateway.filter(|_| !self.is_routed())
    }

    fn is_seen_inside_only(&self) -> bool {
        true
    }
}

/// Driver, mode and parent of the interface in the container.
fn check_inside(
    found: &mut Differences,
    inside: &mut Container,
    own: &ContainerLink,
    (parent, parent_index): (&ParentRecord, Option<u32>),
) -> Result<(), WeftError> {
    let Some(there) = link::find(&mut inside.route, &own.name)? else {
        return Ok(());
    };
    let Some(kind) = there.child.filter(|kind| kind.driver() == parent.driver) else {
        found.add(format!("interface {} is no {}", own.name, parent.driver));
        return Ok(());
    };
    let mode = parent::mode_words(kind);
    if mode != parent.mode {
        let (name, wanted) = (&own.name, &parent.mode);
        found.add(format!(
            "interface {name} is in mode {mode} instead of {wanted}"
        ));
    }
    if parent_index.is_some() && there.parent != parent_index {
        let (name, parent) = (&own.name, &parent.name);
        found.add(format!("interface {name} is not on {parent}"));
    }
    Ok(())
}

struct Child<'a> {
    plan: &'a Plan,
    wanted: &'a ChildPlan,
    parent: Parent,
    /// The host's addresses that containers may reach it by.
    sources: Vec<IpNetwork>,
}

impl Child<'_> {
    fn parent_mac(&self) -> Option<Mac> {
        self.parent.link().unwrap_or(&self.parent.master).mac
    }

    /// The container's MAC and that of the host's interface; routed ones need none.
    fn macs(&self, link: &str, own: &ContainerLink) -> Option<(Mac, Mac)> {
        if self.wanted.is_routed() {
            return None;
        }
        let host = match self.wanted.kind {
            ChildKind::Macvlan { .. } => host_access::mac(link),
            ChildKind::Ipvlan { .. } | ChildKind::Vlan { .. } => self.parent_mac()?,
        };
        Some((own.mac?, host))
    }

    /// The host's routes to the container, with what they share.
    fn host_routes(
        &self,
        own: &ContainerLink,
        record: &mut AttachmentRecord,
    ) -> Result<Vec<HostRoute>, WeftError> {
        if self.wanted.host_access == HostAccess::None {
            return Ok(Vec::new());
        }
        let link = host_access_name(self.parent.name());
        let macs = self.macs(&link, own);
        let routes = host_access::routes(&link, &self.sources, &record.addresses, macs)?;
        let addresses = routes.iter().map(|route| route.address);
        let shared = addresses.map(|address| SharedObject::HostRoute { address });
        record.shared.extend(shared);
        record.shared.push(SharedObject::HostAccess { link });
        Ok(routes)
    }

    /// The index of what the interface sits on, which is made if it is missing.
    fn ensure_parent(&self, host: &mut Host, created: &mut Created) -> Result<u32, WeftError> {
        match self.wanted.link_in_container {
            true => Ok(self.parent.master.index),
            false => parent::ensure(host, &self.parent, self.wanted.vlan, created),
        }
    }

    /// Makes the interface in the container; the index of what it sits on.
    fn make(&self, making: &mut Making<'_>, own: &ContainerLink) -> Result<u32, WeftError> {
        let index = self.ensure_parent(making.host, making.created)?;
        let new = child::NewChild {
            name: &own.name,
            first_name: &alternative_name(&self.plan.id),
            kind: self.wanted.kind,
            parent: (self.parent.name(), index),
            in_container: self.wanted.link_in_container,
            mac: own.mac.filter(|_| !self.wanted.shares_mac()),
            mtu: own.mtu,
        };
        child::create(making.host, making.inside, &new)?;
        Ok(index)
    }

    /// The host's own interface on the parent, and its routes to the container.
    fn make_host_access(&self, making: &mut Making<'_>, index: u32) -> Result<(), WeftError> {
        let parent = self.parent.name();
        let link = host_access_name(parent);
        let mtu = self.parent.link().unwrap_or(&self.parent.master).mtu;
        let host = &mut *making.host;
        let (index, extent) =
            host_access::ensure(host, &link, self.wanted.kind, (parent, index, mtu))?;
        host_access::add(host, index, making.record.link.host_routes())?;
        host_access::mend(host, &link, extent)?;
        host_access::add_inside(making.inside, making.record)
    }
}

impl PreparedLink for Child<'_> {
    fn mtu(&self) -> u32 {
        self.parent.mtu(self.wanted)
    }

    fn fixed_mac(&self) -> Option<Mac> {
        self.parent_mac().filter(|_| self.wanted.shares_mac())
    }

    fn has_neighbours(&self) -> bool {
        !self.wanted.is_routed()
    }

    fn segment(&self) -> Option<String> {
        (!self.wanted.link_in_container).then(|| self.parent.name().to_owned())
    }

    fn refuse_conflicts(&self, transaction: &Transaction<'_>) -> Result<(), WeftError> {
        if self.wanted.link_in_container {
            return Ok(());
        }
        parent::refuse_other_modes(transaction, self.parent.name(), self.wanted.kind)
    }

    fn complete(
        &self,
        own: ContainerLink,
        leased: &Leased,
        record: &mut AttachmentRecord,
    ) -> Result<LinkRecord, WeftError> {
        let name = self.parent.name();
        if self.wanted.is_routed() {
            record.routes = routed(leased);
        }
        let parent = ParentRecord {
            name: name.to_owned(),
            in_container: self.wanted.link_in_container,
            driver: self.wanted.kind.driver().to_owned(),
            mode: parent::mode_words(self.wanted.kind),
        };
        let mut host_routes = Vec::new();
        if !self.wanted.link_in_container {
            if let Some(mode) = parent::exclusive_mode(self.wanted.kind) {
                let parent = name.to_owned();
                record
                    .shared
                    .push(SharedObject::ParentMode { parent, mode });
            }
            if self.parent.vlan.is_some() {
                record.shared.push(SharedObject::VlanLink {
                    parent: self.parent.master.name.clone(),
                    link: name.to_owned(),
                });
            }
            host_routes = self.host_routes(&own, record)?;
        }
        Ok(LinkRecord::OnParent {
            own,
            parent,
            host_routes,
        })
    }

    fn make_link(&self, making: &mut Making<'_>) -> Result<(), WeftError> {
        match making.record.link.own() {
            Some(own) => self.make(making, own).map(drop),
            None => Ok(()),
        }
    }

    fn apply(
        &self,
        making: &mut Making<'_>,
        settings: Settings<'_>,
    ) -> Result<Vec<Interface>, WeftError> {
        let Some(own) = making.record.link.own() else {
            return Ok(Vec::new());
        };
        let index = match making.created.container_link {
            false => self.make(making, own)?,
            // There since the interface was made: only looked up.
            true => self.ensure_parent(making.host, making.created)?,
        };
        let alias = alias(&self.plan.id);
        let settings = Settings {
            alias: Some(&alias),
            // In passthru mode the kernel gives the parent's; another one is set afterwards, and the
            // kernel takes it back from the parent with the interface.
            mac: own
                .mac
                .filter(|_| self.wanted.shares_mac() && own.has_own_mac),
            ..settings
        };
        container::configure(making.inside, making.record, own, settings)?;
        if self.wanted.host_access != HostAccess::None {
            self.make_host_access(making, index)?;
        }
        Ok(vec![container_interface(own, own.mtu, &self.plan.netns)])
    }
}

/// Routes where nothing answers ARP and the parent's namespace routes: everything is on the link,
/// and so is everywhere else, unless IPAM knows better.
fn routed(leased: &Leased) -> Vec<Route> {
    /// RT_SCOPE_LINK (linux/rtnetlink.h).
    const LINK: u32 = 253;
    let on_link = |route: Route| Route {
        scope: route.scope.or(Some(LINK)),
        ..route
    };
    let defaults = default_routes(leased)
        .into_iter()
        .map(|(dst, _)| Route::new(dst, None));
    let all = leased.routes.iter().cloned().chain(defaults);
    all.map(|route| match route.gw {
        None => on_link(route),
        Some(_) => route,
    })
    .collect()
}
