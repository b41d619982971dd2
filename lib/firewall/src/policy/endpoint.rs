//! Containers as policies see them, wherever they are: members of selectors come from here, and not from the records
//! of this host alone.

use std::collections::BTreeSet;
use std::net::IpAddr;

use weft_cni::IpFamily;
use weft_node::names::owner;
use weft_store::{AttachmentRecord, NftRecord, SharedObject};

use super::rule::Rule;
use super::selector::{Identity, Selector, member_set_name};
use crate::ruleset::{address_bytes_hex, home_elements};

/// A container that may become a member of what rules mean.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint<'a> {
    identity: Identity<'a>,
    /// The mark on its elements.
    pub(crate) owner: String,
    addresses: BTreeSet<IpAddr>,
    /// The interface of this host that it comes by.
    link: Option<String>,
    /// Its network is closed: its addresses are known by their interface, whether a rule means it or not.
    is_closed: bool,
}

impl<'a> From<&'a AttachmentRecord> for Endpoint<'a> {
    fn from(record: &'a AttachmentRecord) -> Self {
        let addresses = record.addresses.iter().map(|one| one.address.ip());
        // An interface of another plugin that weft-firewall keeps apart is known by what that plugin told.
        let apart = record.apart().filter(|_| record.is_kept_apart());
        let told = apart.into_iter().flat_map(|apart| &apart.addresses);
        let let_through = || {
            let mut links = record.shared.iter().filter_map(SharedObject::admitted);
            links.next().map(str::to_owned)
        };
        Self {
            identity: record.into(),
            owner: owner(&record.id),
            addresses: addresses.chain(told.copied()).collect(),
            link: record.gateway_link().or_else(let_through),
            is_closed: !record.isolation.is_none() || apart.is_some(),
        }
    }
}

impl Endpoint<'_> {
    /// Its elements in the sets of the selectors that mean it, and those that say which interface it comes by.
    pub(crate) fn memberships(&self, rules: &[Rule]) -> BTreeSet<NftRecord> {
        let means = |selector: &&Selector| match selector {
            Selector::Endpoints(endpoints) => endpoints.matches(self.identity),
            Selector::Any | Selector::Addresses(_) => false,
        };
        let selectors: BTreeSet<&Selector> = rules
            .iter()
            .flat_map(|rule| [&rule.from, &rule.to])
            .filter(means)
            .collect();
        let is_meant = !selectors.is_empty() || self.is_closed;
        let link = self.link.as_ref().filter(|_| is_meant);
        let homes = link
            .into_iter()
            .flat_map(|link| {
                self.addresses
                    .iter()
                    .map(move |ip| home_elements(link, *ip))
            })
            .flatten();
        let member = |selector: &Selector, ip: IpAddr| NftRecord {
            set: member_set_name(selector, IpFamily::of(ip)).into(),
            key: address_bytes_hex(ip),
            key_end: None,
            value: None,
        };
        let members = selectors
            .iter()
            .flat_map(|selector| self.addresses.iter().map(|ip| member(selector, *ip)));
        members.chain(homes).collect()
    }
}
