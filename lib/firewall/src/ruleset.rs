//! Weft's nf_tables ruleset: one fixed skeleton, elements per endpoint.
//!
//! Chains and rules never change with containers or networks; what does are elements of hash sets,
//! so ADD and DEL cost the same on a full host as on an empty one. Two tables, because `inet`
//! cannot see frames between ports of a bridge and `bridge` cannot translate addresses.

mod apply;
mod by_set;
mod elements;
mod errors;
mod guard;
mod isolation;
mod key;
mod led;
mod limits;
mod masquerade;
pub mod matching;
mod published;
mod remove;
mod skeleton;
mod tables;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod trial;

pub use apply::{
    Added, add_elements, all_sets, delete_tables, element_is_right, owners, records_by_owner,
};
pub(crate) use apply::{SWAP_ATTEMPTS, add_interval, elements_of, require_weft};
pub(crate) use by_set::BySet;
pub(crate) use elements::phase_of;
pub use elements::{
    Guarded, Untranslated, addresses_in, element, endpoint_elements, is_translation,
    network_elements,
};
pub(crate) use errors::{ENDS4, ENDS6};
pub use guard::{ALONE, PORTS, alone_elements, is_guarded, link_local, routed_elements};
#[cfg(test)]
pub(crate) use isolation::chains as isolation_chains;
pub use isolation::{
    CLOSED, CONNECTED, HOME4, HOME6, IN_FORCE, INSIDE, KNOWN4, KNOWN6, POLICY, REFUSED, USER_PRE,
    apart_element, connection, home_elements, inside_element, is_isolation, mode_of,
    network_elements as isolation_elements, routed_element,
};
pub use key::address_bytes_hex;
pub use led::{LedPort, led_elements};
pub use limits::Limits;
pub use limits::limit_elements;
pub use masquerade::Masquerade;
pub use published::{
    hairpin_element, hidden_element, is_published, is_way_in, opened_element, port_element,
    reached_element, reflected_element, self_element,
};
pub use remove::{remove_derived, remove_elements, remove_network_elements, sweep};
pub(crate) use skeleton::{Own, Present, create, interval_sets, renew};
pub(crate) use tables::{DESTINATION, MEMBERS};
pub use tables::{FamilyLayout, IPV4, IPV6, NAT, TABLES, is_member_set, member_set};
