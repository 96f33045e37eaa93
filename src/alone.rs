//! Tests that share something with all others of their process.

use std::{
    any::type_name,
    env, eprintln,
    process::{self, Command},
    string::String,
    thread,
    time::Duration,
};

/// How long it may take: many times what the slowest does.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs `body`, a closure in a test, in a process of its own: for what all of a process share, and tests on
/// other threads would disturb.
pub(crate) fn alone<F: FnOnce()>(body: F) {
    const ALONE: &str = "DORMIR_TEST_ALONE";
    // Miri has no processes, and runs one test at a time.
    if cfg!(miri) {
        return body();
    }
    if env::var_os(ALONE).is_some() {
        // On a clock that stands still nothing ends what does not rest.
        thread::spawn(|| {
            thread::sleep(LIMIT);
            eprintln!("it takes longer than {} s", LIMIT.as_secs());
            process::abort();
        });
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
