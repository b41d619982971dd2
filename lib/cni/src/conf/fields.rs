//! Reading the keys of one JSON object the way runtimes and people write them.
//!
//! Keys match in any case (containerd sends `HostPort`), `null` means absent, `"true"` is true,
//! and numbers may be strings. A wrong value is noted and reading goes on, so that all problems
//! are found in one pass. Keys that no table names are noted as unknown.

use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::problem::Problems;

/// One configuration key, as documentation shows it and as readers look it up.
#[derive(Debug, Clone, Copy)]
pub struct KeySpec {
    /// The key in its documented spelling.
    pub name: &'static str,
    /// What kind of value it takes, in words.
    pub kind: &'static str,
    /// What its absence means.
    pub default: &'static str,
    /// What it does.
    pub doc: &'static str,
}

impl KeySpec {
    /// A key; usable in `const` tables.
    pub const fn new(
        name: &'static str,
        kind: &'static str,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        Self {
            name,
            kind,
            default,
            doc,
        }
    }
}

impl AsRef<str> for KeySpec {
    fn as_ref(&self) -> &str {
        self.name
    }
}

/// A table of the reference page: the keys of one object.
#[derive(Debug, Clone, Copy)]
pub struct KeyTable {
    /// The heading; below a plugin's own table, what follows the plugin's name.
    pub title: &'static str,
    /// One or two sentences above the table.
    pub intro: &'static str,
    /// The keys, in the order in which they are shown.
    pub keys: &'static [KeySpec],
}

/// Where something stands in a configuration; put into words only if there is something to say.
#[derive(Debug, Clone)]
pub struct Path {
    base: Rc<str>,
    index: Option<usize>,
}

impl From<&str> for Path {
    fn from(path: &str) -> Self {
        Self {
            base: path.into(),
            index: None,
        }
    }
}

impl Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            None => f.write_str(&self.base),
            Some(index) => write!(f, "{}[{index}]", self.base),
        }
    }
}

/// A reader over one object.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    object: &'a Map<String, Value>,
    path: Path,
    problems: &'a Problems,
}

impl<'a> Fields<'a> {
    /// A reader over `object`, which stands at `path` in the configuration (empty for the root).
    /// Keys that none of `tables` names are noted as unknown; those that start with `cni.dev/`
    /// are the specification's and pass.
    pub fn new(
        object: &'a Map<String, Value>,
        path: impl Into<Path>,
        tables: &[&[KeySpec]],
        problems: &'a Problems,
    ) -> Self {
        let fields = Self::open(object, path, problems);
        let names = || {
            tables
                .iter()
                .flat_map(|table| table.iter())
                .map(|spec| spec.name)
        };
        for key in object.keys().filter(|key| !key.starts_with("cni.dev/")) {
            if !names().any(|name| name.eq_ignore_ascii_case(key)) {
                problems.unknown(|| {
                    let near = names().find(|name| is_near(name, key));
                    let hint = near.map(|name| format!(" (did you mean {name:?}?)"));
                    format!("{:?}{}", fields.at(key), hint.unwrap_or_default())
                });
            }
        }
        fields
    }

    /// A reader that takes any key.
    pub fn open(
        object: &'a Map<String, Value>,
        path: impl Into<Path>,
        problems: &'a Problems,
    ) -> Self {
        Self {
            object,
            path: path.into(),
            problems,
        }
    }

    /// The path of a key below this object.
    pub fn at(&self, key: impl AsRef<str>) -> String {
        let key = key.as_ref();
        match (&*self.path.base, self.path.index) {
            ("", None) => key.to_owned(),
            _ => format!("{}.{key}", self.path),
        }
    }

