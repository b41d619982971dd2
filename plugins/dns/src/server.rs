//! Where a container asks: at an address of the host that it reaches, else at one of its own loopback.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use weft_cni::CniResult;
use weft_ipam::resolv_conf;
use weft_kernel::route;
use weft_node::{Host, WeftError};
use weft_store::AttachmentRecord;

/// Docker's resolver is there too: what looks for one knows the address.
pub(crate) const INSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11));

/// Addresses of the host: what its routes to the container have as their source, else gateways that are the host's.
pub(crate) fn servers(
    host: &mut Host,
    record: Option<&AttachmentRecord>,
    result: &CniResult,
) -> Result<Vec<IpAddr>, WeftError> {
    let routes = record
        .map(|record| record.link.host_routes())
        .unwrap_or_default();
    let mut candidates: Vec<IpAddr> = routes.iter().map(|route| route.source).collect();
    if candidates.is_empty() {
        candidates.extend(result.ips.iter().filter_map(|ip| ip.gateway));
    }
    let mut found = Vec::new();
    for candidate in candidates {
        if !found.contains(&candidate) && route::is_of_host(host.route()?, candidate)? {
            found.push(candidate);
        }
    }
    Ok(found)
}

/// Where the host asks, as far as a container can ask there too: without the daemon its own server is dead, and names of
/// others would not be found either.
pub(crate) fn hosts_own() -> Vec<IpAddr> {
    let files = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
    let of_file = |file: &&str| {
        let mut servers = resolv_conf::name_servers(Path::new(file));
        servers.retain(|ip| !ip.is_loopback());
        servers
    };
    let mut found = files.iter().map(of_file);
    found
        .find(|servers| !servers.is_empty())
        .unwrap_or_default()
}
