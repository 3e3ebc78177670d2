//! Numbers and dates of sheets as they are shown: people search for 2024/4/1 and 1,234, not for 45383 and 1234.
//!
//! Knows what number formats of Japanese offices use, eras and weekdays included (ECMA-376 part 1, 18.8.30 and 18.8.31);
//! fractions and column padding are left out.

use jiff::civil::Date;

/// The days between 1899-12-30 and 1904-01-01, the two beginnings of time in sheets.
const DAYS_TO_1904: f64 = 1_462.0;
/// 9999-12-31, the last day of a sheet's calendar.
const LAST_DAY: f64 = 2_958_465.0;
const SECONDS_PER_DAY: f64 = 86_400.0;
/// Digits after the point that a format may ask for.
const MAX_DECIMALS: usize = 15;

/// The format behind a number below 164, which files do not spell out; those from 27 to 58 as in Japan.
pub fn built_in(number: u32) -> &'static str {
    match number {
        1 => "0",
        2 => "0.00",
        3 | 37 | 38 => "#,##0",
        4 | 39 | 40 => "#,##0.00",
        9 => "0%",
        10 => "0.00%",
        11 | 48 => "0.00E+00",
        14 => "yyyy/m/d",
        15 => "d-mmm-yy",
        16 => "d-mmm",
        17 => "mmm-yy",
        18 => "h:mm AM/PM",
        19 => "h:mm:ss AM/PM",
        20 => "h:mm",
        21 => "h:mm:ss",
        22 => "yyyy/m/d h:mm",
        27 | 36 | 50 | 57 => "ge.m.d",
        28 | 29 | 51 | 54 | 58 => "ggge\"年\"m\"月\"d\"日\"",
        30 => "m/d/yy",
        31 => "yyyy\"年\"m\"月\"d\"日\"",
        32 => "h\"時\"mm\"分\"",
        33 => "h\"時\"mm\"分\"ss\"秒\"",
        34 | 52 | 55 => "yyyy\"年\"m\"月\"",
        35 | 53 | 56 => "m\"月\"d\"日\"",
        45 => "mm:ss",
        46 => "[h]:mm:ss",
        47 => "mm:ss",
        _ => "General",
    }
}

/// A number as its format shows it; `from_1904` for sheets made on old Macintoshes.
pub fn shown(value: f64, format: &str, from_1904: bool) -> String {
    let sections = split_sections(format);
    let (section, magnitude) = match sections.as_slice() {
        [_, negative, ..] if value < 0.0 => (*negative, value.abs()),
        [_, _, zero, ..] if value == 0.0 => (*zero, value),
        [first, ..] => (*first, value),
        [] => ("General", value),
    };
    let pieces = pieces(section);
    // A lone section without a place for digits adds nothing; one among several stands for the number.
    let is_general = pieces.iter().any(|piece| matches!(piece, Piece::General))
        || sections.len() == 1 && pieces.iter().all(|piece| matches!(piece, Piece::Literal(_)));
    if pieces.iter().any(|piece| matches!(piece, Piece::Date(_) | Piece::Elapsed(_))) {
        let days = if from_1904 { value + DAYS_TO_1904 } else { value };
        return shown_date(days, &pieces).unwrap_or_else(|| general(value));
    }
    if is_general || pieces.iter().any(|piece| matches!(piece, Piece::Digit('/'))) {
        general(value)
    } else {
        shown_number(magnitude, &pieces)
    }
}

/// A number without a format: its shortest form, without the noise of binary fractions.
pub fn general(value: f64) -> String {
    if !value.is_finite() {
        return String::new();
    }
    if value != 0.0 && !(1e-9..1e15).contains(&value.abs()) {
        return format!("{value:E}");
    }
    let rounded: f64 = format!("{value:.14e}").parse().unwrap_or(value);
    format!("{rounded}")
}

/// A piece of a format.
#[derive(Debug, PartialEq)]
enum Piece {
    Literal(String),
    General,
    /// `0`, `#`, `?`, `.`, `,`, `%`, `E`, `/`
    Digit(char),
    /// A run of one of `y m d h s g e a`, or `AM/PM` as `A`.
    Date(String),
    /// `[h]`, `[m]`, `[s]`: hours that do not end at 24.
    Elapsed(char),
}