    /// Where problems go.
    pub fn problems(&self) -> &'a Problems {
        self.problems
    }

    /// Notes that a key's value is not what it must be.
    pub fn invalid(&self, key: impl AsRef<str>, value: &dyn Display, must: &str) {
        let key = key.as_ref();
        self.problems.invalid(self.at(key), value, must);
    }

    /// The raw value: the exact spelling first, then any other case; `null` is absent.
    pub fn value(&self, key: impl AsRef<str>) -> Option<&'a Value> {
        let key = key.as_ref();
        lookup(self.object, key)
    }

    /// A text; the empty text counts as absent, as in the reference plugins.
    pub fn string(&self, key: impl AsRef<str>) -> Option<&'a str> {
        let key = key.as_ref();
        match self.value(key)? {
            Value::String(text) => Some(text.as_str()).filter(|text| !text.is_empty()),
            other => self.mistyped(key, other, "must be a string"),
        }
    }

    /// A text parsed as `T`; `must` says what it has to be ("must be an IP address").
    pub fn parsed<T: FromStr>(&self, key: impl AsRef<str>, must: &str) -> Option<T> {
        let key = key.as_ref();
        let text = self.string(key)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(_) => self.mistyped(key, &Value::from(text), must),
        }
    }

    /// A boolean, also as `"true"` and `"false"`.
    pub fn boolean(&self, key: impl AsRef<str>) -> Option<bool> {
        let key = key.as_ref();
        match self.value(key)? {
            Value::Bool(flag) => Some(*flag),
            Value::String(text) if text.is_empty() => None,
            Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
            other => self.mistyped(key, other, "must be true or false"),
        }
    }

    /// A whole number within `range`, also as a string of digits.
    pub fn number(&self, key: impl AsRef<str>, range: RangeInclusive<u32>) -> Option<u32> {
        let key = key.as_ref();
        let value = self.value(key)?;
        let number = match value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        match number
            .and_then(|n| u32::try_from(n).ok())
            .filter(|n| range.contains(n))
        {
            Some(number) => Some(number),
            None => {
                let must = format!(
                    "must be a whole number from {} to {}",
                    range.start(),
                    range.end()
                );
                self.mistyped(key, value, &must)
            }
        }
    }

    /// A whole number of any size, also as a string of digits.
    pub fn large_number(&self, key: impl AsRef<str>) -> Option<u64> {
        let key = key.as_ref();
        let value = self.value(key)?;
        let number = match value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        number.or_else(|| self.mistyped(key, value, "must be a whole number"))
    }

    /// A list with the path of each item; an absent one is empty.
    pub fn list(&self, key: impl AsRef<str>) -> Vec<(Path, &'a Value)> {
        let key = key.as_ref();
        match self.value(key) {
            None => Vec::new(),
            Some(Value::Array(items)) => {
                let base: Rc<str> = self.at(key).into();
                let path = |index| Path {
                    base: Rc::clone(&base),
                    index: Some(index),
                };
                let items = items.iter().enumerate();
                items.map(|(index, item)| (path(index), item)).collect()
            }
            Some(other) => {
                let _: Option<()> = self.mistyped(key, other, "must be a list");
                Vec::new()
            }
        }
    }

    /// A list of texts, each parsed as `T`.
    pub fn parsed_list<T: FromStr>(&self, key: impl AsRef<str>, must: &str) -> Vec<T> {
        let key = key.as_ref();
        let mut parsed = Vec::new();
        for (path, item) in self.list(key) {
            match item.as_str().and_then(|text| text.parse().ok()) {
                Some(value) => parsed.push(value),
                None => self.problems.invalid(&path, item, must),
            }
        }
        parsed
    }

    /// An object's raw map; an empty one counts as present.
    pub fn map(&self, key: impl AsRef<str>) -> Option<&'a Map<String, Value>> {
        let key = key.as_ref();
        match self.value(key)? {
            Value::Object(map) => Some(map),
            other => self.mistyped(key, other, "must be an object"),
        }
    }

    /// A reader over an object below this one.
    pub fn object(&self, key: impl AsRef<str>, tables: &[&[KeySpec]]) -> Option<Self> {
        let key = key.as_ref();
        let map = self.map(key)?;
        Some(Self::new(map, &*self.at(key), tables, self.problems))
    }

    /// Readers over the objects of a list.
    pub fn objects(&self, key: impl AsRef<str>, tables: &[&[KeySpec]]) -> Vec<Self> {
        let key = key.as_ref();
        let mut readers = Vec::new();
        for (path, item) in self.list(key) {
            match item {
                Value::Object(map) => readers.push(Self::new(map, path, tables, self.problems)),
                Value::Null => {}
                other => self.problems.invalid(&path, other, "must be an object"),
            }
        }
        readers
    }

    fn mistyped<T>(&self, key: &str, value: &Value, must: &str) -> Option<T> {
        self.invalid(key, value, must);
        None
    }
}

