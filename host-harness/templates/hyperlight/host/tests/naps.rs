//! Builds the guest, and runs the host, which calls it.
use std::process::Command;

#[test]
fn the_guest_naps() {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release"])
        .current_dir("../guest")
        .status()
        .expect("cargo starts");
    assert!(built.success(), "the guest cannot be built: {built}");
    let ran = Command::new(env!("CARGO_BIN_EXE_host"))
        .output()
        .expect("the host starts");
    let error = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "the host failed: {error}");
    assert_eq!(ran.stdout, b"it napped for 10 ms\n");
}
