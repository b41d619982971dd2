//! Elements of nf_tables sets, as records hold them.
//!
//! An attachment may have thousands. A list of them is written by set, each element a text
//! `KEY[-LAST][=VALUE]` in hexadecimal: half the bytes of an object each.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An element of one of Weft's nf_tables sets, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NftRecord {
    /// The set's or map's name in its table.
    pub set: Cow<'static, str>,
    /// The key, or the first key of a range.
    pub key: String,
    /// The last key of a range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_end: Option<String>,
    /// A map's value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// How a list of elements is written and read: texts by set.
pub(crate) mod by_set {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        elements: &impl AsRef<[NftRecord]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut sets: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for group in elements.as_ref().chunk_by(|one, next| one.set == next.set) {
            if let Some(first) = group.first() {
                let texts = group.iter().map(NftRecord::text);
                sets.entry(&first.set).or_default().extend(texts);
            }
        }
        sets.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, T: From<Vec<NftRecord>>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let sets = BTreeMap::<Cow<'static, str>, Vec<Text<'de>>>::deserialize(deserializer)?;
        let mut elements = Vec::with_capacity(sets.values().map(Vec::len).sum());
        for (set, texts) in &sets {
            elements.extend(
                texts
                    .iter()
                    .map(|text| NftRecord::from_text(set.clone(), &text.0)),
            );
        }
        Ok(elements.into())
    }

    /// A text where it was read, not a copy.
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
}

impl NftRecord {
    fn text(&self) -> String {
        let mut text = self.key.clone();
        for (mark, part) in [('-', &self.key_end), ('=', &self.value)] {
            if let Some(part) = part {
                text.push(mark);
                text.push_str(part);
            }
        }
        text
    }

    fn from_text(set: Cow<'static, str>, text: &str) -> Self {
        let (keys, value) = split(text, '=');
        let (key, key_end) = split(keys, '-');
        Self {
            set,
            key: key.to_owned(),
            key_end: key_end.map(str::to_owned),
            value: value.map(str::to_owned),
        }
    }
}

fn split(text: &str, mark: char) -> (&str, Option<&str>) {
    match text.split_once(mark) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Record {
        #[serde(with = "by_set")]
        nft: Vec<NftRecord>,
    }

    fn element(set: &'static str, key: &str, end: Option<&str>, value: Option<&str>) -> NftRecord {
        NftRecord {
            set: set.into(),
            key: key.to_owned(),
            key_end: end.map(str::to_owned),
            value: value.map(str::to_owned),
        }
    }

    #[test]
    fn elements_are_written_by_set() {
        let record = Record {
            nft: vec![
                element("masq4", "0a010002", None, None),
                element("masq4", "0a010003", None, None),
                element("local4", "0a", Some("0b"), None),
                element("published4", "06", None, Some("0a01")),
                element("masq4", "0a010004", Some("ff"), Some("00")),
            ],
        };
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(
            text,
            r#"{"nft":{"local4":["0a-0b"],"masq4":["0a010002","0a010003","0a010004-ff=00"],"published4":["06=0a01"]}}"#
        );
        let mut read: Record = serde_json::from_str(&text).unwrap();
        read.nft
            .sort_by_key(|read| record.nft.iter().position(|one| one == read));
        assert_eq!(read, record);
    }

    #[test]
    fn what_is_no_list_of_elements_is_refused() {
        for bad in [
            "7",
            r#"{"a":7}"#,
            r#"{"a":"0a"}"#,
            r#"{"a":[7]}"#,
            r#"{"a":[["0a"]]}"#,
        ] {
            let bad = &format!(r#"{{"nft":{bad}}}"#);
            serde_json::from_str::<Record>(bad).unwrap_err();
        }
    }
}
