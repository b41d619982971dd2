//! weft-tuning: settings of a container's interface and of its namespace.
//!
//! Takes the configuration of the reference plugin `tuning`; [`TUNING_KEYS`] lists the keys. It
//! comes after the plugin that makes the interface. The work is done by `weft-attach`.

use weft_attach::tuning::{self, Tuning};
use weft_attach::{ChainedPlugin, Sysctls, conf};
use weft_cni::conf::{Fields, KeySpec, Problems};
use weft_cni::{CniError, Request};

/// The plugin.
pub const TUNING: ChainedPlugin<Tuning> = ChainedPlugin {
    name: "weft-tuning",
    read,
    add: tuning::add,
    del: tuning::del,
    check: tuning::check,
    needs_nft: false,
};

/// Keys of the plugin's configuration.
pub const TUNING_KEYS: &[KeySpec] = &[
    conf::SYSCTL,
    KeySpec::new(
        "mac",
        "MAC address",
        "as it is",
        "the interface's MAC; also CNI_ARGS MAC, args.cni.mac, runtimeConfig.mac",
    ),
    KeySpec::new(
        "mtu",
        "number",
        "as it is",
        "MTU in bytes, of both ends of a pair",
    ),
    KeySpec::new(
        "promisc",
        "boolean",
        "as it is",
        "the interface takes in all frames",
    ),
    KeySpec::new(
        "allmulti",
        "boolean",
        "as it is",
        "the interface takes in all multicast frames",
    ),
    KeySpec::new(
        "txQLen",
        "number",
        "as it is",
        "length of the transmit queue in packets",
    ),
    KeySpec::new(
        "dataDir",
        "string",
        "",
        "accepted; what was there before is in Weft's store",
    ),
];

fn read(request: &Request) -> Result<Tuning, CniError> {
    let problems = Problems::default();
    let args = request.env.args()?;
    let fields = request.conf.fields(TUNING_KEYS, &problems);
    let mut wanted = Tuning {
        sysctls: Sysctls::read(&fields, request),
        mac: conf::mac(request, &args, &fields),
        ..settings(&fields)
    };
    if let Some(cni) = request.conf.all_args_cni() {
        let asked = Fields::open(cni, "args.cni", &problems);
        wanted.sysctls.extend(&asked, request);
        let asked = settings(&asked);
        wanted = Tuning {
            mtu: asked.mtu.or(wanted.mtu),
            promiscuous: asked.promiscuous.or(wanted.promiscuous),
            all_multicast: asked.all_multicast.or(wanted.all_multicast),
            tx_queue_len: asked.tx_queue_len.or(wanted.tx_queue_len),
            ..wanted
        };
    }
    problems.into_result(request.conf.strict)?;
    Ok(wanted)
}

/// 0 is "as it is", for the sake of those who write it for that.
fn settings(fields: &Fields<'_>) -> Tuning {
    let number = |key, max| fields.number(key, 0..=max).filter(|number| *number > 0);
    Tuning {
        mtu: number("mtu", 65_535),
        promiscuous: fields.boolean("promisc"),
        all_multicast: fields.boolean("allmulti"),
        tx_queue_len: number("txQLen", u32::MAX),
        ..Tuning::default()
    }
}
