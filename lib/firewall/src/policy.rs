//! Zero trust: what may be begun by whom, where a network is closed.
//!
//! Rules are written in configurations (for their own network) and in files (for the host). They
//! become chains and sets of nf_tables, which change with the rules only; a container becomes a
//! member of the sets of the selectors that mean it, which are elements of its own.

mod compile;
mod decide;
mod endpoint;
mod files;
mod in_kernel;
mod members;
mod networks;
mod probe;
mod read;
mod rule;
mod selector;
mod state;
#[cfg(test)]
mod tests;

pub use decide::end_denied;
pub use decide::{Decision, Party, World, gateway};
pub(crate) use endpoint::Endpoint;
pub use files::{PolicyFile, read_file, read_files};
pub use in_kernel::{OWNER, is_obeyed, member_sets};
pub(crate) use in_kernel::{Reconciled, install, is_anything_there, reconcile, renew};
pub use members::Policies;
pub(crate) use members::refresh;
pub use networks::{Connections, reachable_networks};
pub use probe::probe;
pub use read::{POLICY_KEYS, RULE_KEYS, SELECTOR_KEYS, check_network};
pub use rule::{PortMatch, Protocol, Rule};
pub use selector::{Endpoints, Identity, Selector};
pub use state::State;
