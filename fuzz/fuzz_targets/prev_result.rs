//! A result of somebody else's plugin: read, and written in every version that can express it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_cni::{CniResult, SpecVersion};

fuzz_target!(|input: &[u8]| {
    let Ok(value) = serde_json::from_slice(input) else { return };
    let Ok(result) = CniResult::from_value(&value) else { return };
    for version in SpecVersion::ALL {
        if let Ok(written) = result.to_value(version) {
            assert!(CniResult::from_value(&written).is_ok(), "{written} cannot be read back");
        }
    }
});
