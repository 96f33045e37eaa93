//! Counts lines that are unsafe: of blocks and functions, and where traits are implemented. What
//! macros make is not seen.

use proc_macro2::Span;
use std::{collections::BTreeSet, fmt, fs, io, ops::AddAssign, path::Path};
use syn::{
    Block, ExprUnsafe, ImplItemFn, ItemFn, ItemImpl, Safety, Signature, TraitItemFn,
    visit::{self, Visit},
};

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    lines: usize,
    /// Files that cannot be parsed, such as those of a newer edition, or parts of a file.
    unread: usize,
}

impl Count {
    /// The most of each, of two versions of a package.
    pub(super) fn most(self, other: Self) -> Self {
        Self {
            lines: self.lines.max(other.lines),
            unread: self.unread.max(other.unread),
        }
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.lines += other.lines;
        self.unread += other.unread;
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.lines)?;
        match self.unread {
            0 => Ok(()),
            1 => write!(f, ", without a file that cannot be parsed"),
            unread => write!(f, ", without {unread} files that cannot be parsed"),
        }
    }
}

/// The count of a package: of all files below its folder but those of other packages, of tests,
/// benches and examples.
pub(super) fn in_folder(folder: &Path) -> io::Result<Count> {
    const OTHERS: [&str; 4] = ["tests", "benches", "examples", "target"];
    let mut count = Count::default();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or(".");
        if path.is_dir() {
            let is_other = OTHERS.contains(&name) || name.starts_with('.');
            if !is_other && !path.join("Cargo.toml").exists() {
                count += in_folder(&path)?;
            }
        } else if path.extension().is_some_and(|kind| kind == "rs") && name != "tests.rs" {
            count += in_text(&String::from_utf8_lossy(&fs::read(&path)?));
        }
    }
    Ok(count)
}

fn in_text(text: &str) -> Count {
    let Ok(file) = syn::parse_file(text) else {
        return Count {
            lines: 0,
            unread: 1,
        };
    };
    let mut lines = Lines::default();
    lines.visit_file(&file);
    Count {
        lines: lines.0.len(),
        unread: 0,
    }
}

/// The numbers of the lines.
#[derive(Default)]
struct Lines(BTreeSet<usize>);

impl Lines {
    fn add(&mut self, from: Span, to: Span) {
        self.0.extend(from.start().line..=to.end().line);
    }

    fn add_function(&mut self, signature: &Signature, body: Option<&Block>) {
        if let Safety::Unsafe(word) = &signature.safety {
            let end = body.map_or(word.span, |body| body.brace_token.span.close());
            self.add(word.span, end);
        }
    }
}

impl<'ast> Visit<'ast> for Lines {
    fn visit_expr_unsafe(&mut self, node: &'ast ExprUnsafe) {
        self.add(node.unsafe_token.span, node.block.brace_token.span.close());
        visit::visit_expr_unsafe(self, node);
    }

    fn visit_item_fn(&mut self, node: &'ast ItemFn) {
        self.add_function(&node.sig, Some(&node.block));
        visit::visit_item_fn(self, node);
    }

    fn visit_impl_item_fn(&mut self, node: &'ast ImplItemFn) {
        self.add_function(&node.sig, Some(&node.block));
        visit::visit_impl_item_fn(self, node);
    }

    fn visit_trait_item_fn(&mut self, node: &'ast TraitItemFn) {
        self.add_function(&node.sig, node.default.as_ref());
        visit::visit_trait_item_fn(self, node);
    }

    fn visit_item_impl(&mut self, node: &'ast ItemImpl) {
        if let Some(word) = &node.unsafety {
            self.add(word.span, word.span);
        }
        visit::visit_item_impl(self, node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_once() {
        let text = "\
fn safe() {
    let text = \"unsafe { }\"; // unsafe { }
    unsafe {
        unsafe { work() };
    }
}
unsafe impl Send for Thing {}
impl Thing {
    unsafe fn work(&self) {
        self.other();
    }
}
";
        assert_eq!(in_text(text).to_string(), "7");
    }

    #[test]
    fn files_that_cannot_be_parsed_are_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            fs::write(folder.path().join(name), text).expect("a file");
            in_folder(folder.path()).expect("a count").to_string()
        };
        assert_eq!(write("a.rs", "unsafe fn work() {}"), "1");
        let one = "1, without a file that cannot be parsed";
        assert_eq!(write("b.rs", "no Rust"), one);
        assert_eq!(write("no-rust.txt", "no Rust"), one);
        fs::create_dir(folder.path().join("src")).expect("a folder");
        let two = "1, without 2 files that cannot be parsed";
        assert_eq!(write("src/c.rs", "no Rust"), two);
    }

    #[test]
    fn of_two_versions_the_most_counts() {
        let [one, other] = [(3, 0), (1, 2)].map(|(lines, unread)| Count { lines, unread });
        let expected = Count {
            lines: 3,
            unread: 2,
        };
        assert_eq!([one.most(other), other.most(one)], [expected; 2]);
    }
}
