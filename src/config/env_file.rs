//! Reads an environment file the way systemd reads `EnvironmentFile=`.
//!
//! Checking a configuration by hand must see exactly what the service will see, traps included. The rules are those of
//! systemd 252 (Amazon Linux 2023), from systemd.exec(5) and its `env-file.c`:
//!
//! * `#` and `;` start a comment only where a name could start; `A=1 # one` has the value `1 # one`
//! * a quote may open anywhere *before* the first unquoted character; what follows a closing quote is joined to it
//! * unquoted: `\x` is `x`, and a backslash at the end of the line joins the next one
//! * in double quotes only `\"`, `\\`, `` \` `` and `\$` are escapes; in single quotes nothing is
//! * quoted values may run over lines; white space around unquoted values is dropped
//! * nothing is expanded; the last assignment wins; `export A=1` is not an assignment
//! * before systemd 254 a comment that ends in a backslash swallows the next line

/// One assignment, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub name: String,
    pub value: String,
    /// Where the name stands, from 1.
    pub line: usize,
}

/// A line that systemd drops, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoredLine {
    pub line: usize,
    pub why: String,
}

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvFile {
    pub assignments: Vec<Assignment>,
    pub ignored: Vec<IgnoredLine>,
}

/// Where in a line the parser stands; the names follow systemd's, so that the two can be compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    BeforeName,
    Name,
    BeforeValue,
    Value,
    ValueEscape,
    SingleQuoted,
    DoubleQuoted,
    DoubleQuotedEscape,
    Comment,
    CommentEscape,
}

/// Characters that a backslash escapes within double quotes.
const ESCAPABLE_IN_DOUBLE_QUOTES: &str = "\"\\`$";

/// Reads the text of an environment file. Nothing in it is an error: what systemd drops is listed.
pub fn parse(text: &str) -> EnvFile {
    let mut parser = Parser::default();
    for character in text.chars() {
        parser.take(character);
        if character == '\n' {
            parser.line += 1;
        }
    }
    parser.finish()
}

struct Parser {
    state: State,
    line: usize,
    name: String,
    name_line: usize,
    value: String,
    /// Length of `value` without the unquoted white space at its end; `None` when it has none.
    value_end: Option<usize>,
    file: EnvFile,
}

impl Default for Parser {
    fn default() -> Self {
        Self {
            state: State::BeforeName,
            line: 1,
            name: String::new(),
            name_line: 1,
            value: String::new(),
            value_end: None,
            file: EnvFile::default(),
        }
    }
}

impl Parser {
    fn take(&mut self, character: char) {
        match self.state {
            State::BeforeName => self.before_name(character),
            State::Name => self.in_name(character),
            State::BeforeValue => self.before_value(character),
            State::Value => self.in_value(character),
            State::ValueEscape => {
                self.state = State::Value;
                if !is_newline(character) {
                    self.value.push(character);
                }
            }
            State::SingleQuoted => match character {
                '\'' => self.state = State::BeforeValue,
                _ => self.value.push(character),
            },
            State::DoubleQuoted => match character {
                '"' => self.state = State::BeforeValue,
                '\\' => self.state = State::DoubleQuotedEscape,
                _ => self.value.push(character),
            },
            State::DoubleQuotedEscape => {
                self.state = State::DoubleQuoted;
                if ESCAPABLE_IN_DOUBLE_QUOTES.contains(character) {
                    self.value.push(character);
                } else if character != '\n' {
                    self.value.push('\\');
                    self.value.push(character);
                }
            }
            State::Comment => match character {
                '\\' => self.state = State::CommentEscape,
                _ if is_newline(character) => self.state = State::BeforeName,
                _ => {}
            },
            State::CommentEscape => {
                if is_newline(character) {
                    self.ignore(self.line, "a comment that ends in a backslash hides the next line".to_owned());
                }
                self.state = State::Comment;
            }
        }
    }

