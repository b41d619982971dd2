//! Messages of the protocol between hosts, as code that `make proto` writes from `proto/`.

#![allow(
    clippy::all,
    clippy::too_many_lines,
    clippy::allow_attributes_without_reason,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    reason = "generated code"
)]

/// n-netman's.
pub(crate) mod nnetman {
    /// Version 1.
    pub(crate) mod v1 {
        include!("wire/nnetman.v1.rs");
    }
}

/// Weft's own beside it.
pub(crate) mod weft {
    /// Of overlays.
    pub(crate) mod overlay {
        /// Version 1.
        pub(crate) mod v1 {
            include!("wire/weft.overlay.v1.rs");
        }
    }
}
