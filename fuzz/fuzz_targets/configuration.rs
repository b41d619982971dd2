//! A plugin's standard input: whatever it is, it is understood or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_cni::Plugin;
use weft_cni::Request;
use weft_cni::conf::NetConf;
use weft_cni::env::Env;

fuzz_target!(|input: &[u8]| {
    if let Ok(conf) = NetConf::parse(input) {
        let _ = conf.prev_result();
        let _ = conf.valid_attachments();
        let request = Request { env: Env::default(), conf, input: input.to_vec() };
        let _ = weft_plugin_bridge::BRIDGE.validate(&request);
    }
});
