//! In which line of weft.toml a key is.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Puts the line in front of a problem that begins with its key (`overlay[0].vni: ...`).
pub(super) fn located(text: &str, problem: &str) -> String {
    let key = problem.split_once(": ").map_or(problem, |(key, _)| key);
    match offset(text, key) {
        Some(offset) => {
            let before = text.get(..offset).unwrap_or_default();
            format!("line {}: {problem}", before.matches('\n').count() + 1)
        }
        None => problem.to_owned(),
    }
}

/// Where the value of a key begins, or that of the nearest around it.
fn offset(text: &str, key: &str) -> Option<usize> {
    let table = DeTable::parse(text).ok()?;
    let mut found = None;
    let mut here = Here::Table(table.get_ref());
    for part in key.split(['.', '[']) {
        let part = part.trim_end_matches(']');
        let Some(next) = here.get(part) else { break };
        found = Some(next.span().start);
        here = match next.get_ref() {
            DeValue::Table(table) => Here::Table(table),
            DeValue::Array(list) => Here::List(list),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => break,
        };
    }
    found
}

enum Here<'a> {
    Table(&'a DeTable<'a>),
    List(&'a [Spanned<DeValue<'a>>]),
}

impl<'a> Here<'a> {
    fn get(&self, part: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        match self {
            Self::Table(table) => {
                let mut entries = table.iter();
                entries
                    .find(|(key, _)| key.get_ref() == part)
                    .map(|(_, value)| value)
            }
            Self::List(list) => list.get(part.parse::<usize>().ok()?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_have_their_lines() {
        let text = "# c\n[[overlay]]\nvni = 0\nbridge = { name = \"x\" }\n\n[[overlay]]\nvni = 5\nrouting.import.install.table = 254\n";
        for (problem, line) in [
            ("overlay[0].vni: 0 is", 3),
            ("overlay[0].bridge.name: x", 4),
            ("overlay[1].routing.import.install.table: no", 8),
            ("overlay[1].port: 0 is no port", 6),
        ] {
            assert_eq!(located(text, problem), format!("line {line}: {problem}"));
        }
        assert_eq!(located(text, "peer: too many"), "peer: too many");
    }
}