fn split_sections(format: &str) -> Vec<&str> {
    let mut sections = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (position, character) in format.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ';' if !quoted => {
                sections.push(&format[start..position]);
                start = position + 1;
            }
            _ => {}
        }
    }
    sections.push(&format[start..]);
    sections
}

fn pieces(section: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = section;
    while let Some(character) = rest.chars().next() {
        let (piece, length) = piece_at(rest, character);
        pieces.extend(piece);
        rest = rest.get(length..).unwrap_or_default();
    }
    pieces
}

/// The piece at the beginning of `rest` and its bytes.
fn piece_at(rest: &str, character: char) -> (Option<Piece>, usize) {
    let starts = |word: &str| rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    match character {
        '"' => {
            let text = rest[1..].split('"').next().unwrap_or_default();
            (Some(Piece::Literal(text.to_owned())), text.len() + 2)
        }
        '\\' => {
            let literal: String = rest.chars().skip(1).take(1).collect();
            let length = 1 + literal.len();
            (Some(Piece::Literal(literal)), length)
        }
        // The width of a character, or a character repeated to the cell's end.
        '_' | '*' => (None, 1 + rest.chars().nth(1).map_or(0, char::len_utf8)),
        '[' => {
            let inside = rest[1..].split(']').next().unwrap_or_default();
            (bracketed(inside), inside.len() + 2)
        }
        '@' => (Some(Piece::General), 1),
        _ if starts("General") => (Some(Piece::General), "General".len()),
        _ if starts("AM/PM") => (Some(Piece::Date("A".to_owned())), "AM/PM".len()),
        _ if starts("E+") || starts("E-") => (Some(Piece::Digit('E')), 2),
        '0' | '#' | '?' | '.' | ',' | '%' => (Some(Piece::Digit(character)), 1),
        '/' if rest[1..].starts_with(['?', '#']) => (Some(Piece::Digit('/')), 1),
        _ if "ymdhsgea".contains(character.to_ascii_lowercase()) => {
            let run: String = rest.chars().take_while(|next| next.eq_ignore_ascii_case(&character)).collect::<String>();
            let length = run.len();
            (Some(Piece::Date(run.to_ascii_lowercase())), length)
        }
        _ => (Some(Piece::Literal(character.to_string())), character.len_utf8()),
    }
}

/// `[h]`, a currency such as `[$¥-411]`, or a colour or condition, which show nothing.
fn bracketed(inside: &str) -> Option<Piece> {
    let lower = inside.to_ascii_lowercase();
    if let Some(unit @ ('h' | 'm' | 's')) = lower.chars().next()
        && lower.chars().all(|character| character == unit)
    {
        return Some(Piece::Elapsed(unit));
    }
    let currency = inside.strip_prefix('$')?.split('-').next()?;
    (!currency.is_empty()).then(|| Piece::Literal(currency.to_owned()))
}

fn shown_number(value: f64, pieces: &[Piece]) -> String {
    let digits: String =
        pieces.iter().filter_map(|piece| if let Piece::Digit(digit) = piece { Some(*digit) } else { None }).collect();
    let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
    let places = |pattern: &str| {
        pattern.chars().take_while(|digit| *digit != 'E').filter(|digit| matches!(digit, '0' | '#' | '?')).count()
    };
    let least = fraction.chars().filter(|digit| *digit == '0').count();
    let scaled = if digits.contains('%') { value * 100.0 } else { value };
    // Commas at the end of the whole part show thousands of it.
    let thousands = whole.chars().rev().take_while(|digit| *digit == ',').count();
    let scaled = scaled / 1_000_f64.powi(thousands.min(5) as i32);
    let number = if scaled == 0.0 && !digits.contains('0') {
        // Places that need not be filled: accounting formats show a dash for nothing.
        String::new()
    } else if digits.contains('E') {
        format!("{scaled:.*E}", places(fraction).min(MAX_DECIMALS))
    } else {
        let fixed = trimmed(format!("{scaled:.*}", places(fraction).min(MAX_DECIMALS)), least);
        let width = whole.chars().filter(|digit| *digit == '0').count();
        let is_grouped = whole.trim_end_matches(',').contains(',');
        with_whole_part(&fixed, width, is_grouped)
    };
    let mut text = String::new();
    let mut is_placed = false;
    for piece in pieces {
        match piece {
            Piece::Literal(literal) => text.push_str(literal),
            Piece::Digit('%') => text.push('%'),
            Piece::Digit(_) if !is_placed => {
                text.push_str(&number);
                is_placed = true;
            }
            _ => {}
        }
    }
    text.trim().to_owned()
}

