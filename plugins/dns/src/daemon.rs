//! What depends on the daemon: almost nothing. Names are in the store, and it reads them there.

use std::time::Duration;

use weft_api::daemon::{Poked, poke};
use weft_cni::{CniError, Code};
use weft_node::{Host, WeftError};

use crate::config::Names;

/// No call is longer for the daemon's sake.
const MOST: Duration = Duration::from_millis(20);

/// Waits until the daemon knows what the store says, if it answers soon.
pub(crate) fn tell(host: &Host) -> Poked {
    poke(host.store.dir(), MOST)
}

/// Why an ADD fails that cannot do without the daemon.
pub(crate) fn refusal(poked: Poked) -> WeftError {
    let what = match poked {
        Poked::Absent => "does not run",
        Poked::Known | Poked::Late => "does not answer",
    };
    let text = format!("dns.required: weftd {what}, so no name would be found");
    let error = CniError::new(Code::TryAgainLater, text);
    error
        .with_details("systemctl status weftd, or weftd run; or take \"required\" out of \"dns\"")
        .into()
}

/// Whether names would be found, where an ADD depends on it.
pub(crate) fn status(host: &mut Host, wanted: &Names) -> Result<(), WeftError> {
    match tell(host) {
        Poked::Absent | Poked::Late if wanted.is_required => Err(WeftError::NotReady {
            reason: "dns.required: weftd does not answer: systemctl status weftd".to_owned(),
            existing_suffer: true,
        }),
        Poked::Known | Poked::Absent | Poked::Late => Ok(()),
    }
}
