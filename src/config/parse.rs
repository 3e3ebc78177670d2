//! From a value's text to its type, strictly: nothing is guessed, nothing is clamped.

use std::net::SocketAddr;

use log::LevelFilter;
use url::Url;

/// Why a text was not taken. The accepted form is said by the variable's kind; `Because` adds what is not obvious.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rejected {
    NotAccepted,
    Because(&'static str),
}

use Rejected::{Because, NotAccepted};

/// The smoke test's index name is longer by `-smoke-test`; OpenSearch takes 255 bytes.
const MAX_INDEX_NAME_BYTES: usize = 200;
const MAX_BUCKET_NAME_BYTES: usize = 255;

/// Decimal digits only: no sign, no fraction, no unit.
pub(super) fn whole(text: &str, minimum: u64, maximum: u64) -> Result<u64, Rejected> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NotAccepted);
    }
    let number: u64 = text.parse().map_err(|_| NotAccepted)?;
    if (minimum..=maximum).contains(&number) { Ok(number) } else { Err(NotAccepted) }
}

/// 0–100.
pub(super) fn percent(text: &str) -> Result<f32, Rejected> {
    if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(NotAccepted);
    }
    let number: f32 = text.parse().map_err(|_| NotAccepted)?;
    if (0.0..=100.0).contains(&number) { Ok(number) } else { Err(NotAccepted) }
}

/// true/false/1/0/yes/no, any case (contract §2).
pub(super) fn boolean(text: &str) -> Result<bool, Rejected> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => Err(NotAccepted),
    }
}

/// Any case; `CRITICAL` is the Python worker's word for what `log` calls ERROR.
pub(super) fn log_level(text: &str) -> Result<LevelFilter, Rejected> {
    match text.to_ascii_uppercase().as_str() {
        "TRACE" => Ok(LevelFilter::Trace),
        "DEBUG" => Ok(LevelFilter::Debug),
        "INFO" => Ok(LevelFilter::Info),
        "WARNING" | "WARN" => Ok(LevelFilter::Warn),
        "ERROR" | "CRITICAL" => Ok(LevelFilter::Error),
        _ => Err(NotAccepted),
    }
}

/// `http`, `https`, or `file` for the embedded queue.
pub(super) fn queue_url(text: &str) -> Result<Url, Rejected> {
    let url = parse_url(text)?;
    if url.scheme() != "file" && url.path().trim_matches('/').is_empty() {
        return Err(Because("the path with the queue's name is missing"));
    }
    Ok(url)
}

/// As typed, or `https://` before a bare host with or without a port.
pub(super) fn endpoint(text: &str) -> Result<Url, Rejected> {
    let has_scheme = text.contains("://") || text.starts_with("file:");
    let url = if has_scheme { parse_url(text)? } else { parse_url(&format!("https://{text}"))? };
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Because("no ? or # may follow"));
    }
    Ok(url)
}

fn parse_url(text: &str) -> Result<Url, Rejected> {
    if text.contains(|character: char| character.is_whitespace() || character.is_control()) {
        return Err(NotAccepted);
    }
    let url = Url::parse(text).map_err(|_| NotAccepted)?;
    match url.scheme() {
        "file" => return Ok(url),
        "http" | "https" => {}
        _ => return Err(NotAccepted),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Because("a URL with user and password in it shows them in logs"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(NotAccepted);
    }
    Ok(url)
}

/// A name as S3 allows (older ones have capitals and underscores), an access point's ARN, or `file:` (embedded).
pub(super) fn bucket(text: &str) -> Result<String, Rejected> {
    if text.starts_with("s3:") {
        return Err(Because("leave out s3://"));
    }
    if text.starts_with("file:") || text.starts_with("arn:") {
        return Ok(text.to_owned());
    }
    let fits = (3..=MAX_BUCKET_NAME_BYTES).contains(&text.len());
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if fits && text.bytes().all(allowed) { Ok(text.to_owned()) } else { Err(NotAccepted) }
}

/// The rules of OpenSearch's create-index API.
pub(super) fn index_name(text: &str) -> Result<String, Rejected> {
    let bad_start = text.starts_with(['-', '_', '+', '.']);
    let bad_character = |character: char| {
        character.is_uppercase()
            || character.is_control()
            || character.is_whitespace()
            || "\\/*?\"<>|,#:".contains(character)
    };
    if text.len() > MAX_INDEX_NAME_BYTES || text.chars().any(bad_character) {
        return Err(NotAccepted);
    }
    if bad_start {
        return Err(Because("it may not begin with - _ + or ."));
    }
    Ok(text.to_owned())
}

/// `ap-northeast-1`, `us-gov-west-1`, …: what a region's name looks like, without a list that grows old.
pub(super) fn region(text: &str) -> Result<String, Rejected> {
    let parts: Vec<&str> = text.split('-').collect();
    let Some((number, words)) = parts.split_last() else { return Err(NotAccepted) };
    let is_word = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    if words.len() >= 2 && words.iter().all(is_word) && is_number { Ok(text.to_owned()) } else { Err(NotAccepted) }
}

/// `jpn+eng`: the names of model files joined by `+`; `script/Japanese` is one too.
pub(super) fn languages(text: &str) -> Result<String, Rejected> {
    let is_language = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'/' | b'-'))
    };
    if text.starts_with('/') || !text.split('+').all(is_language) {
        return Err(NotAccepted);
    }
    Ok(text.to_owned())
}

