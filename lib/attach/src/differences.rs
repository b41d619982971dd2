//! What CHECK finds, all of it in one error.

use weft_cni::AttachmentId;
use weft_node::WeftError;

/// What CHECK found.
#[derive(Default, Debug)]
pub struct Differences(Vec<String>);

impl Differences {
    /// Notes one.
    pub fn add(&mut self, text: impl Into<String>) {
        self.0.push(text.into());
    }

    /// Notes several.
    pub fn extend(&mut self, texts: Vec<String>) {
        self.0.extend(texts);
    }

    /// Nothing, or all of them as one error.
    ///
    /// # Errors
    /// [`WeftError::Differs`].
    pub fn into_result(self, id: &AttachmentId) -> Result<(), WeftError> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(WeftError::Differs {
            id: id.to_string(),
            differences: self.0,
        })
    }
}
