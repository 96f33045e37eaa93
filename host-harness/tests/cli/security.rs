//! Checks that the tests that SECURITY.md names exist.

use std::{fs, path::Path};

const TEXT: &str = include_str!("../../../SECURITY.md");

/// Collects the text of all Rust sources below a folder.
fn sources(folder: &Path, into: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
            sources(&path, into);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            into.push_str(&fs::read_to_string(path).expect("a source"));
        }
    }
}

#[test]
fn every_promise_names_tests_that_exist() {
    let mut all = String::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), &mut all);
    let rows = TEXT.lines().filter(|line| line.starts_with("| "));
    let promises = rows.filter(|line| !line.contains("---") && !line.contains("is promised that"));
    let mut count = 0;
    for promise in promises {
        let (_, tests) = promise
            .trim_end_matches(" |")
            .rsplit_once("| ")
            .expect("two columns");
        for test in tests.split(", ") {
            let name = test.trim_matches('`');
            let exists = if name.contains('_') {
                all.contains(&format!("fn {name}("))
            } else {
                all.contains(&format!("\"{name}\""))
            };
            assert!(exists, "no test `{name}`: {promise}");
            count += 1;
        }
    }
    assert!(count > 40, "the tables are read: {count}");
}
