//! Which names a new crate can have.

use std::path::Path;

/// Names that the compiler or cargo have taken, with `_` for `-`.
const TAKEN: &[&str] = &[
    // Keywords.
    "Self",
    "abstract",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "struct",
    "super",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
    "_",
    // The language's own crates.
    "alloc",
    "core",
    "proc_macro",
    "std",
    "test",
    // Folders that cargo makes beside a program.
    "build",
    "deps",
    "examples",
    "incremental",
];

/// Why a folder's name cannot be a crate's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CrateNameError {
    #[error(
        "`{0}` is not a crate's name: use ASCII letters, digits, `-` and `_`, and begin with a \
         letter, as in `my-guest`"
    )]
    Invalid(String),
    #[error(
        "the name `{0}` is taken, by the language, by cargo or by a dependency of the new crate: \
         choose another, such as `my-{0}`"
    )]
    Taken(String),
}

/// Returns the name of the crate in the folder.
pub(super) fn of(folder: &Path) -> Result<&str, CrateNameError> {
    let invalid = || CrateNameError::Invalid(folder.display().to_string());
    let name = folder.file_name().ok_or_else(invalid)?;
    let name = name.to_str().ok_or_else(invalid)?;
    let with_underscores = name.replace('-', "_");
    // Two packages of one name and version cannot be in one lockfile.
    let is_dormirs = with_underscores == "dormir" || with_underscores.starts_with("dormir_");
    if is_dormirs || TAKEN.contains(&&*with_underscores) {
        return Err(CrateNameError::Taken(name.into()));
    }
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let begins = name.starts_with(|first: char| first.is_ascii_alphabetic());
    if begins && name.bytes().all(is_inner) {
        Ok(name)
    } else {
        Err(CrateNameError::Invalid(name.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_of_the_folder_is_the_name() {
        for (folder, name) in [
            ("guest", "guest"),
            ("../a-guest/", "a-guest"),
            ("/x/y/Guest_2", "Guest_2"),
        ] {
            assert_eq!(of(Path::new(folder)), Ok(name));
        }
    }

    #[test]
    fn what_is_no_name_or_taken_is_refused() {
        for folder in [
            "", "/", "..", ".", "2guest", "-x", "_x", "a b", "a.b", "größe", "a\nb",
        ] {
            let error = of(Path::new(folder)).expect_err(folder);
            assert!(
                matches!(error, CrateNameError::Invalid(_)),
                "{folder}: {error}"
            );
        }
        for folder in [
            "core",
            "x/test",
            "dormir-guest",
            "dormir-abi",
            "dormir",
            "fn",
            "proc-macro",
            "deps",
        ] {
            let error = of(Path::new(folder)).expect_err(folder);
            assert!(
                matches!(error, CrateNameError::Taken(_)),
                "{folder}: {error}"
            );
        }
    }
}