/// `None` for empty: off.
pub(super) fn address(text: &str) -> Result<Option<SocketAddr>, Rejected> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| NotAccepted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_digits_within_their_limits() {
        assert_eq!(whole("20", 0, 20), Ok(20));
        for wrong in ["21", "-1", "+1", "1.0", "1e1", "20s", "0x10", "", "1_0", "18446744073709551616", "２"] {
            assert_eq!(whole(wrong, 0, 20), Err(NotAccepted), "{wrong}");
        }
    }

    #[test]
    fn percents_may_have_decimals() {
        assert_eq!(percent("62.5"), Ok(62.5));
        for wrong in ["101", "-1", "NaN", "inf", "50%", ".", ""] {
            assert_eq!(percent(wrong), Err(NotAccepted), "{wrong}");
        }
    }

    #[test]
    fn booleans_are_the_six_words_of_the_contract() {
        for word in ["true", "TRUE", "1", "yes"] {
            assert_eq!(boolean(word), Ok(true));
        }
        for word in ["false", "False", "0", "no"] {
            assert_eq!(boolean(word), Ok(false));
        }
        for wrong in ["on", "off", "2", "y", "enabled"] {
            assert_eq!(boolean(wrong), Err(NotAccepted), "{wrong}");
        }
    }

    #[test]
    fn critical_and_warning_are_understood() {
        assert_eq!(log_level("critical"), Ok(LevelFilter::Error));
        assert_eq!(log_level("Warning"), Ok(LevelFilter::Warn));
        assert_eq!(log_level("WARN"), Ok(LevelFilter::Warn));
        assert_eq!(log_level("verbose"), Err(NotAccepted));
    }

    #[test]
    fn a_bare_host_is_reached_by_https() {
        let typed_and_meant = [
            ("search-x.ap-northeast-1.es.amazonaws.com", "https://search-x.ap-northeast-1.es.amazonaws.com/"),
            ("localhost:9200", "https://localhost:9200/"),
            ("https://search.example:9200", "https://search.example:9200/"),
            ("http://127.0.0.1:9200/prefix", "http://127.0.0.1:9200/prefix"),
            ("http://[::1]:9200", "http://[::1]:9200/"),
            ("file:///data/index", "file:///data/index"),
        ];
        for (typed, meant) in typed_and_meant {
            assert_eq!(endpoint(typed).map(String::from).as_deref(), Ok(meant), "{typed}");
        }
    }

    #[test]
    fn endpoints_that_cannot_be_are_refused() {
        for wrong in ["ftp://host", "https://", "http://host:99999", "host name", "https://user:pw@host", "https://h?q"]
        {
            assert!(endpoint(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_queue_url_names_its_queue() {
        assert!(queue_url("http://127.0.0.1:9324/000000000000/files").is_ok());
        assert!(queue_url("https://sqs.ap-northeast-1.amazonaws.com/").is_err());
        assert!(queue_url("files").is_err());
    }

    #[test]
    fn names_of_buckets_indices_regions_and_languages() {
        assert!(bucket("cis-filesearch-storage").is_ok());
        assert_eq!(bucket("s3://storage"), Err(Because("leave out s3://")));
        assert!(bucket("a/b").is_err());
        assert!(index_name("cis-files-v2").is_ok());
        for wrong in ["Files", "a b", "a/b", "-a", ".a"] {
            assert!(index_name(wrong).is_err(), "{wrong}");
        }
        assert!(region("us-gov-west-1").is_ok());
        for wrong in ["tokyo", "ap-northeast", "ap-northeast-1a", "AP-NORTHEAST-1", "1", "-"] {
            assert!(region(wrong).is_err(), "{wrong}");
        }
        assert!(languages("jpn+eng").is_ok());
        for wrong in ["jpn,eng", "jpn+", "../x", "/etc/x", "jpn eng"] {
            assert!(languages(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_empty_address_is_off() {
        assert_eq!(address(""), Ok(None));
        assert!(address("127.0.0.1:9464").is_ok_and(|parsed| parsed.is_some()));
        assert!(address("9464").is_err());
        assert!(address("localhost:9464").is_err());
    }
}
