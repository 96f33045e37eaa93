//! That nothing is left: no thread, no open file, no process.

use std::{
    fs,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    KVM, TCG_Q35, config,
    guests::{SPIN, exit},
    launch,
};

/// This test program again, to run one of its ignored tests in a process of its own.
fn helper(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.args(["--exact", name, "--ignored"]);
    command
}

/// Runs an ignored test in a process of its own, with this environment variable, and expects it to
/// pass.
pub(crate) fn passes_alone(name: &str, variable: (&str, &str)) {
    let output = helper(name)
        .env(variable.0, variable.1)
        .output()
        .expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    // A name that no test has would end with success, too.
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

#[test]
fn kvm_leaves_no_thread_and_no_file_behind() {
    // In a process of its own, because other tests have threads and files.
    passes_alone("leftovers::helper_that_counts", (MARK_VARIABLE, ""));
}

#[test]
#[ignore = "run by kvm_leaves_no_thread_and_no_file_behind"]
fn helper_that_counts() {
    let count = || {
        let entries = |path| fs::read_dir(path).expect("/proc").count();
        (entries("/proc/self/task"), entries("/proc/self/fd"))
    };
    let all = |vmm| {
        let mut config = config(vmm);
        launch(&exit(0), &config);
        config.timeout = Duration::from_millis(100);
        launch(SPIN, &config);
    };
    all(KVM);
    let before = count();
    (0..5).for_each(|_| all(KVM));
    all(TCG_Q35);
    assert_eq!(count(), before);
}

/// Processes whose command line contains `mark`.
fn processes_with(mark: &str) -> usize {
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    processes
        .filter_map(|process| fs::read(process.path().join("cmdline")).ok())
        .filter(|line| String::from_utf8_lossy(line).contains(mark))
        .count()
}

fn wait_for(what: impl Fn() -> bool) -> bool {
    let started = Instant::now();
    while !what() {
        if started.elapsed() > Duration::from_secs(20) {
            return false;
        }
        sleep(Duration::from_millis(10));
    }
    true
}

const MARK_VARIABLE: &str = "DORMIR_TEST_MARK";

#[test]
fn qemu_ends_with_the_process_that_started_it() {
    let mark = format!("mark-{}", std::process::id());
    let mut child = helper("leftovers::helper_that_is_killed")
        .env(MARK_VARIABLE, &mark)
        .spawn()
        .expect("it starts");
    let ran = wait_for(|| processes_with(&mark) == 1);
    child.kill().expect("it runs");
    child.wait().expect("it was killed");
    assert!(ran, "QEMU was started");
    assert!(wait_for(|| processes_with(&mark) == 0), "QEMU is gone");
}

#[test]
#[ignore = "run by qemu_ends_with_the_process_that_started_it"]
fn helper_that_is_killed() {
    let mut config = config(TCG_Q35);
    config.arguments = std::env::var(MARK_VARIABLE).expect("the test that runs this sets it");
    launch(SPIN, &config);
}