    fn before_name(&mut self, character: char) {
        if matches!(character, '#' | ';') {
            self.state = State::Comment;
        } else if !is_white_space(character) {
            self.state = State::Name;
            self.name_line = self.line;
            self.name.push(character);
        }
    }

    fn in_name(&mut self, character: char) {
        if is_newline(character) {
            let dropped = std::mem::take(&mut self.name);
            self.ignore(self.name_line, format!("{:?} has no =", dropped.trim_end()));
            self.state = State::BeforeName;
        } else if character == '=' {
            self.state = State::BeforeValue;
            self.value_end = None;
        } else {
            self.name.push(character);
        }
    }

    fn before_value(&mut self, character: char) {
        match character {
            _ if is_newline(character) => self.end_assignment(),
            '\'' => self.state = State::SingleQuoted,
            '"' => self.state = State::DoubleQuoted,
            '\\' => self.state = State::ValueEscape,
            _ if is_white_space(character) => {}
            _ => {
                self.state = State::Value;
                self.value.push(character);
            }
        }
    }

    fn in_value(&mut self, character: char) {
        if is_newline(character) {
            self.drop_white_space_at_end();
            self.end_assignment();
        } else if character == '\\' {
            self.state = State::ValueEscape;
            self.value_end = None;
        } else {
            if !is_white_space(character) {
                self.value_end = None;
            } else if self.value_end.is_none() {
                self.value_end = Some(self.value.len());
            }
            self.value.push(character);
        }
    }

    fn drop_white_space_at_end(&mut self) {
        if let Some(length) = self.value_end.take() {
            self.value.truncate(length);
        }
    }

    fn end_assignment(&mut self) {
        self.state = State::BeforeName;
        let name = std::mem::take(&mut self.name).trim_end_matches(is_white_space).to_owned();
        let value = std::mem::take(&mut self.value);
        self.value_end = None;
        if !is_valid_name(&name) {
            self.ignore(self.name_line, not_a_name(&name));
        } else {
            self.file.assignments.push(Assignment { name, value, line: self.name_line });
        }
    }

    /// A last line without line end, also one with an open quote, counts as systemd counts it.
    fn finish(mut self) -> EnvFile {
        match self.state {
            State::Value => {
                self.drop_white_space_at_end();
                self.end_assignment();
            }
            State::BeforeValue
            | State::ValueEscape
            | State::SingleQuoted
            | State::DoubleQuoted
            | State::DoubleQuotedEscape => self.end_assignment(),
            State::Name => {
                let dropped = std::mem::take(&mut self.name);
                self.ignore(self.name_line, format!("{:?} has no =", dropped.trim_end()));
            }
            State::BeforeName | State::Comment | State::CommentEscape => {}
        }
        self.file
    }

    fn ignore(&mut self, line: usize, why: String) {
        self.file.ignored.push(IgnoredLine { line, why });
    }
}

fn not_a_name(name: &str) -> String {
    match name.strip_prefix("export ") {
        Some(rest) => format!("\"export {}\" is not a name: write the line without export", rest.trim()),
        None => format!("{name:?} is not a variable's name"),
    }
}

/// systemd takes the carriage return as a line end too, so files with Windows line ends work.
fn is_newline(character: char) -> bool {
    matches!(character, '\n' | '\r')
}

fn is_white_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r')
}

