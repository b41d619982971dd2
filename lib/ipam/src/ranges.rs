//! The ranges of an `ipam` object.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde_json::Value;
use weft_cni::conf::{Fields, NetConf, Problems};
use weft_store::{Range, RangeError};

use super::cidr::{IP, PREFIX, required_cidr};
use super::keys::{EXCLUDE, GATEWAY, RANGE_END, RANGE_KEYS, RANGE_START, RANGES, SUBNET};

/// Each range is compared with each other one, at every call.
const MOST_RANGES: usize = 512;
const MOST_EXCLUDED: usize = 4096;

/// The sets of ranges: the runtime's first, then `subnet`, then `ranges`.
pub(super) fn read_sets(conf: &NetConf, fields: &Fields<'_>) -> Vec<Vec<Range>> {
    let mut sets = Vec::new();
    if let Some(value) = conf.runtime_config("ipRanges") {
        sets.extend(read_set_list(
            value,
            "runtimeConfig.ipRanges",
            fields.problems(),
        ));
    }
    if fields.value(SUBNET).is_some() {
        sets.extend(read_range(fields).map(|range| vec![range]));
    }
    if let Some(value) = fields.value(RANGES) {
        sets.extend(read_set_list(value, "ipam.ranges", fields.problems()));
    }
    sets
}

fn read_set_list(value: &Value, path: &str, problems: &Problems) -> Vec<Vec<Range>> {
    let Value::Array(sets) = value else {
        problems.invalid(path, value, "must be a list of lists of ranges");
        return Vec::new();
    };
    let read_set = |(index, set): (usize, &Value)| {
        let path = format!("{path}[{index}]");
        let Value::Array(ranges) = set else {
            problems.invalid(&path, set, "must be a list of ranges");
            return None;
        };
        let read: Vec<Range> = ranges
            .iter()
            .enumerate()
            .filter_map(|(index, range)| {
                let path = format!("{path}[{index}]");
                if let Some(map) = range.as_object() {
                    return read_range(&Fields::new(map, &*path, &[RANGE_KEYS], problems));
                }
                problems.invalid(path, range, "must be an object");
                None
            })
            .collect();
        if ranges.is_empty() {
            problems.invalid(&path, set, "must hold at least one range");
        }
        let is_mixed = read.windows(2).any(|pair| match pair {
            [a, b] => a.subnet().is_ipv4() != b.subnet().is_ipv4(),
            _ => false,
        });
        if is_mixed {
            problems.invalid(&path, set, "must hold ranges of one family");
        }
        Some(read).filter(|read| !read.is_empty())
    };
    sets.iter().enumerate().filter_map(read_set).collect()
}

fn read_range(fields: &Fields<'_>) -> Option<Range> {
    let subnet = required_cidr(fields, SUBNET, PREFIX)?;
    let ip = |key| fields.parsed::<IpAddr>(key, IP);
    let (start, end, gateway) = (ip(RANGE_START), ip(RANGE_END), ip(GATEWAY));
    let exclude = fields.parsed_list::<IpNetwork>(EXCLUDE, "must be an address or a prefix");
    if exclude.len() > MOST_EXCLUDED {
        let must = format!("are too many: {MOST_EXCLUDED} are the most; a prefix covers several");
        fields.invalid(EXCLUDE, &exclude.len(), &must);
        return None;
    }
    match Range::new(subnet, start, end, gateway, &exclude) {
        Ok(range) => Some(range),
        Err(RangeError::Outside(ip)) => {
            let key = if start == Some(ip) {
                "rangeStart"
            } else {
                "rangeEnd"
            };
            fields.invalid(key, &ip, &format!("must be in the subnet {subnet}"));
            None
        }
        Err(RangeError::OtherFamily(ip)) => {
            fields.invalid(GATEWAY, &ip, &format!("must be of the family of {subnet}"));
            None
        }
        Err(error) => {
            fields.invalid(SUBNET, &subnet, &error.to_string());
            None
        }
    }
}

/// An address of two ranges could be leased twice.
pub(super) fn refuse_overlaps(sets: &[Vec<Range>], problems: &Problems) {
    let ranges: Vec<&Range> = sets.iter().flatten().collect();
    if ranges.len() > MOST_RANGES {
        let count = ranges.len();
        return problems.conflict(format!("ipam: {count} ranges: {MOST_RANGES} are the most"));
    }
    for (index, one) in ranges.iter().enumerate() {
        for other in ranges
            .iter()
            .skip(index + 1)
            .filter(|other| one.overlaps(other))
        {
            problems.conflict(format!("ipam: ranges {one} and {other} overlap"));
        }
    }
}
