//! Escapes text from a guest, from QEMU or from a file for the harness's own messages.

/// Returns whether a terminal would interpret this character, or reorder other text because of it.
#[must_use]
pub fn is_command(character: char) -> bool {
    let reorders_text = matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    character.is_control() || reorders_text
}

/// Returns the text with every character that [is a command](is_command) escaped as in Rust:
/// `\u{1b}`, `\r`.
#[must_use]
pub fn escape(text: &str) -> String {
    escape_except(text, &[])
}

/// Escapes text of several lines: line feeds and tabs stay.
#[must_use]
pub fn escape_lines(text: &str) -> String {
    escape_except(text, &['\n', '\t'])
}

fn escape_except(text: &str, kept: &[char]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if is_command(character) && !kept.contains(&character) {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_shown_and_all_else_stays() {
        for (text, escaped) in [
            ("", ""),
            (
                "größe 1 µs \"a\\b\" — 日本 e\u{301}",
                "größe 1 µs \"a\\b\" — 日本 e\u{301}",
            ),
            (
                "\x1b[2J\x1b[32m100 passed",
                "\\u{1b}[2J\\u{1b}[32m100 passed",
            ),
            ("a\rb\nc\td\0\x7f", "a\\rb\\nc\\td\\u{0}\\u{7f}"),
            // The control sequence introducer as one character.
            ("\u{9b}2J", "\\u{9b}2J"),
            ("\u{202e}dessap", "\\u{202e}dessap"),
        ] {
            assert_eq!(escape(text), escaped, "{text:?}");
        }
        assert_eq!(escape_lines("a\n\tb\r\x1bc"), "a\n\tb\\r\\u{1b}c");
    }

    #[test]
    fn what_is_escaped_has_nothing_left_to_escape() {
        let every: String = ('\0'..=char::MAX).collect();
        let once = escape(&every);
        assert!(!once.contains(is_command));
        assert_eq!(escape(&once), once);
    }
}
