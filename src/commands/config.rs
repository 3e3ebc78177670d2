//! `config`: the settings that hold and where each is from, secrets masked.

use std::io::{self, Write};

use serde::Serialize;

use crate::cli::{ConfigArgs, exit};
use crate::config::{ConfigSources, EX_CONFIG, EffectiveValue, Settings};

/// Shown for what is neither set nor has a default value.
const NOT_SET: &str = "-";
/// Values longer than this do not widen the column for all others.
const MAX_COLUMN_WIDTH: usize = 72;

/// Prints the settings to `output`; errors and warnings to `diagnostics`, one line each. Wrong values are listed too:
/// who mends them wants to see the rest.
///
/// Returns the exit code: 0, or 78 when something is wrong. Servers that are not set are no error here.
///
/// # Errors
/// When `output` or `diagnostics` cannot be written.
pub fn run(
    sources: &ConfigSources,
    arguments: &ConfigArgs,
    output: &mut impl Write,
    diagnostics: &mut impl Write,
) -> io::Result<u8> {
    let (values, warnings, errors) = match Settings::load(sources, false) {
        Ok(loaded) => {
            let ignored =
                loaded.ignored.iter().map(|ignored| format!("{} is ignored: {}", ignored.variable, ignored.why));
            let warnings: Vec<String> = loaded.warnings.iter().cloned().chain(ignored).collect();
            (loaded.values, warnings, Vec::new())
        }
        Err(wrong) => (wrong.values, wrong.warnings, wrong.errors),
    };
    if arguments.json {
        write_json(&values, output)?;
    } else {
        write_table(&values, output)?;
    }
    for warning in warnings {
        writeln!(diagnostics, "warning: {warning}")?;
    }
    for error in &errors {
        writeln!(diagnostics, "error: {error}")?;
    }
    Ok(if errors.is_empty() { exit::DONE } else { EX_CONFIG })
}

/// One line of the JSON array.
#[derive(Serialize)]
struct JsonValue<'a> {
    name: &'a str,
    /// As text, the way it would be typed; null when not set.
    value: Option<&'a str>,
    source: Option<String>,
}

fn write_json(values: &[EffectiveValue], output: &mut impl Write) -> io::Result<()> {
    let lines: Vec<JsonValue> = values
        .iter()
        .map(|value| JsonValue {
            name: value.variable.name,
            value: value.shown.as_deref(),
            source: value.origin.as_ref().map(ToString::to_string),
        })
        .collect();
    serde_json::to_writer_pretty(&mut *output, &lines)?;
    writeln!(output)
}

fn write_table(values: &[EffectiveValue], output: &mut impl Write) -> io::Result<()> {
    let name_width = values.iter().map(|value| value.variable.name.len()).max().unwrap_or(0);
    let widths = values.iter().filter_map(|value| value.shown.as_deref()).map(|shown| shown.chars().count());
    let value_width = widths.filter(|width| *width <= MAX_COLUMN_WIDTH).max().unwrap_or(0);
    for value in values {
        let name = value.variable.name;
        // A line break in a value would look like another setting.
        let shown = value.shown.as_deref().unwrap_or(NOT_SET).replace(char::is_control, "?");
        let source = match &value.origin {
            Some(origin) => origin.to_string(),
            None => format!("not set: {}", value.variable.default),
        };
        writeln!(output, "{name:<name_width$}  {shown:<value_width$}  {source}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(environment: &[(&str, &str)], json: bool) -> (u8, String, String) {
        let environment = environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let sources = ConfigSources { environment, ..ConfigSources::default() };
        let (mut output, mut diagnostics) = (Vec::new(), Vec::new());
        let code = run(&sources, &ConfigArgs { json }, &mut output, &mut diagnostics).unwrap();
        (code, String::from_utf8(output).unwrap(), String::from_utf8(diagnostics).unwrap())
    }

    fn line_of<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(name));
        line.unwrap_or_else(|| panic!("{name} in {text}")).split_whitespace().collect()
    }

    #[test]
    fn each_setting_is_a_line_with_its_source() {
        let (code, text, _) = shown(&[("SQS_WAIT_TIME", "7"), ("TEMP_DIR", "/")], false);
        assert_eq!(code, 0);
        assert_eq!(text.lines().count(), crate::config::variables::VARIABLES.len());
        assert_eq!(line_of(&text, "SQS_WAIT_TIME"), ["SQS_WAIT_TIME", "7", "environment"]);
        assert_eq!(line_of(&text, "PDF_DPI"), ["PDF_DPI", "300", "default"]);
        assert_eq!(line_of(&text, "S3_BUCKET"), ["S3_BUCKET", "-", "not", "set:", "required"]);
    }

    #[test]
    fn a_password_is_never_shown() {
        let environment = [("OPENSEARCH_USERNAME", "admin"), ("OPENSEARCH_PASSWORD", "geheim")];
        for json in [false, true] {
            let (_, text, diagnostics) = shown(&environment, json);
            assert!(!text.contains("geheim") && !diagnostics.contains("geheim"));
            assert!(text.contains("****"));
        }
    }

    #[test]
    fn json_names_value_and_source() {
        let (_, text, _) = shown(&[("SQS_WAIT_TIME", "7")], true);
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        let entry = parsed.as_array().unwrap().iter().find(|entry| entry["name"] == "SQS_WAIT_TIME").unwrap();
        assert_eq!((entry["value"].as_str(), entry["source"].as_str()), (Some("7"), Some("environment")));
    }

    #[test]
    fn with_a_wrong_value_the_rest_is_still_shown_and_the_code_is_78() {
        let (code, text, diagnostics) = shown(&[("SQS_WAIT_TIME", "x")], false);
        assert_eq!(code, 78);
        assert_eq!(line_of(&text, "SQS_WAIT_TIME")[1], "x");
        assert!(diagnostics.starts_with("error: SQS_WAIT_TIME=\"x\" (environment)"), "{diagnostics}");
    }
}
