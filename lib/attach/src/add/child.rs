//! ADD for an interface on a parent.

use ipnetwork::IpNetwork;
use weft_cni::result::{Interface, Route};
use weft_kernel::Mac;
use weft_kernel::child::ChildKind;
use weft_node::names::{alias, alternative_name, host_access_name};
use weft_node::{Container, Host, WeftError};
use weft_store::{AttachmentRecord, ParentRecord, SharedObject, Transaction};

use super::record::{Leased, default_routes};
use super::result::{MadeInterface, interface};
use crate::plan::{ChildPlan, HostAccess, Plan};
use crate::steps::container::{self, Settings};
use crate::steps::parent::{self, Parent};
use crate::steps::{Created, child, host_access};

pub(super) struct ChildSide {
    pub(super) parent: Parent,
    /// The host's addresses that containers may reach it by.
    sources: Vec<IpNetwork>,
}

impl ChildSide {
    pub(super) fn look(
        host: &mut Host,
        inside: &mut Container,
        plan: &ChildPlan,
    ) -> Result<Self, WeftError> {
        let parent = parent::look(host, Some(inside), plan)?;
        // The tagged interface, if it has addresses; else whoever carries it.
        let mut sources = host_access::sources(host, plan, parent.link())?;
        if sources.is_empty() {
            sources = host_access::sources(host, plan, Some(&parent.master))?;
        }
        Ok(Self { parent, sources })
    }

    pub(super) fn parent_mac(&self) -> Option<Mac> {
        self.parent.link().unwrap_or(&self.parent.master).mac
    }

    pub(super) fn refuse_conflicts(
        &self,
        plan: &ChildPlan,
        transaction: &Transaction<'_>,
    ) -> Result<(), WeftError> {
        if plan.link_in_container {
            return Ok(());
        }
        parent::refuse_other_modes(transaction, self.parent.name(), plan.kind)
    }

    pub(super) fn complete(
        &self,
        plan: &ChildPlan,
        leased: &Leased,
        record: &mut AttachmentRecord,
    ) -> Result<(), WeftError> {
        let parent = self.parent.name();
        if plan.is_routed() {
            record.routes = routed(leased);
        }
        record.parent = Some(ParentRecord {
            name: parent.to_owned(),
            in_container: plan.link_in_container,
            driver: plan.kind.driver().to_owned(),
            mode: parent::mode_words(plan.kind),
        });
        if plan.link_in_container {
            return Ok(());
        }
        if let Some(mode) = parent::exclusive_mode(plan.kind) {
            record.shared.push(SharedObject::ParentMode {
                parent: parent.to_owned(),
                mode,
            });
        }
        if self.parent.vlan.is_some() {
            record.shared.push(SharedObject::VlanLink {
                parent: self.parent.master.name.clone(),
                link: parent.to_owned(),
            });
        }
        if plan.host_access != HostAccess::None {
            let link = host_access_name(parent);
            let macs = self.macs(plan, &link, record);
            record.host_routes =
                host_access::routes(&link, &self.sources, &record.addresses, macs.as_ref())?;
            let addresses = record.host_routes.iter().map(|route| route.address);
            record
                .shared
                .extend(addresses.map(|address| SharedObject::HostRoute { address }));
            record.shared.push(SharedObject::HostAccess { link });
        }
        Ok(())
    }

    /// The container's MAC and that of the host's interface; routed ones need none.
    fn macs(&self, plan: &ChildPlan, link: &str, record: &AttachmentRecord) -> Option<(Mac, Mac)> {
        if plan.is_routed() {
            return None;
        }
        let container = record.container_link.as_ref()?.mac.parse().ok()?;
        let host = match plan.kind {
            ChildKind::Macvlan { .. } => host_access::mac(link),
            ChildKind::Ipvlan { .. } | ChildKind::Vlan { .. } => self.parent_mac()?,
        };
        Some((container, host))
    }

    /// Makes the interface in the container, and what it sits on; the index of that.
    pub(super) fn make_link(
        &self,
        host: &mut Host,
        (plan, child_plan): (&Plan, &ChildPlan),
        record: &AttachmentRecord,
        inside: &mut Container,
        created: &mut Created,
    ) -> Result<u32, WeftError> {
        let Some(own) = &record.container_link else {
            return Ok(0);
        };
        let index = match child_plan.link_in_container {
            true => self.parent.master.index,
            false => parent::ensure(host, &self.parent, child_plan.vlan, created)?,
        };
        let mac = own.mac.parse::<Mac>().ok();
        let new = child::NewChild {
            name: &own.name,
            first_name: &alternative_name(&plan.id),
            kind: child_plan.kind,
            parent: (self.parent.name(), index),
            in_container: child_plan.link_in_container,
            mac: mac.filter(|_| !child_plan.shares_mac()),
            mtu: own.mtu,
        };
        child::create(host, inside, &new)?;
        Ok(index)
    }

    pub(super) fn apply(
        &self,
        host: &mut Host,
        plans: (&Plan, &ChildPlan),
        record: &AttachmentRecord,
        inside: &mut Container,
        settings: Settings<'_>,
        created: &mut Created,
    ) -> Result<Vec<Interface>, WeftError> {
        let (plan, child_plan) = plans;
        let Some(own) = &record.container_link else {
            return Ok(Vec::new());
        };
        let parent = self.parent.name();
        let index = match created.container_link {
            false => self.make_link(host, plans, record, inside, created)?,
            true if child_plan.link_in_container => self.parent.master.index,
            // There since the interface was made: only looked up.
            true => parent::ensure(host, &self.parent, child_plan.vlan, created)?,
        };
        // In passthru mode the kernel gives the parent's; another one is set afterwards, and the
        // kernel takes it back from the parent with the interface.
        let mac = own.mac.parse::<Mac>().ok();
        let alias = alias(&plan.id);
        let settings = Settings {
            alias: Some(&alias),
            mac: mac.filter(|_| child_plan.shares_mac() && own.has_own_mac),
            ..settings
        };
        container::configure(inside, record, own, settings)?;
        if child_plan.host_access != HostAccess::None {
            let link = host_access_name(parent);
            let mtu = self.parent.link().unwrap_or(&self.parent.master).mtu;
            let (index, extent) =
                host_access::ensure(host, &link, child_plan.kind, (parent, index, mtu))?;
            host_access::add(host, index, &record.host_routes)?;
            host_access::mend(host, &link, extent)?;
            host_access::add_inside(inside, record)?;
        }
        Ok(vec![interface(&MadeInterface {
            name: &own.name,
            mac: &own.mac,
            mtu: own.mtu,
            sandbox: &plan.netns,
        })])
    }
}

/// Routes where nobody answers ARP and the parent's namespace routes: everything is on the link,
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
