//! Addresses and prefixes as configurations write them.

use std::str::FromStr;

use ipnetwork::IpNetwork;
use weft_cni::conf::{Fields, KeySpec};

pub(super) const IP: &str = "must be an IP address";
pub(super) const PREFIX: &str = "must be a prefix in CIDR notation";

/// A prefix in CIDR notation, its length written out.
pub(super) struct Cidr(pub(super) IpNetwork);

impl FromStr for Cidr {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.contains('/') {
            true => text.parse().map(Self).map_err(drop),
            false => Err(()),
        }
    }
}

/// A prefix that has to be there.
pub(super) fn required_cidr(fields: &Fields<'_>, key: KeySpec, must: &str) -> Option<IpNetwork> {
    if fields.value(key).is_none() {
        fields.invalid(key, &"", "must be given");
    }
    Some(fields.parsed::<Cidr>(key, must)?.0)
}
