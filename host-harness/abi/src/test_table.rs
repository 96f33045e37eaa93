//! The table of tests in a test program's image, and how one of them is chosen.
//!
//! The section [`SECTION`] holds entries of three words of eight bytes: the address of a
//! description, its length in bytes, and the address of the function. A description is a list of
//! fields `key=value`, each followed by a NUL.
//!
//! One entry is the program's own; its fields are `format` ([`FORMAT`]) and `version`, that of
//! `dormir-guest`. All others are tests. Their fields are:
//!
//! - `name`: the function's path, which begins with its crate;
//! - `ignore`: the test is ignored; the value is the reason, or empty;
//! - `should_panic`: the test passes if it panics with a message that contains the value;
//! - `timeout_ms`: its time limit.
//!
//! This much is the same in every format, so that a harness can name the version of any program.

/// The section's name. An image without tests has none, or an empty one.
pub const SECTION: &str = "dormir_tests";

/// The size of an entry in bytes.
pub const ENTRY_BYTES: usize = 24;

/// The version of the fields, and of the argument.
pub const FORMAT: u32 = 1;

/// The name of the argument that chooses the test: `dormir.test=INDEX`, its index in the table.
pub const ARGUMENT: &str = "dormir.test";

/// Returns the value of a field in a description; `None` if it has no such field.
#[must_use]
pub fn field<'a>(description: &'a str, key: &str) -> Option<&'a str> {
    description
        .split_terminator('\0')
        .find_map(|field| field.strip_prefix(key)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_key() {
        let description = "name=a::b\0ignore=\0should_panic=x=y\0";
        assert_eq!(field(description, "name"), Some("a::b"));
        assert_eq!(field(description, "ignore"), Some(""));
        assert_eq!(field(description, "should_panic"), Some("x=y"));
        assert_eq!(field(description, "nam"), None);
        assert_eq!(field("", "name"), None);
    }
}
