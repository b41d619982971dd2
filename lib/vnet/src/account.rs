//! What changes of networks leave in the operations file.

use std::time::{Instant, SystemTime};

use weft_api::operations::{Operation, append};
use weft_cni::Code;

use crate::error::VNetError;
use crate::vnet_manager::VNetManager;

impl VNetManager {
    /// Adds a line for what has been done with a network, or with all of them.
    pub(crate) fn note(
        &self,
        verb: &str,
        network: &str,
        start: Instant,
        error: Option<&VNetError>,
    ) {
        if !self.config.metrics_enabled {
            return;
        }
        let took = start.elapsed();
        let began = SystemTime::now().checked_sub(took);
        let operation = Operation {
            time: Operation::time_of(began.unwrap_or(SystemTime::UNIX_EPOCH)),
            plugin: "weft".to_owned(),
            verb: verb.to_owned(),
            network: network.to_owned(),
            us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            code: match error {
                None => 0,
                Some(VNetError::Cni(error)) => error.code,
                Some(_) => Code::InvalidConfig.number(),
            },
            error: error.map(ToString::to_string).unwrap_or_default(),
            ..Operation::default()
        };
        // It is an account of what has been done, and no part of it.
        let _ = append(&self.host_config.state_dir, &operation);
    }
}
