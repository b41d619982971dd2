//! n-netman's configuration (YAML, versions 1 and 2) as Weft's tables, so that its users start with the file they have.

mod keys;
mod read;

use crate::config::Overlays;

/// What a file means here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translated {
    /// Weft's tables.
    pub overlays: Overlays,
    /// What of it means nothing here, each with its line.
    pub remarks: Vec<String>,
}

/// Reads a file.
///
/// # Errors
/// Where the text is no YAML; else everything that is wrong, each with its line and key.
pub fn translate(text: &str) -> Result<Translated, Vec<String>> {
    let document = read::document(text).map_err(|error| vec![error])?;
    let (overlays, mut problems) = keys::overlays(&document);
    problems.extend(
        overlays
            .problems()
            .into_iter()
            .map(|text| document.located(&text)),
    );
    match problems.is_empty() {
        true => Ok(Translated {
            overlays,
            remarks: keys::remarks(&document),
        }),
        false => Err(problems),
    }
}

#[cfg(test)]
mod tests;