/// Without zeros at the end that the format does not ask for.
fn trimmed(mut fixed: String, least_decimals: usize) -> String {
    if let Some(point) = fixed.find('.') {
        while fixed.len() > point + 1 + least_decimals && fixed.ends_with('0') {
            fixed.pop();
        }
    }
    if fixed.ends_with('.') {
        fixed.pop();
    }
    fixed
}

/// With zeros in front up to `width` digits and with commas between thousands.
fn with_whole_part(fixed: &str, width: usize, is_grouped: bool) -> String {
    let (sign, unsigned) = fixed.strip_prefix('-').map_or(("", fixed), |unsigned| ("-", unsigned));
    let (whole, fraction) = unsigned.split_once('.').map_or((unsigned, None), |(whole, rest)| (whole, Some(rest)));
    let padded = format!("{whole:0>width$}");
    let mut grouped = String::new();
    for (position, digit) in padded.chars().enumerate() {
        if is_grouped && position > 0 && (padded.len() - position) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let point = fraction.map(|fraction| format!(".{fraction}")).unwrap_or_default();
    format!("{sign}{grouped}{point}")
}

/// `None` for what is no day of the calendar.
fn shown_date(days: f64, pieces: &[Piece]) -> Option<String> {
    if !(0.0..=LAST_DAY).contains(&days) {
        return None;
    }
    let all_seconds = (days * SECONDS_PER_DAY).round() as i64;
    let date = Date::constant(1899, 12, 30).checked_add(jiff::Span::new().days(all_seconds / 86_400)).ok()?;
    let seconds = all_seconds % 86_400;
    let has_noon = pieces.contains(&Piece::Date("A".to_owned()));
    let mut text = String::new();
    let mut last_unit = ' ';
    for (position, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Literal(literal) => text.push_str(literal),
            Piece::Digit(digit @ ('.' | ',')) => text.push(*digit),
            Piece::Elapsed(unit) => {
                let divisor = match unit {
                    'h' => 3_600,
                    'm' => 60,
                    _ => 1,
                };
                text.push_str(&(all_seconds / divisor).to_string());
                last_unit = *unit;
            }
            Piece::Date(run) => {
                let is_minute =
                    run.starts_with('m') && (last_unit == 'h' || next_unit(&pieces[position + 1..]) == Some('s'));
                text.push_str(&date_piece(run, is_minute, has_noon, date, seconds));
                last_unit = run.chars().next().unwrap_or(' ');
            }
            Piece::Digit(_) | Piece::General => {}
        }
    }
    Some(text.trim().to_owned())
}

fn next_unit(pieces: &[Piece]) -> Option<char> {
    pieces.iter().find_map(|piece| match piece {
        Piece::Date(run) => run.chars().next(),
        Piece::Elapsed(unit) => Some(*unit),
        _ => None,
    })
}