/// The value of a key: the exact spelling first, then any other case; `null` is absent.
pub(super) fn lookup<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    object
        .get(key)
        .or_else(|| {
            object
                .iter()
                .find(|(k, _)| k.eq_ignore_ascii_case(key))
                .map(|(_, v)| v)
        })
        .filter(|value| !value.is_null())
}

/// One edit (or a swap of neighbours) apart, ignoring case: a likely slip of the finger.
fn is_near(name: &str, key: &str) -> bool {
    let a: Vec<char> = name.to_lowercase().chars().collect();
    let b: Vec<char> = key.to_lowercase().chars().collect();
    let same_start = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let rest = |chars: &[char]| chars.len() - same_start;
    let tail = a
        .iter()
        .rev()
        .zip(b.iter().rev())
        .take_while(|(x, y)| x == y)
        .count();
    let same_end = tail.min(rest(&a)).min(rest(&b));
    let (left_a, left_b) = (rest(&a) - same_end, rest(&b) - same_end);
    left_a <= 2 && left_b <= 2 && same_start + same_end >= 2 && a.len().abs_diff(b.len()) <= 2
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEYS: &[KeySpec] = &[
        KeySpec::new("isGateway", "boolean", "false", ""),
        KeySpec::new("mtu", "number", "", ""),
        KeySpec::new("name", "string", "", ""),
    ];

    fn read<T>(value: Value, f: impl Fn(&Fields<'_>) -> T) -> (T, Problems) {
        let problems = Problems::default();
        let result = f(&Fields::new(
            value.as_object().unwrap(),
            "",
            &[KEYS],
            &problems,
        ));
        (result, problems)
    }

    #[test]
    fn keys_match_in_any_case_and_null_is_absent() {
        let conf = json!({"ISGATEWAY": "True", "mtu": "1400", "name": null});
        let (read, problems) = read(conf, |f| {
            (
                f.boolean("isGateway"),
                f.number("mtu", 0..=9000),
                f.string("name").is_some(),
            )
        });
        assert_eq!(read, (Some(true), Some(1400), false));
        assert!(problems.into_result(true).is_ok());
    }

    #[test]
    fn every_problem_is_reported_with_key_and_value() {
        let conf = json!({"isGateway": 3, "mtu": -1, "name": []});
        let ((), problems) = read(conf, |f| {
            f.boolean("isGateway");
            f.number("mtu", 0..=9000);
            f.string("name");
        });
        let error = problems.into_result(false).unwrap_err();
        assert_eq!(error.code, 7);
        for part in ["isGateway: 3", "mtu: -1", "name: []"] {
            assert!(error.msg.contains(part), "{}", error.msg);
        }
    }

    #[test]
    fn unknown_keys_are_refused_only_when_strict() {
        let conf = json!({"isGatway": true, "cni.dev/later": 1});
        let ((), problems) = read(conf.clone(), |_| ());
        assert_eq!(
            problems.unknown_keys(),
            ["\"isGatway\" (did you mean \"isGateway\"?)"]
        );
        assert!(problems.into_result(false).is_ok());
        let ((), problems) = read(conf, |_| ());
        assert_eq!(problems.into_result(true).unwrap_err().code, 2);
    }
}
