//! `CNI_ARGS`, alone and with a configuration that takes addresses from it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_cni::Plugin;
use weft_cni::Request;
use weft_cni::args::CniArgs;
use weft_cni::conf::NetConf;
use weft_cni::env::Env;

const CONF: &[u8] = br#"{"cniVersion":"1.0.0","name":"n","type":"weft-bridge",
    "ipam":{"type":"weft-ipam","subnet":"10.0.0.0/8","sticky":true}}"#;

fuzz_target!(|text: &str| {
    let _ = CniArgs::parse(text);
    if let Ok(conf) = NetConf::parse(CONF) {
        let env = Env::from_pairs([("CNI_ARGS", text), ("CNI_CONTAINERID", text)]);
        let _ = env.container();
        let _ = weft_plugin_bridge::BRIDGE.validate(&Request { env, conf, input: CONF.to_vec() });
    }
});
