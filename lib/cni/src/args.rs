//! `CNI_ARGS`: `KEY=VALUE` pairs separated by semicolons.

use std::collections::BTreeMap;

use crate::error::{CniError, Code};

/// The keys Weft understands, besides any that start with `K8S_`.
pub const KNOWN: &[&str] = &["IgnoreUnknown", "IP", "GATEWAY", "MAC"];

/// The parsed pairs. Order does not matter: runtimes send them in any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CniArgs {
    pairs: BTreeMap<String, String>,
}

impl CniArgs {
    /// Parses the variable's text.
    ///
    /// # Errors
    /// Code 4: a pair without exactly one `=`, or a key that is not known, unless
    /// `IgnoreUnknown` is `1` or `true` (the reference's convention).
    pub fn parse(text: &str) -> Result<Self, CniError> {
        let mut pairs = BTreeMap::new();
        let mut malformed = Vec::new();
        for pair in text.split(';').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some((key, value)) if !key.is_empty() && !value.contains('=') => {
                    pairs.insert(key.to_owned(), value.to_owned());
                }
                _ => malformed.push(format!("{pair:?}")),
            }
        }
        if !malformed.is_empty() {
            return Err(CniError::new(
                Code::InvalidEnvironment,
                format!("CNI_ARGS: not a KEY=VALUE pair: {}", malformed.join(", ")),
            ));
        }
        let args = Self { pairs };
        let unknown = args.unknown();
        if unknown.is_empty() || args.ignores_unknown() {
            Ok(args)
        } else {
            Err(CniError::new(
                Code::InvalidEnvironment,
                format!("CNI_ARGS: unknown key {}", unknown.join(", ")),
            )
            .with_details("add IgnoreUnknown=1 to CNI_ARGS, or remove the key"))
        }
    }

    fn unknown(&self) -> Vec<String> {
        let known = |key: &str| KNOWN.contains(&key) || key.starts_with("K8S_");
        self.pairs
            .iter()
            .filter(|(key, _)| !known(key))
            .map(|(key, value)| format!("{key}={value}"))
            .collect()
    }

    fn ignores_unknown(&self) -> bool {
        self.get("IgnoreUnknown")
            .is_some_and(|v| v == "1" || v.eq_ignore_ascii_case("true"))
    }

    /// The value of a key, unless it is absent or empty.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs
            .get(key)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter() {
        for text in [
            "FOO=1;IgnoreUnknown=1",
            "IgnoreUnknown=true;FOO=1",
            "K8S_POD_NAME=a;",
        ] {
            assert!(CniArgs::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, named) in [("FOO=BAR", "FOO=BAR"), ("IP", "\"IP\""), ("A=b=c", "A=b=c")] {
            let error = CniArgs::parse(text).unwrap_err();
            assert_eq!(error.code, 4);
            assert!(error.msg.contains(named), "{}", error.msg);
        }
    }
}
