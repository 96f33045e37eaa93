//! Checks that the tests that SECURITY.md names exist.

use std::{fs, path::Path};

const TEXT: &str = include_str!("../../../SECURITY.md");

/// Collects the text of each Rust source below a folder.
fn sources(folder: &Path, into: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
            sources(&path, into);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            into.push(fs::read_to_string(path).expect("a source"));
        }
    }
}

/// Whether the function `name` is a test in this source that is not ignored: by its attributes, or
/// as one of those that run under every VMM.
fn has_test(source: &str, name: &str) -> bool {
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    let function = format!("fn {name}(");
    let is_test = |(index, line): (usize, &&str)| {
        // What is directly above: attributes, of one line or several, and comments.
        let above = lines[..index].iter().rev();
        let mut above =
            above.take_while(|line| !line.is_empty() && !line.ends_with(['{', '}', ';']));
        line.starts_with(&function)
            && above.clone().any(|line| *line == "#[test]")
            && !above.any(is_ignored)
    };
    lines.iter().enumerate().any(is_test)
        || lists(&lines, "under_every_vmm! {", "}").any(|line| line == name)
}

/// Whether an attribute leaves a test out, but under Miri alone.
fn is_ignored(attribute: &&str) -> bool {
    let is_conditional = attribute.starts_with("#[cfg_attr(") && attribute.contains("ignore");
    attribute.starts_with("#[ignore")
        || is_conditional && !attribute.starts_with("#[cfg_attr(miri, ")
}

/// Whether this source of the tests in VMs registers a case `name` that always runs, or does where
/// the machine can.
fn has_case(source: &str, name: &str) -> bool {
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    let (alone, with) = (format!("\"{name}\","), format!("(\"{name}\", "));
    let is_listed = |line: &str| line == alone || line.starts_with(&with);
    let calls = [
        format!("on_every_vmm(\"{name}\", "),
        format!("trial(\"{name}\", "),
        format!("trial(vmm, \"{name}\", "),
        format!("Trial::test(name(\"{name}\"), "),
    ];
    let is_registered = |(index, line): (usize, &&str)| {
        // To the next one's beginning.
        let rest = lines[index + 1..].iter();
        let rest = rest.take_while(|line| !line.contains("rial(") && !line.contains("rial::test("));
        !line.starts_with("//")
            && calls.iter().any(|call| line.contains(call))
            && ![line]
                .into_iter()
                .chain(rest)
                .any(|line| line.contains("with_ignored_flag(true)"))
    };
    lines.iter().enumerate().any(is_registered)
        || lists(&lines, "const CASES: ", "];").any(is_listed)
        || lists(&lines, "const ENDINGS: ", "];").any(is_listed)
}

/// The lines between each line that begins with `begin` and the next that is `end`.
fn lists<'a>(lines: &'a [&str], begin: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
    let begins = (1..=lines.len()).filter(move |index| lines[index - 1].starts_with(begin));
    let list = move |index: usize| lines[index..].iter().take_while(move |line| **line != end);
    begins.flat_map(list).copied()
}

#[test]
fn every_promise_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (mut all, mut in_vms) = (Vec::new(), Vec::new());
    sources(&root, &mut all);
    sources(&root.join("tests/vm"), &mut in_vms);
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
                // First what is quick: there are many sources.
                let mut with_name = all.iter().filter(|source| source.contains(name));
                with_name.any(|source| has_test(source, name))
            } else {
                in_vms.iter().any(|source| has_case(source, name))
            };
            assert!(exists, "no test `{name}` that is run: {promise}");
            count += 1;
        }
    }
    assert!(count > 40, "the tables are read: {count}");
}

#[test]
fn only_a_test_that_is_run_is_a_test() {
    for source in [
        "#[test]\nfn a_test() {",
        "    #[test]\n    #[cfg_attr(miri, ignore = \"slow\")]\n    fn a_test() {",
        "#[test]\n#[cfg_attr(\n    miri,\n    ignore\n)]\n// Why.\nfn a_test() {",
        "proptest! {\n    #[test]\n    fn a_test(bytes: Vec<u8>) {",
        "under_every_vmm! {\n    another\n    a_test\n}\n\nfn a_test(vmm: Vmm) {",
    ] {
        assert!(has_test(source, "a_test"), "{source}");
    }
    for source in [
        "",
        "fn a_test() {",
        "#[test]\nfn not_a_test() {",
        "#[test]\nfn a_test_of_another_name() {",
        "#[test]\nfn another() {}\nfn a_test() {",
        "#[test]\nfn another() {}\n\nfn a_test() {",
        "#[cfg(test)]\nfn a_test() {",
        "// #[test]\nfn a_test() {",
        "// #[test]\n// fn a_test() {",
        "#[test]\n#[ignore = \"it takes an hour\"]\nfn a_test() {",
        "#[ignore]\n#[test]\nfn a_test() {",
        "#[test]\n#[cfg_attr(not(miri), ignore)]\nfn a_test() {",
        "under_every_vmm! {\n    another\n}\n\nfn a_test(vmm: Vmm) {",
        "under_every_vmm! {\n    // a_test\n}\n\nfn a_test(vmm: Vmm) {",
        "let name = \"a_test\";",
    ] {
        assert!(!has_test(source, "a_test"), "{source}");
    }
}

#[test]
fn only_a_case_that_is_registered_is_one() {
    for source in [
        "const CASES: [Case; 2] = [\n    (\"another\", another),\n    (\"a-case\", a_case),\n];",
        "const CASES: &[&str] = &[\n    \"another\",\n    \"a-case\",\n];",
        "const ENDINGS: &[(&str, Expectation)] = &[\n    (\"a-case\", |_, outcome| {",
        "    on_every_vmm(\"a-case\", a_case),",
        "    trial(\"a-case\", a_case),",
        "    trials.push(trial(vmm, \"a-case\", a_case).with_ignored_flag(!is_possible));",
        "    Trial::test(name(\"a-case\"), a_case),",
    ] {
        assert!(has_case(source, "a-case"), "{source}");
    }
    for source in [
        "",
        "let name = \"a-case\";",
        "run.check(name, \"a-case\")?;",
        "(\"a-case\", a_case),",
        "const CASES: [Case; 1] = [\n    // (\"a-case\", a_case),\n];",
        "const CASES: [Case; 1] = [\n    (\"another\", another),\n];\n(\"a-case\", a_case),",
        "const CASES: [Case; 1] = [\n    (\"another-a-case\", another),\n];",
        "const REGISTERS: &[(&str, u64)] = &[\n    (\"a-case\", 1),\n];",
        "// on_every_vmm(\"a-case\", a_case),",
        "    on_every_vmm(\"not-a-case\", a_case),",
        "    trial(\"a-case\", a_case).with_ignored_flag(true),",
        "    trial(\"a-case\", || {\n        a_case()\n    })\n    .with_ignored_flag(true),",
    ] {
        assert!(!has_case(source, "a-case"), "{source}");
    }
}
