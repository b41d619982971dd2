//! weft-host: containers in the host's network, or with an interface of the host for themselves.
//!
//! Without a device the container must be in the host's network namespace. Nothing is made; the
//! result shows the host's interface and addresses, and the attachment is recorded, so that it is
//! known like any other. With a device (the keys of the reference plugin `host-device`) that
//! interface moves into the container, and back with DEL. `HOST_KEYS` lists the keys.

// A new kind of link, addition or shared object must be handled everywhere.
#![warn(clippy::wildcard_enum_match_arm)]

use weft_attach::{
    DeviceSelector, HostPlan, InterfacePlugin, Ipam, LinkPlan, MovedPlan, Settings, Sysctls, conf,
};
use weft_cni::conf::{Fields, KeySpec, Problems};
use weft_cni::{CniError, Declaration, Request};

/// What `weft-host` is called, takes and does.
pub const HOST: InterfacePlugin = InterfacePlugin {
    declaration: Declaration {
        name: "weft-host",
        other_names: &["host-device"],
        intro: "The host's network, or an interface of the host for the container alone. The keys \
            of the reference plugin `host-device`, and more.",
        keys: HOST_KEYS,
        objects: &[],
    },
    read,
};

const DEVICE: KeySpec = KeySpec::new(
    "device",
    "string",
    "none",
    "the name of the interface that moves into the container",
);
const HWADDR: KeySpec = KeySpec::new("hwaddr", "MAC address", "none", "or its MAC");
const KERNELPATH: KeySpec = KeySpec::new(
    "kernelpath",
    "string",
    "none",
    "or the path of its device below /sys/devices",
);
const PCI_BUS_ID: KeySpec = KeySpec::new(
    "pciBusID",
    "string",
    "none",
    "or its device's address on the PCI or the auxiliary bus; also runtimeConfig.deviceID",
);
const INTERFACE: KeySpec = KeySpec::new(
    "interface",
    "string",
    "default route",
    "without a device: the interface that stands for the host in the result",
);
const MAC: KeySpec = KeySpec {
    default: "its own",
    doc: "with a device: another MAC while it is in the container",
    ..conf::MAC
};

/// Keys of the plugin's configuration.
pub(crate) const HOST_KEYS: &[KeySpec] = &[
    DEVICE,
    HWADDR,
    KERNELPATH,
    PCI_BUS_ID,
    INTERFACE,
    MAC,
    conf::DETECTION,
    conf::SYSCTL,
    conf::NO_ISOLATION,
];

fn read(request: &Request) -> Result<Settings, CniError> {
    let problems = Problems::default();
    let args = request.env.args()?;
    let fields = request.conf.fields(HOST_KEYS, &problems);
    conf::refuse_isolation(&fields);
    let selected = selector(request, &fields);
    let ipam = conf::ipam(request, &args, &problems);
    let sysctls = Sysctls::read(&fields, request);
    if selected.is_none() {
        if !matches!(ipam, Ipam::None) {
            problems.conflict("ipam: only with a device; the host's addresses are its own");
        }
        if !sysctls.is_empty() {
            problems.conflict("sysctl: only with a device; the host's parameters are its own");
        }
    }
    let link = match selected {
        Some(selector) => LinkPlan::Moved(MovedPlan { selector }),
        None => LinkPlan::Host(HostPlan {
            interface: conf::link_name(&fields, INTERFACE),
        }),
    };
    let settings = Settings {
        link,
        ipam,
        masquerade: None,
        mac_spoof_check: false,
        anti_spoof: false,
        mac: conf::mac(request, &args, &fields),
        up: true,
        detection: conf::detection(&fields),
        sysctls,
        dns: request.conf.dns(&problems),
    };
    weft_ipam::refuse_mistyped(&fields);
    problems.into_result(request.conf.strict)?;
    Ok(settings)
}

/// A runtime's device before the configuration's, and only one of those.
fn selector(request: &Request, fields: &Fields<'_>) -> Option<DeviceSelector> {
    let text = |key| {
        fields
            .string(key)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    let requested = request.conf.runtime_config("deviceID");
    if let Some(id) = requested
        .and_then(|id| id.as_str())
        .filter(|id| !id.is_empty())
    {
        return bus_id(fields, id).map(DeviceSelector::Bus);
    }
    let mac = text(HWADDR)
        .and_then(|_| fields.parsed(HWADDR, "must be a MAC address"))
        .map(DeviceSelector::Mac);
    let found: Vec<DeviceSelector> = [
        conf::link_name(fields, DEVICE).map(DeviceSelector::Name),
        mac,
        text(KERNELPATH).map(DeviceSelector::Path),
        text(PCI_BUS_ID)
            .and_then(|id| bus_id(fields, &id))
            .map(DeviceSelector::Bus),
    ]
    .into_iter()
    .flatten()
    .collect();
    if found.len() > 1 {
        fields
            .problems()
            .conflict("device, hwaddr, kernelpath, pciBusID: only one of them can be set");
    }
    found.into_iter().next()
}

/// A bus address is one name in a directory.
fn bus_id(fields: &Fields<'_>, id: &str) -> Option<String> {
    if id.contains('/') || id.starts_with('.') {
        fields.invalid(PCI_BUS_ID, &id, "must be an address such as 0000:00:1f.6");
        return None;
    }
    Some(id.to_owned())
}