/// Letters, digits and underscores, not beginning with a digit.
fn is_valid_name(name: &str) -> bool {
    let starts_well = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    starts_well && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).assignments.into_iter().map(|found| (found.name, found.value)).collect()
    }

    fn value_of(text: &str) -> String {
        let mut found = pairs(text);
        assert_eq!(found.len(), 1, "{text:?} gave {found:?}");
        found.remove(0).1
    }

    #[test]
    fn plain_values_lose_the_white_space_around_them() {
        assert_eq!(value_of("A=1"), "1");
        assert_eq!(value_of("  A = one two \t\n"), "one two");
        assert_eq!(value_of("A="), "");
        assert_eq!(value_of("A=  \n"), "");
        assert_eq!(value_of("A=b=c"), "b=c");
    }

    #[test]
    fn single_quotes_keep_everything() {
        assert_eq!(value_of(r#"A=' $HOME \n "x" '"#), r#" $HOME \n "x" "#);
        assert_eq!(value_of("A='one\ntwo'"), "one\ntwo");
    }

    #[test]
    fn double_quotes_escape_only_quote_backslash_backtick_and_dollar() {
        assert_eq!(value_of(r#"A="a\"b\\c\`d\$e""#), r#"a"b\c`d$e"#);
        assert_eq!(value_of(r#"A="a\nb\'c""#), r"a\nb\'c");
        assert_eq!(value_of("A=\"one\\\ntwo\""), "onetwo");
        assert_eq!(value_of("A=\"one\ntwo\""), "one\ntwo");
    }

    #[test]
    fn an_unquoted_backslash_takes_the_next_character_or_joins_lines() {
        assert_eq!(value_of(r"A=a\ b\\c\n"), r"a b\cn");
        assert_eq!(value_of("A=one\\\ntwo"), "onetwo");
        assert_eq!(value_of("A=one\\ \n"), "one ");
        assert_eq!(value_of("A=\\\none"), "one");
    }

    #[test]
    fn quotes_after_the_first_unquoted_character_are_literal() {
        assert_eq!(value_of(r#"A=a"b"c"#), r#"a"b"c"#);
    }

    #[test]
    fn what_follows_a_closing_quote_is_joined() {
        assert_eq!(value_of(r#"A="a"'b'c"#), "abc");
        assert_eq!(value_of(r#"A="a" b"#), "ab");
        assert_eq!(value_of("A=\"a\" # not a comment"), "a# not a comment");
    }

    #[test]
    fn comments_stand_only_where_a_name_could_start() {
        assert_eq!(pairs("# A=1\n; B=2\n  #C=3\nD=4 # four\n"), [("D".to_owned(), "4 # four".to_owned())]);
    }

    #[test]
    fn a_comment_that_ends_in_a_backslash_hides_the_next_line_and_is_told() {
        let file = parse("# note \\\nA=1\nB=2\n");
        assert_eq!(file.assignments, [Assignment { name: "B".to_owned(), value: "2".to_owned(), line: 3 }]);
        assert_eq!(file.ignored[0].line, 1);
    }

    #[test]
    fn nothing_is_expanded() {
        assert_eq!(value_of("A=$B${C}%d~"), "$B${C}%d~");
    }

    #[test]
    fn export_is_not_understood_and_is_told() {
        let file = parse("\nexport A=\"1\"\n");
        assert!(file.assignments.is_empty());
        assert_eq!(file.ignored[0].line, 2);
        assert!(file.ignored[0].why.contains("without export"), "{}", file.ignored[0].why);
    }

    #[test]
    fn lines_that_are_no_assignments_are_told() {
        let file = parse("hello\n1A=2\nA B=3\n=4\nlast");
        assert!(file.assignments.is_empty());
        let lines: Vec<usize> = file.ignored.iter().map(|ignored| ignored.line).collect();
        assert_eq!(lines, [1, 2, 3, 4, 5]);
    }

    #[test]
    fn lines_are_counted_through_quotes_and_windows_line_ends() {
        let file = parse("A='1\n2'\r\nB=3\r\n\r\nC=4");
        let lines: Vec<usize> = file.assignments.iter().map(|found| found.line).collect();
        assert_eq!(lines, [1, 3, 5]);
        assert_eq!(file.assignments[1].value, "3");
    }

    #[test]
    fn every_assignment_is_kept_so_that_the_last_can_win() {
        assert_eq!(pairs("A=1\nA=2").len(), 2);
    }

    #[test]
    fn an_open_quote_runs_to_the_end_of_the_file() {
        assert_eq!(value_of("A=\"1\nB=2\n"), "1\nB=2\n");
    }
}
