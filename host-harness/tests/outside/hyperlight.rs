//! `cargo vm new --template hyperlight` makes a guest and a host whose test passes.

use std::{fs, os::unix::fs::symlink};

use crate::{PROGRAM, command, has_target, run, stderr, target};

#[test]
fn the_new_host_calls_the_new_guest() {
    if !has_target() {
        return;
    }
    dormir_harness::hyperlight::probe().expect("sandboxes can run");
    let folder = tempfile::tempdir().expect("a folder for the test");
    let mut new = command(PROGRAM);
    new.args(["new", "naps", "--template", "hyperlight"])
        .current_dir(folder.path());
    let output = run(new);
    assert!(output.status.success(), "{}", stderr(&output));

    let pair = folder.path().join("naps");
    for part in ["guest", "host"] {
        // Where the test expects it, and kept for this test's next run.
        let kept = target("hyperlight").join(part);
        fs::create_dir_all(&kept).expect("a folder is made");
        symlink(kept, pair.join(part).join("target")).expect("a link is made");
    }
    let mut test = command("cargo");
    test.arg("test").current_dir(pair.join("host"));
    let output = run(test);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}\n{}", stderr(&output));
    assert!(stdout.contains("test the_guest_naps ... ok"), "{stdout}");
}
