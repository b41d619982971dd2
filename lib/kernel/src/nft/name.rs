//! Names of tables, chains and sets: almost all are constants, a few are made at run time.

use std::borrow::Cow;

/// The name of a table, chain or set: a constant, or owned where it is made at run time.
pub type Name = Cow<'static, str>;

/// A constant name.
pub const fn name(text: &'static str) -> Name {
    Cow::Borrowed(text)
}
