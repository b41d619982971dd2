//! Weft's nf_tables ruleset: one fixed skeleton, elements per endpoint.
//!
//! Chains and rules never change with containers or networks; what does are elements of hash sets,
//! so ADD and DEL cost the same on a full host as on an empty one. Two tables, because `inet`
//! cannot see frames between ports of a bridge and `bridge` cannot translate addresses.

mod apply;
mod by_set;
mod elements;
mod guard;
mod isolation;
mod limits;
pub(crate) mod matching;
mod published;
mod put_back;
mod remove;
mod skeleton;

pub(crate) use apply::{
    add_elements, all_sets, build, delete_tables, element_is_right, owners, rebuild,
    records_by_owner, restore,
};
pub(crate) use elements::{
    Guarded, Untranslated, address_bytes_hex, element, endpoint_elements, is_translation,
    network_elements,
};
pub(crate) use guard::{ALONE, PORTS, alone_elements, is_guarded, link_local, routed_elements};
pub(crate) use isolation::{
    CLOSED, CONNECTED, HOME4, HOME6, IN_FORCE, KNOWN4, KNOWN6, POLICY, USER_PRE, apart_elements,
    connection, home_elements, is_isolation, mode_of, network_elements as isolation_elements,
};
pub use limits::Limits;
pub(crate) use limits::limit_elements;
pub(crate) use published::{
    hairpin_element, hidden_element, is_published, is_way_in, opened_element, port_element,
    reached_element, reflected_element, self_element,
};
pub(crate) use put_back::{forget, settle, without};
pub(crate) use remove::{remove_derived, remove_elements, remove_network_elements, sweep};
pub(crate) use skeleton::{IPV4, IPV6, NAT, Protocol, TABLES};
