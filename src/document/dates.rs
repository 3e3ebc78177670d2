//! Dates as producers, scanners and files write them, and the one form that the index gets.

use jiff::civil::DateTime;
use jiff::tz::Offset;
use jiff::{Timestamp, Unit};

/// A date without a zone is Asia/Tokyo (contract §3), which has had no daylight saving time since 1951: a fixed
/// offset needs no zone database.
const TOKYO: Offset = Offset::constant(9);

/// Epoch numbers from here on are milliseconds. As seconds this is the year 5138, as milliseconds March 1973.
const FIRST_EPOCH_MILLISECONDS: f64 = 100_000_000_000.0;

/// Digits before the point of an epoch number: from 100,000,000 seconds to 13 digits of milliseconds.
const EPOCH_DIGITS: std::ops::RangeInclusive<usize> = 9..=13;

/// Local forms that are not ISO 8601. Months, days and hours may have one digit.
const OTHER_FORMS: [&str; 4] = ["%Y/%m/%d %H:%M:%S%.f", "%Y/%m/%d %H:%M", "%Y/%m/%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M"];
const OTHER_DATE_FORMS: [&str; 2] = ["%Y/%m/%d", "%Y%m%d"];

/// Understands ISO 8601 with or without zone, time or fraction; dates with slashes; RFC 2822 (`Last-Modified`); epoch
/// seconds or milliseconds. `None` for everything else, and for years that no file has: before 1900 (zeroed clocks of
/// other systems start in 1601) or from 9999 on (how some write "never"; later years have no form in the index).
pub fn parse_date(text: &str) -> Option<Timestamp> {
    let trimmed = text.trim();
    let timestamp = with_zone(trimmed).or_else(|| without_zone(trimmed)).or_else(|| epoch(trimmed))?;
    let year = TOKYO.to_datetime(timestamp).year();
    (1900..=9998).contains(&year).then_some(timestamp)
}

/// RFC 3339, UTC, with `Z`, to the millisecond: what `date` fields of the index get.
pub fn format_date(timestamp: Timestamp) -> String {
    timestamp.round(Unit::Millisecond).unwrap_or(timestamp).to_string()
}

fn with_zone(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp()))
}

fn without_zone(text: &str) -> Option<Timestamp> {
    let civil = other_form(text).or_else(|| {
        // Digits only are an epoch number unless they were a date above: a form of jiff's would misread them.
        (!text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
    })?;
    TOKYO.to_timestamp(civil).ok()
}

fn other_form(text: &str) -> Option<DateTime> {
    let time_forms = OTHER_FORMS.iter().find_map(|form| DateTime::strptime(form, text).ok());
    time_forms.or_else(|| {
        let is_eight_digits = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit());
        let forms = OTHER_DATE_FORMS.iter().filter(|form| form.contains('/') || is_eight_digits);
        forms.filter_map(|form| jiff::civil::Date::strptime(form, text).ok()).map(DateTime::from).next()
    })
}

/// Shorter numbers are years, zeros and counters, not moments since 1973.
fn epoch(text: &str) -> Option<Timestamp> {
    let whole = text.split('.').next().unwrap_or(text);
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if !is_number || !EPOCH_DIGITS.contains(&whole.len()) {
        return None;
    }
    let number: f64 = text.parse().ok()?;
    let milliseconds = if number < FIRST_EPOCH_MILLISECONDS { number * 1000.0 } else { number };
    Timestamp::from_millisecond(milliseconds.round() as i64).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn normalized(text: &str) -> Option<String> {
        parse_date(text).map(format_date)
    }

    #[test]
    fn dates_with_a_zone() {
        for (text, expected) in [
            ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05Z"),
            ("2024-01-02T03:04:05+09:00", "2024-01-01T18:04:05Z"),
            ("2024-01-02T03:04:05+0900", "2024-01-01T18:04:05Z"),
            ("2024-01-02T03:04:05.678Z", "2024-01-02T03:04:05.678Z"),
            ("2024-01-02T03:04:05.123456+00:00", "2024-01-02T03:04:05.123Z"),
            ("2024-01-02 03:04:05Z", "2024-01-02T03:04:05Z"),
            (" 2024-01-02T03:04:05Z\n", "2024-01-02T03:04:05Z"),
            ("20240102T030405Z", "2024-01-02T03:04:05Z"),
            ("2024-01-02T03:04:05.123456789Z", "2024-01-02T03:04:05.123Z"),
            ("Tue, 02 Jan 2024 03:04:05 GMT", "2024-01-02T03:04:05Z"),
            ("2024-12-31T23:59:60Z", "2024-12-31T23:59:59Z"),
        ] {
            assert_eq!(normalized(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn dates_without_a_zone_are_tokyo() {
        for (text, expected) in [
            ("2024-01-02T03:04:05", "2024-01-01T18:04:05Z"),
            ("2024-01-02T12:00:00.5", "2024-01-02T03:00:00.5Z"),
            ("2024-01-02 12:00:00", "2024-01-02T03:00:00Z"),
            ("2024-01-02T12:00", "2024-01-02T03:00:00Z"),
            ("2024-01-02 12:00", "2024-01-02T03:00:00Z"),
            ("2024-01-02", "2024-01-01T15:00:00Z"),
            ("20240102", "2024-01-01T15:00:00Z"),
            ("20240102T120000", "2024-01-02T03:00:00Z"),
            ("2024/01/02 12:00:00", "2024-01-02T03:00:00Z"),
            ("2024/1/2 9:00", "2024-01-02T00:00:00Z"),
            ("2024/01/02", "2024-01-01T15:00:00Z"),
            // No daylight saving time in Tokyo.
            ("2024-07-02T12:00:00", "2024-07-02T03:00:00Z"),
        ] {
            assert_eq!(normalized(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn epoch_numbers_are_seconds_or_milliseconds() {
        for (text, expected) in [
            ("1704164645", "2024-01-02T03:04:05Z"),
            ("1704164645.678", "2024-01-02T03:04:05.678Z"),
            ("1704164645678", "2024-01-02T03:04:05.678Z"),
            ("100000000", "1973-03-03T09:46:40Z"),
            ("100000000000", "1973-03-03T09:46:40Z"),
        ] {
            assert_eq!(normalized(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_of_a_file_is_none() {
        for text in [
            "",
            " ",
            "yesterday",
            "2024",
            "0",
            "1000",
            "20240230",
            "2024-13-01",
            "2024-02-30",
            "2024-01-02T25:00:00",
            "令和6年1月2日",
            "-1",
            "1e10",
            "inf",
            "NaN",
            ".",
            "99999999999999999999",
            "1601-01-01T00:00:00Z",
            "0001-01-01",
            "9999-12-31",
            "+012024-01-01T00:00:00Z",
            "1704164645678901",
            "20240230x",
            "2024-01-02T03:04:05Zx",
        ] {
            assert_eq!(normalized(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_every_date_survives_its_own_form(text in any::<String>()) {
            if let Some(date) = normalized(&text) {
                prop_assert_eq!(normalized(&date), Some(date));
            }
        }

        #[test]
        fn every_millisecond_survives(milliseconds in 0_i64..4_000_000_000_000) {
            let timestamp = Timestamp::from_millisecond(milliseconds).expect("in range");
            prop_assert_eq!(parse_date(&format_date(timestamp)), Some(timestamp));
        }
    }
}
