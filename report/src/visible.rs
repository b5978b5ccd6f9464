//! Text from outside, such as names of files and classes, as a terminal may be sent it.

use std::path::Path;

/// `text` in one line that moves no cursor and changes no colour: control characters, and those that turn the direction of writing,
/// are written out (`\u{1b}`).
pub fn visible(text: &str) -> String {
    written_out(text, |_| false)
}

/// As [`visible`], of text in several lines: ends of lines and tabs stay.
pub fn visible_lines(text: &str) -> String {
    written_out(text, |letter| matches!(letter, '\n' | '\t'))
}

/// A path as [`visible`] text.
pub fn visible_path(path: &Path) -> String {
    visible(&path.to_string_lossy())
}

fn written_out(text: &str, stays: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        let moves =
            letter.is_control() || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if moves && !stays(letter) {
            out.extend(letter.escape_unicode());
        } else {
            out.push(letter);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_the_cursor_is_written_out() {
        let name = "größe\n\u{1b}[31m\t\u{9b}\u{202e}\r";
        assert_eq!(visible(name), "größe\\u{a}\\u{1b}[31m\\u{9}\\u{9b}\\u{202e}\\u{d}");
        assert_eq!(visible_lines("a\tb\n\u{7}"), "a\tb\n\\u{7}");
        assert_eq!(visible_path(Path::new("a\nb")), "a\\u{a}b");
    }
}
