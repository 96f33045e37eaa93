use super::*;

fn checkout() -> (tempfile::TempDir, Workspace) {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in [
        ("guest-image/Cargo.toml", ""),
        (
            PAGE,
            "before\n<!-- records -->\nold\n<!-- /records -->\nafter\n",
        ),
    ] {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().expect("it has one")).expect("a folder");
        fs::write(file, text).expect("a file");
    }
    let workspace = Workspace::at(folder.path()).expect("a checkout");
    (folder, workspace)
}

fn run(name: &str) -> Run {
    Run {
        name: name.into(),
        claim: "Nothing is lost.",
        command: format!("cargo vm soak {name} --record"),
        took: Duration::from_secs(61),
        passed: Some(true),
        result: "10 of 10 were found".into(),
        details: json!({ "found": 10 }),
    }
}

#[test]
fn a_record_is_found_again_and_shown() {
    let (folder, workspace) = checkout();
    assert_eq!(read(&workspace, "two").expect("it can be"), None);
    let recording = Recording { record: true };
    for name in ["two", "one"] {
        recording
            .write(&workspace, &run(name))
            .expect("it is written");
    }
    let found = read(&workspace, "two")
        .expect("it can be")
        .expect("it is there");
    assert_eq!(found["found"], 10);
    let page = fs::read_to_string(folder.path().join(PAGE)).expect("it is there");
    let rows: Vec<&str> = page.lines().collect();
    assert_eq!(rows[0], "before");
    let row = "| Nothing is lost. | `cargo vm soak one --record` | 2 min | 20";
    assert!(rows[4].starts_with(row), "{page}");
    assert!(
        rows[4].ends_with(", passed: 10 of 10 were found |"),
        "{page}"
    );
    assert!(rows[5].contains("soak two"), "{page}");
    assert_eq!(rows[6..], ["<!-- /records -->", "after"]);
}

#[test]
fn a_check_that_is_not_done_has_not_passed() {
    let (folder, workspace) = checkout();
    let run = Run {
        passed: None,
        ..run("one")
    };
    let recording = Recording { record: true };
    recording.write(&workspace, &run).expect("it is written");
    let page = fs::read_to_string(folder.path().join(PAGE)).expect("it is there");
    assert!(page.contains(", so far: 10 of 10"), "{page}");
}

#[test]
fn nothing_is_written_unasked() {
    let (folder, workspace) = checkout();
    let recording = Recording { record: false };
    recording
        .write(&workspace, &run("one"))
        .expect("nothing to do");
    assert!(!folder.path().join(FOLDER).exists());
}

#[test]
fn a_page_without_a_place_is_an_error() {
    let (folder, workspace) = checkout();
    fs::write(folder.path().join(PAGE), "nothing").expect("it can be written");
    let written = Recording { record: true }.write(&workspace, &run("one"));
    let error = written.expect_err("there is no place").to_string();
    assert!(error.contains("<!-- records -->"), "{error}");
}

#[test]
fn what_was_changed_by_hand_is_named() {
    let (folder, workspace) = checkout();
    let records = folder.path().join(FOLDER);
    fs::create_dir_all(&records).expect("a folder");
    fs::write(records.join("one.json"), "{}").expect("a file");
    let error = table(&workspace).expect_err("it is no record").to_string();
    assert!(error.contains("one.json is no record"), "{error}");
}

/// The page of this checkout is as its records are.
#[test]
fn the_page_has_every_record() {
    let workspace = Workspace::locate().expect("this checkout");
    let page = fs::read_to_string(workspace.root().join(PAGE)).expect("the page is there");
    let table = table(&workspace).expect("the records can be read");
    let spliced = spliced(&page, &table);
    assert_eq!(spliced, Some(page), "pass --record, or put {table} there");
}
