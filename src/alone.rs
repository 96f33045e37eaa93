//! Tests that share something with all others of their process.

use std::{any::type_name, env, process::Command, string::String};

/// Runs `body`, a closure in a test, in a process of its own: for what all of a process share, and tests on
/// other threads would disturb.
pub(crate) fn alone<F: FnOnce()>(body: F) {
    const ALONE: &str = "DORMIR_TEST_ALONE";
    // Miri has no processes, and runs one test at a time.
    if cfg!(miri) || env::var_os(ALONE).is_some() {
        return body();
    }
    let name = type_name::<F>()
        .strip_prefix("dormir::")
        .and_then(|name| name.strip_suffix("::{{closure}}"))
        .expect("a closure in a test");
    let output = Command::new(env::current_exe().expect("the test program"))
        .args([name, "--exact", "--test-threads=1", "--nocapture"])
        .env(ALONE, "1")
        .output()
        .expect("the test program starts");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && printed.contains("1 passed"),
        "{name}: {}\n{printed}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr),
    );
}
