//! Zero trust: what may be begun by whom, where a network is closed.
//!
//! Rules are written in configurations (for their own network) and in files (for the host). They
//! become chains and sets of nf_tables, which change with the rules only; a container becomes a
//! member of the sets of the selectors that mean it, which are elements of its own.

mod apply;
mod compile;
mod decide;
mod files;
mod members;
mod networks;
mod probe;
mod read;
mod rule;
mod selector;
mod state;

pub use apply::{Applied, apply};
pub(crate) use apply::{OWNER, POLICY_LOCK, forget_network, install, is_obeyed, member_sets};
pub(crate) use compile::{is_member_set, member_set};
pub(crate) use decide::end_denied;
pub use decide::{Decision, Party, World, gateway};
pub use files::{PolicyFile, read_file, read_files};
pub(crate) use members::Policies;
pub use networks::{Connections, reachable_networks};
pub use probe::probe;
pub use read::{POLICY_KEYS, RULE_KEYS, SELECTOR_KEYS, check_network};
pub use rule::{PortMatch, Protocol, Rule};
pub use selector::{Endpoints, Selector};
pub(crate) use state::State;
