//! Everything that is wrong with a configuration, collected so that it is reported at once.

use std::cell::{Cell, RefCell};
use std::fmt::Display;

use crate::error::{CniError, Code};

/// So many are told; of the rest the number is.
const TOLD: usize = 50;

/// A collector that readers share while they walk a configuration.
#[derive(Debug, Default)]
pub struct Problems {
    invalid: RefCell<Vec<String>>,
    unknown: RefCell<Vec<String>>,
    /// How many wrong values and unknown keys are not told.
    more: Cell<(usize, usize)>,
}

fn list(texts: &[String], more: usize, separator: &str) -> String {
    let all = texts.join(separator);
    match more {
        0 => all,
        more => format!("{all}{separator}and {more} more"),
    }
}

impl Problems {
    /// Notes a wrong value: the key's path, the value, and what it must be.
    pub fn invalid(&self, path: impl Display, value: &dyn Display, must: &str) {
        self.note(|| format!("{path}: {value} {must}"));
    }

    fn note(&self, text: impl FnOnce() -> String) {
        let mut invalid = self.invalid.borrow_mut();
        if invalid.len() < TOLD {
            return invalid.push(text());
        }
        let (more, unknown) = self.more.get();
        self.more.set((more + 1, unknown));
    }

    /// Notes something wrong that is not one key's value.
    pub fn conflict(&self, text: impl Into<String>) {
        self.note(|| text.into());
    }

    /// Notes an unknown key.
    pub fn unknown(&self, text: impl FnOnce() -> String) {
        let mut unknown = self.unknown.borrow_mut();
        if unknown.len() < TOLD {
            return unknown.push(text());
        }
        let (invalid, more) = self.more.get();
        self.more.set((invalid, more + 1));
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
        let (more_invalid, more_unknown) = self.more.get();
        let unknown = self.unknown.into_inner();
        let invalid = self.invalid.into_inner();
        if !strict {
            for key in &unknown {
                tracing::warn!(key, "unknown configuration key ignored");
            }
            if more_unknown > 0 {
                tracing::warn!("{more_unknown} more unknown configuration keys ignored");
            }
        }
        if !invalid.is_empty() {
            return Err(CniError::new(
                Code::InvalidConfig,
                list(&invalid, more_invalid, "; "),
            ));
        }
        if strict && !unknown.is_empty() {
            return Err(CniError::new(
                Code::UnsupportedField,
                format!(
                    "unknown configuration key {}",
                    list(&unknown, more_unknown, ", ")
                ),
            ));
        }
        Ok(())
    }
}
