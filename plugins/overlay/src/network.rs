//! The overlay that a configuration means, as the daemon has it.

use std::io::ErrorKind;

use serde_json::Value;
use weft_api::daemon::{OverlayLine, overlays_file};
use weft_cni::conf::Fields;
use weft_cni::{CniError, Code, Request};
use weft_node::HostConfig;

use crate::WHICH;

/// What a configuration names.
pub(crate) fn named(fields: &Fields<'_>) -> Option<String> {
    match fields.value(WHICH) {
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
        Some(other) => {
            fields.invalid(
                WHICH,
                other,
                "must be the name of an overlay's device, or its VNI",
            );
            None
        }
        None => {
            fields
                .problems()
                .conflict("overlay: missing: the name of an overlay's device, or its VNI");
            None
        }
    }
}

/// One that takes whatever a configuration may ask for.
fn assumed(name: &str) -> OverlayLine {
    OverlayLine {
        name: name.to_owned(),
        mode: "routed".to_owned(),
        bridge: "bridge".to_owned(),
        addresses: vec!["192.0.2.1/24".to_owned()],
        ..OverlayLine::default()
    }
}

/// The overlay of that name or VNI.
///
/// # Errors
/// It is not there, with what to do: code 50 of a STATUS, else 11.
pub(crate) fn find(request: &Request, name: &str) -> Result<OverlayLine, CniError> {
    let code = match request.env.get("CNI_COMMAND") {
        Some("STATUS") => Code::Unavailable,
        Some(_) => Code::TryAgainLater,
        // A configuration is checked by itself, on whatever host.
        None => return Ok(assumed(name)),
    };
    let absent = |why: &str| {
        Err(CniError::new(
            code,
            format!("overlay {name} is not there: {why}"),
        ))
    };
    let path = overlays_file(&HostConfig::read(&request.env)?.state_dir);
    let bytes = match weft_cni::file::read_own(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return absent(
                "weftd, which makes overlays, has not run since the host has started: systemctl start weftd",
            );
        }
        Err(error) => {
            let text = format!("{}: {error}", path.display());
            return Err(CniError::new(Code::Io, text));
        }
    };
    let all: Vec<OverlayLine> = serde_json::from_slice(&bytes).map_err(|error| {
        let text = format!("{}: {error}", path.display());
        CniError::new(Code::Io, text).with_details("systemctl restart weftd writes it anew")
    })?;
    let is_meant = |one: &&OverlayLine| one.name == name || one.vni.to_string() == name;
    match all.iter().find(is_meant) {
        Some(one) if one.local.is_some() => Ok(one.clone()),
        Some(one) => absent(&one.troubles.join("; ")),
        None => absent(
            "weft.toml has no such [[overlay]], or it was taken down: weft overlay ls, weft overlay apply",
        ),
    }
}
