//! An interface of the host that moves into the container.

use weft_cni::Mac;
use weft_cni::result::Interface;
use weft_kernel::link::Link;
use weft_node::names::alternative_name;
use weft_node::{Container, Host, WeftError};
use weft_store::{AttachmentRecord, ContainerLink, DeviceRecord, LinkRecord};

use super::{Checking, LinkKind, Making, NetworkState, PreparedLink};
use crate::add::{Leased, container_interface};
use crate::plan::{MovedPlan, Plan};
use crate::status::unavailable;
use crate::steps::container::{self, Settings};
use crate::steps::device;

impl LinkKind for MovedPlan {
    fn look<'a>(
        &'a self,
        host: &mut Host,
        plan: &'a Plan,
        _inside: &mut Container,
    ) -> Result<Box<dyn PreparedLink + 'a>, WeftError> {
        let link = device::look(host, &self.selector)?;
        let device = device::record(host, &link, alternative_name(&plan.id))?;
        Ok(Box::new(Moved { plan, link, device }))
    }

    /// The record says all.
    fn check(&self, _checking: &mut Checking<'_>) -> Result<(), WeftError> {
        Ok(())
    }

    /// While a container has it, it is not there for another.
    fn status(&self, host: &mut Host, _network: &NetworkState<'_>) -> Result<(), WeftError> {
        let found = device::look(host, &self.selector);
        found.map(drop).map_err(unavailable)
    }

    fn may_wait_for_its_name(&self) -> bool {
        true
    }
}

struct Moved<'a> {
    plan: &'a Plan,
    link: Link,
    /// How the interface is on the host.
    device: DeviceRecord,
}

impl PreparedLink for Moved<'_> {
    fn mtu(&self) -> u32 {
        self.link.mtu
    }

    fn fixed_mac(&self) -> Option<Mac> {
        self.link.mac
    }

    fn has_neighbours(&self) -> bool {
        true
    }

    fn complete(
        &self,
        own: ContainerLink,
        _leased: &Leased,
        _record: &mut AttachmentRecord,
    ) -> Result<LinkRecord, WeftError> {
        Ok(LinkRecord::Moved {
            own,
            device: self.device.clone(),
        })
    }

    fn apply(
        &self,
        making: &mut Making<'_>,
        settings: Settings<'_>,
    ) -> Result<Vec<Interface>, WeftError> {
        let LinkRecord::Moved { own, .. } = &making.record.link else {
            return Ok(Vec::new());
        };
        device::take(making.host, making.inside, making.record)?;
        let mac = self.plan.settings.mac;
        let settings = Settings { mac, ..settings };
        container::configure(making.inside, making.record, own, settings)?;
        Ok(vec![container_interface(own, own.mtu, &self.plan.netns)])
    }
}