fn date_piece(run: &str, is_minute: bool, has_noon: bool, date: Date, seconds: i64) -> String {
    const WEEKDAYS: [&str; 7] = ["日", "月", "火", "水", "木", "金", "土"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let weekday = WEEKDAYS[date.weekday().to_sunday_zero_offset() as usize % 7];
    let padded = |value: i64| if run.len() > 1 { format!("{value:02}") } else { value.to_string() };
    let (hour, minute) = (seconds / 3_600, seconds / 60 % 60);
    match (run.chars().next().unwrap_or(' '), run.len()) {
        ('y', 1 | 2) => format!("{:02}", date.year() % 100),
        ('y', _) => date.year().to_string(),
        ('m', _) if is_minute => padded(minute),
        ('m', 3..) => MONTHS[(date.month() - 1) as usize % 12].to_owned(),
        ('m', _) => padded(i64::from(date.month())),
        ('d', 3) | ('a', 3) => weekday.to_owned(),
        ('d', 4..) | ('a', 4..) => format!("{weekday}曜日"),
        ('d', _) => padded(i64::from(date.day())),
        ('h', _) if has_noon => padded((hour + 11) % 12 + 1),
        ('h', _) => padded(hour),
        ('s', _) => padded(seconds % 60),
        ('A', _) => (if hour < 12 { "AM" } else { "PM" }).to_owned(),
        ('g', letters) => era(date).0.get(letters.clamp(1, 3) - 1).copied().unwrap_or_default().to_owned(),
        ('e', _) => padded(era(date).1),
        _ => String::new(),
    }
}

/// The era's names for `g`, `gg`, `ggg`, and the year in it.
fn era(date: Date) -> ([&'static str; 3], i64) {
    let eras = [
        (Date::constant(2019, 5, 1), ["R", "令", "令和"]),
        (Date::constant(1989, 1, 8), ["H", "平", "平成"]),
        (Date::constant(1926, 12, 25), ["S", "昭", "昭和"]),
        (Date::constant(1912, 7, 30), ["T", "大", "大正"]),
        (Date::constant(1868, 1, 25), ["M", "明", "明治"]),
    ];
    let found = eras.iter().find(|(first, _)| date >= *first).unwrap_or(&eras[4]);
    (found.1, i64::from(date.year()) - i64::from(found.0.year()) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_by_their_format() {
        for (value, format, expected) in [
            (1234.5, "General", "1234.5"),
            (0.1 + 0.2, "General", "0.3"),
            (1e20, "General", "1E20"),
            (1_234_567.0, "#,##0", "1,234,567"),
            (-1234.0, "#,##0;[Red]▲#,##0", "▲1,234"),
            (-1234.0, "#,##0_ ", "-1,234"),
            (1234.567, "[$¥-411]#,##0.0", "¥1,234.6"),
            (0.256, "0.0%", "25.6%"),
            (7.0, "000", "007"),
            (0.0, "\"$\"#,##0;-#,##0;\"$\"* \"-\"??", "$-"),
            (12.5, "0.0#\"m\"", "12.5m"),
            (0.0, "#,##0;-#,##0;\"-\"", "-"),
            (12_345.0, "#,##0,\"千円\"", "12千円"),
            (1.0 / 3.0, "# ?/?", "0.333333333333333"),
        ] {
            assert_eq!(shown(value, format, false), expected, "{value} {format}");
        }
    }

    #[test]
    fn dates_are_shown_by_their_format() {
        for (value, format, expected) in [
            (45_383.0, "yyyy/m/d", "2024/4/1"),
            (45_383.0, "yyyy\"年\"mm\"月\"dd\"日\"(aaa)", "2024年04月01日(月)"),
            (45_383.0, "[$-411]ggge\"年\"m\"月\"d\"日\"", "令和6年4月1日"),
            (32_516.0, "ge.m.d", "H1.1.8"),
            (32_515.0, "ge.m.d", "S64.1.7"),
            (45_383.573, "yyyy-mm-dd hh:mm:ss", "2024-04-01 13:45:07"),
            (0.75, "h:mm AM/PM", "6:00 PM"),
            (1.5, "[h]:mm", "36:00"),
            (1e9, "yyyy/m/d", "1000000000"),
        ] {
            assert_eq!(shown(value, format, false), expected, "{value} {format}");
        }
        assert_eq!(shown(43_921.0, "yyyy/m/d", true), "2024/4/1");
    }

    #[test]
    fn any_format_is_borne() {
        for format in ["", ";", "\"", "[", "\\", "_", "*", "[h", "日", "E+", "0.0.0", ";;;", "@", "/"] {
            for value in [0.0, -1.5, 45_383.0, f64::MAX, f64::NAN, f64::INFINITY] {
                shown(value, format, false);
            }
        }
    }
}
