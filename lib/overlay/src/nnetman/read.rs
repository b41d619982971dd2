//! A YAML text as values that know their lines.

use std::collections::BTreeMap;

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};
use serde_json::{Map, Value};

/// A text's first document.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) value: Value,
    /// By path (`overlays[0].vni`), from 1.
    lines: BTreeMap<String, usize>,
}

/// Reads a text.
///
/// # Errors
/// Where it is no YAML.
pub(super) fn document(text: &str) -> Result<Document, String> {
    let documents = MarkedYaml::load_from_str(text).map_err(|error| error.to_string())?;
    let mut document = Document::default();
    if let Some(first) = documents.first() {
        document.value = document.take(first, "");
    }
    Ok(document)
}

impl Document {
    fn take(&mut self, node: &MarkedYaml<'_>, path: &str) -> Value {
        self.lines.insert(path.to_owned(), node.span.start.line());
        match &node.data {
            YamlData::Mapping(mapping) => {
                let mut map = Map::new();
                for (key, value) in mapping {
                    let YamlData::Value(scalar) = &key.data else {
                        continue;
                    };
                    let name = plain(scalar).to_string();
                    let name = name.trim_matches('"').to_owned();
                    let path = match path {
                        "" => name.clone(),
                        path => format!("{path}.{name}"),
                    };
                    let value = self.take(value, &path);
                    self.lines.insert(path, key.span.start.line());
                    map.insert(name, value);
                }
                Value::Object(map)
            }
            YamlData::Sequence(items) => {
                let items = items.iter().enumerate();
                Value::Array(
                    items
                        .map(|(number, item)| self.take(item, &format!("{path}[{number}]")))
                        .collect(),
                )
            }
            YamlData::Value(scalar) => plain(scalar),
            YamlData::Tagged(_, inner) => self.take(inner, path),
            YamlData::Representation(text, ..) => Value::from(text.as_ref()),
            YamlData::Alias(_) | YamlData::BadValue => Value::Null,
        }
    }

    /// The line of a path, or of the nearest that is there around it.
    pub(super) fn line(&self, path: &str) -> usize {
        let mut path = path;
        loop {
            if let Some(line) = self.lines.get(path) {
                return *line;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = path.get(..end).unwrap_or_default(),
                None => return 1,
            }
        }
    }

    /// A problem of Weft's tables, which begins with their key, with the line here.
    pub(super) fn located(&self, problem: &str) -> String {
        let (key, _) = problem.split_once(": ").unwrap_or((problem, ""));
        let path = key.replacen("overlay[", "overlays[", 1);
        let path = path.replacen("peer[", "peers[", 1);
        let theirs = [
            ("overlays[0]", "overlay.vxlan"),
            ("peers[", "overlay.peers["),
        ];
        let mut found = self.line(&path);
        if self.lines.contains_key("overlay") {
            let path = theirs
                .iter()
                .fold(path, |path, (ours, one)| path.replacen(ours, one, 1));
            found = self.line(&path);
        }
        format!("line {found}: {problem}")
    }
}

fn plain(scalar: &Scalar<'_>) -> Value {
    match scalar {
        Scalar::Null => Value::Null,
        Scalar::Boolean(value) => Value::Bool(*value),
        Scalar::Integer(number) => Value::from(*number),
        Scalar::FloatingPoint(number) => Value::from(number.into_inner()),
        Scalar::String(text) => Value::from(text.as_ref()),
    }
}
