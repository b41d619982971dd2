//! Comments on rules and elements, in `nft`'s own user data.

use std::sync::Arc;

/// Type 0, length, text with a NUL.
const UDATA_COMMENT: u8 = 0;
/// `nft` allows 128 bytes with the NUL.
const COMMENT_BYTES: usize = 127;

pub(super) fn comment_bytes(text: &str) -> Vec<u8> {
    let (header, text) = comment_parts(text);
    [&header, text.as_bytes(), &[0]].concat()
}

/// What comes before a comment's text, and as much of it as there may be.
pub(super) fn comment_parts(text: &str) -> ([u8; 2], &str) {
    let mut end = text.len().min(COMMENT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = text.get(..end).unwrap_or_default();
    let length = u8::try_from(text.len() + 1).unwrap_or(u8::MAX);
    ([UDATA_COMMENT, length], text)
}

pub(super) fn read_comment(bytes: &[u8]) -> Arc<str> {
    match bytes {
        [UDATA_COMMENT, _, text @ ..] => {
            String::from_utf8_lossy(text).trim_end_matches('\0').into()
        }
        _ => "".into(),
    }
}
