//! Networks that would give the same addresses.

use std::collections::HashSet;
use std::path::PathBuf;

use ipnetwork::IpNetwork;
use weft_store::Range;

use crate::catalogue::NetworkFile;
use crate::driver::DriverType;
use crate::pools::own_ipam;

/// The same of the networks in some files. Files that cannot be read are passed over.
pub fn overlapping(paths: &[PathBuf]) -> Vec<String> {
    let files = paths.iter().filter_map(|path| NetworkFile::read(path).ok());
    overlaps(&files.collect::<Vec<_>>())
}

/// A network with what is compared.
struct Compared<'a> {
    file: &'a NetworkFile,
    /// What its interfaces are on: a bridge with its VLAN, or a master.
    segment: String,
    subnets: Vec<IpNetwork>,
    ranges: Vec<Range>,
}

fn segment(file: &NetworkFile) -> String {
    let first = file.list.plugins.first();
    let text = |key: &str| {
        let value = first.and_then(|plugin| plugin.get(key));
        value.map(|value| {
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        })
    };
    let link = text("bridge").or_else(|| text("master"));
    let link = link.unwrap_or_else(
        || match DriverType::of_plugin(file.first_type()).is_on_lan() {
            true => "the interface with the default route".to_owned(),
            false => format!("the default of {}", file.first_type()),
        },
    );
    match text("vlan") {
        Some(vlan) => format!("{link}.{vlan}"),
        None => link,
    }
}

/// For each pair of networks whose subnets overlap though they are apart, or whose ranges do though they are on one
/// segment, a text.
pub(crate) fn overlaps(files: &[NetworkFile]) -> Vec<String> {
    let all: Vec<Compared<'_>> = files
        .iter()
        .map(|file| Compared {
            file,
            segment: segment(file),
            subnets: file.subnets().iter().map(|one| one.prefix).collect(),
            ranges: own_ipam(file).map_or_else(Vec::new, |ipam| ipam.sets.concat()),
        })
        .filter(|one| !one.subnets.is_empty())
        .collect();
    // By the first address, so that only neighbours need to be compared.
    let mut starts: Vec<(IpNetwork, usize)> = all
        .iter()
        .enumerate()
        .flat_map(|(number, one)| one.subnets.iter().map(move |subnet| (*subnet, number)))
        .collect();
    starts.sort_by_key(|(subnet, _)| (subnet.network(), subnet.prefix()));
    let mut texts = Vec::new();
    let mut seen = HashSet::new();
    let mut open: Vec<(IpNetwork, usize)> = Vec::new();
    for (subnet, number) in starts {
        open.retain(|(wider, _)| wider.contains(subnet.network()));
        for (_, other) in open.iter().filter(|(_, other)| *other != number) {
            let (first, second) = ((*other).min(number), (*other).max(number));
            if !seen.insert((first, second)) {
                continue;
            }
            let pair = (all.get(first), all.get(second));
            if let (Some(one), Some(two)) = pair {
                texts.extend(compared(one, two));
            }
        }
        open.push((subnet, number));
    }
    texts.sort();
    texts
}

fn compared(one: &Compared<'_>, two: &Compared<'_>) -> Option<String> {
    let name = |compared: &Compared<'_>| {
        let file = compared.file;
        format!("{} ({})", file.list.name, file.path.display())
    };
    let (left, right) = (name(one), name(two));
    if one.segment != two.segment {
        let subnets = |compared: &Compared<'_>| {
            let all: Vec<String> = compared.subnets.iter().map(ToString::to_string).collect();
            all.join(", ")
        };
        return Some(format!(
            "the subnets of {left}: {} and {right}: {} overlap: give one of them another subnet",
            subnets(one),
            subnets(two)
        ));
    }
    let mut pairs = one
        .ranges
        .iter()
        .flat_map(|range| two.ranges.iter().map(move |other| (range, other)));
    let (range, other) = pairs.find(|(range, other)| range.overlaps(other))?;
    Some(format!(
        "the ranges {range} of {left} and {other} of {right}, both on {}, overlap: give them ranges apart",
        one.segment
    ))
}
