//! Everything that is wrong with a configuration, collected so that it is reported at once.

use std::cell::RefCell;
use std::fmt::Display;

use crate::error::{CniError, Code};

/// A collector that readers share while they walk a configuration.
#[derive(Debug, Default)]
pub struct Problems {
    invalid: RefCell<Vec<String>>,
    unknown: RefCell<Vec<String>>,
}

impl Problems {
    /// Notes a wrong value: the key's path, the value, and what it must be.
    pub fn invalid(&self, path: impl Display, value: &dyn Display, must: &str) {
        self.invalid
            .borrow_mut()
            .push(format!("{path}: {value} {must}"));
    }

    /// Notes something wrong that is not one key's value.
    pub fn conflict(&self, text: impl Into<String>) {
        self.invalid.borrow_mut().push(text.into());
    }

    /// Notes an unknown key.
    pub fn unknown(&self, text: String) {
        self.unknown.borrow_mut().push(text);
    }

    /// The unknown keys so far.
    pub fn unknown_keys(&self) -> Vec<String> {
        self.unknown.borrow().clone()
    }

    /// The wrong values so far.
    pub fn invalid_values(&self) -> Vec<String> {
        self.invalid.borrow().clone()
    }

    /// Refuses the configuration if anything is wrong with it. With `strict` an unknown key is
    /// wrong too; otherwise it is written to the log.
    ///
    /// # Errors
    /// Code 7 for wrong values, code 2 when only unknown keys are at fault.
    pub fn into_result(self, strict: bool) -> Result<(), CniError> {
        let unknown = self.unknown.into_inner();
        let invalid = self.invalid.into_inner();
        if !strict {
            for key in &unknown {
                tracing::warn!(key, "unknown configuration key ignored");
            }
        }
        if !invalid.is_empty() {
            return Err(CniError::new(Code::InvalidConfig, invalid.join("; ")));
        }
        if strict && !unknown.is_empty() {
            return Err(CniError::new(
                Code::UnsupportedField,
                format!("unknown configuration key {}", unknown.join(", ")),
            ));
        }
        Ok(())
    }
}
