//! S3 keys as messages carry them: form-encoded in S3's own notifications, literal everywhere else.

use percent_encoding::percent_decode_str;

use crate::document::keys::MAX_KEY_BYTES;

/// The key if an object can have it; otherwise what is wrong with it. `..` and control characters other than NUL
/// are legal in S3.
pub fn checked(key: String) -> Result<String, String> {
    if key.is_empty() {
        return Err("the key is empty".to_owned());
    }
    if key.len() > MAX_KEY_BYTES {
        return Err(format!("the key has {} bytes, S3 allows {MAX_KEY_BYTES}", key.len()));
    }
    if key.contains('\0') {
        return Err("the key contains a NUL character".to_owned());
    }
    Ok(key)
}

/// Decodes a key of an S3 notification: `+` is a space, `%xx` a byte. A `%` without two hexadecimal digits after it
/// stands for itself, as in every form decoder; S3 never sends one.
pub fn form_decoded(encoded: &str) -> Result<String, String> {
    let spaced = encoded.replace('+', " ");
    percent_decode_str(&spaced)
        .decode_utf8()
        .map(|decoded| decoded.into_owned())
        .map_err(|_| "the key is not UTF-8 after decoding".to_owned())
}

/// The other key that a producer may have meant by a literal one: kinds 2–5 are literal, but not every producer
/// keeps to it (contract §1, "Key decoding"). `None` when decoding changes nothing or leaves no possible key.
pub fn second_reading(literal: &str) -> Option<String> {
    if !literal.contains(['+', '%']) {
        return None;
    }
    let decoded = form_decoded(literal).and_then(checked).ok()?;
    (decoded != literal).then_some(decoded)
}
