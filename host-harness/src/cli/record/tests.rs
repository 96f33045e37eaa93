use super::*;

fn checkout() -> (tempfile::TempDir, Workspace) {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in [
        ("guest-image/Cargo.toml", ""),
        (
            PAGE,
            "before\n<!-- records -->\nold\n<!-- /records -->\nafter\n\
             <!-- promises -->\n<!-- /promises -->\n",
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
    let row = "| Nothing is lost. | `cargo vm soak one --record` | 61 s | 20";
    assert!(rows[4].starts_with(row), "{page}");
    assert!(
        rows[4].ends_with(", passed: 10 of 10 were found |"),
        "{page}"
    );
    assert!(rows[5].contains("soak two"), "{page}");
    assert_eq!(rows[6..8], ["<!-- /records -->", "after"]);
}

/// Else they would pass for what was tried now.
#[test]
fn old_results_keep_their_date() {
    let (folder, workspace) = checkout();
    let file = file(&workspace, "one");
    let recording = Recording { record: true };
    let amended = |taken| {
        let run = Run {
            took: Duration::from_secs(taken),
            result: format!("{taken} s"),
            ..run("one")
        };
        recording.amend(&workspace, &run).expect("it is written");
        parse(&file).expect("it is there")
    };
    // There is none yet.
    let mut record = amended(7);
    assert_eq!(record["seconds"], 7);
    record["date"] = "2001-02-03T04:05:06Z".into();
    record["commit"] = "an old one".into();
    fs::write(&file, record.to_string()).expect("it can be");
    record["result"] = "8 s".into();
    assert_eq!(amended(8), record);
    let page = fs::read_to_string(folder.path().join(PAGE)).expect("it is there");
    assert!(page.contains("| 2001-02-03, passed: 8 s |"), "{page}");
}

#[test]
fn promises_have_a_table_of_their_own() {
    let (folder, workspace) = checkout();
    let recording = Recording { record: true };
    for name in ["one", "promise-one"] {
        let run = Run {
            took: Duration::from_secs(121),
            ..run(name)
        };
        recording.write(&workspace, &run).expect("it is written");
    }
    let page = fs::read_to_string(folder.path().join(PAGE)).expect("it is there");
    let (records, promises) = page.split_once("after").expect("both tables");
    for (table, command) in [(records, "`cargo vm soak one"), (promises, "promise-one")] {
        let rows: Vec<&str> = table.lines().filter(|row| row.contains("soak")).collect();
        assert_eq!(rows.len(), 1, "{page}");
        assert!(rows[0].contains(command), "{page}");
        assert!(rows[0].contains(" | 3 min | "), "{page}");
    }
}

/// Records are no change of what was tested.
#[test]
fn a_commit_is_dirty_if_something_else_than_a_record_has_changed() {
    let (folder, workspace) = checkout();
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=a", "-c", "user.email=a@b"]);
        let ran = git.args(arguments).current_dir(folder.path()).output();
        let ran = ran.expect("git runs");
        assert!(ran.status.success(), "{ran:?}");
    };
    git(&["init", "--quiet"]);
    assert_eq!(commit(&workspace), None);
    git(&["add", "--all"]);
    git(&["commit", "--quiet", "--message", "one"]);
    let recording = Recording { record: true };
    for name in ["one", "two"] {
        recording.write(&workspace, &run(name)).expect("it can be");
        git(&["add", "--all"]);
    }
    let clean = commit(&workspace).expect("there is one");
    assert_eq!(clean.len(), 12, "{clean}");
    let dirty = Some(format!("{clean}-dirty"));
    let new = folder.path().join("guest-image/new.rs");
    fs::write(&new, "").expect("it can be");
    assert_eq!(commit(&workspace), dirty);
    fs::remove_file(new).expect("it can be");
    assert_eq!(commit(&workspace).as_ref(), Some(&clean));
    fs::write(folder.path().join("guest-image/Cargo.toml"), "new").expect("it can be");
    assert_eq!(commit(&workspace), dirty);
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
fn a_result_of_several_lines_is_one_row() {
    let record = json!({
        "claim": "c", "command": "d", "seconds": 1, "date": "2001-02-03T", "passed": false,
        "result": "a triple fault:\n  rip=1 | rsp=2\n",
    });
    let expected = "| c | `d` | 1 s | 2001-02-03, failed: a triple fault: rip=1 \\| rsp=2 |\n";
    assert_eq!(row(&record).as_deref(), Some(expected));
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
    for (text, lacks) in [
        ("<!-- records -->\n<!-- /records -->", "<!-- /promises -->"),
        ("<!-- promises -->\n<!-- /promises -->", "<!-- records -->"),
    ] {
        fs::write(folder.path().join(PAGE), text).expect("it can be written");
        let written = Recording { record: true }.write(&workspace, &run("one"));
        let error = written.expect_err("there is no place").to_string();
        assert!(error.contains(lacks), "{error}");
    }
}

#[test]
fn what_was_changed_by_hand_is_named() {
    let (folder, workspace) = checkout();
    let records = folder.path().join(FOLDER);
    fs::create_dir_all(&records).expect("a folder");
    fs::write(records.join("one.json"), "{}").expect("a file");
    let error = table(&workspace, &PLACES[1]);
    let error = error.expect_err("it is no record").to_string();
    assert!(error.contains("one.json is no record"), "{error}");
}

/// The page of this checkout is as its records are.
#[test]
fn the_page_has_every_record() {
    let workspace = Workspace::locate().expect("this checkout");
    let page = fs::read_to_string(workspace.root().join(PAGE)).expect("the page is there");
    let with_tables = with_tables(page.clone(), &workspace).expect("the records can be read");
    let missing = with_tables.lines().filter(|line| !page.contains(line));
    let missing = Vec::from_iter(missing).join("\n");
    assert!(
        with_tables == page,
        "pass --record, or put there:\n{missing}"
    );
}

/// What was found must be found again by others.
#[test]
fn every_record_is_of_a_commit() {
    let workspace = Workspace::locate().expect("this checkout");
    let records = fs::read_dir(workspace.root().join(FOLDER)).expect("there are records");
    for file in records {
        let path = file.expect("it is there").path();
        let record: Value =
            serde_json::from_slice(&fs::read(&path).expect("it is there")).expect("it is JSON");
        let commit = record["commit"].as_str().expect("it has a commit");
        assert!(
            commit.len() >= 12 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{} is of `{commit}`: commit the changes, and record once more",
            path.display()
        );
    }
}
