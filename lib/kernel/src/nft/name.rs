//! Names of tables, chains and sets: almost all are constants, a few are made at run time.

use std::borrow::Cow;

/// A name.
pub type Name = Cow<'static, str>;

/// A constant name.
pub const fn name(text: &'static str) -> Name {
    Cow::Borrowed(text)
}
