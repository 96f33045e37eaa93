//! What the library's tests share: a process of a test's own, and statics made at run time.

#[cfg(feature = "defmt")]
use std::cell::Cell;
#[cfg(not(loom))]
use std::{
    any::type_name,
    env, eprintln,
    process::{self, Command},
    string::String,
    thread,
    time::Duration,
};
use std::{
    boxed::Box,
    sync::{Mutex, atomic::AtomicPtr},
    vec::Vec,
};

/// The limit for one test: many times what the slowest takes.
#[cfg(not(loom))]
const LIMIT: Duration = Duration::from_secs(120);

/// Runs `body`, a closure in a test, in a process of its own, for tests of state that all tests of
/// a process share.
#[cfg(not(loom))]
pub(crate) fn alone<F: FnOnce()>(body: F) {
    const ALONE: &str = "DORMIR_TEST_ALONE";
    // Miri has no processes, and runs one test at a time.
    if cfg!(miri) {
        return body();
    }
    if env::var_os(ALONE).is_some() {
        // On a virtual clock, nothing ends a loop that never waits.
        thread::spawn(|| {
            thread::sleep(LIMIT);
            eprintln!("the test takes longer than {} s", LIMIT.as_secs());
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

/// Makes `value` a static. It stays reachable, so that leak checkers report only what a test leaks
/// besides.
pub(crate) fn leak<T: Sync + 'static>(value: T) -> &'static T {
    static KEPT: Mutex<Vec<AtomicPtr<()>>> = Mutex::new(Vec::new());
    let pointer = Box::into_raw(Box::new(value));
    KEPT.lock()
        .unwrap()
        .push(AtomicPtr::new(pointer.cast::<()>()));
    // SAFETY: the box is never freed, and the list only keeps its address.
    unsafe { &*pointer }
}

/// Returns what `log` sends by defmt: numbers, and indexes of texts, which only the receiver has.
#[cfg(feature = "defmt")]
pub(crate) fn defmt_bytes(log: impl FnOnce()) -> Vec<u8> {
    std::thread_local! {
        static BYTES: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    }

    #[defmt::global_logger]
    struct Logger;

    // SAFETY: each thread has bytes of its own, so no two frames are mixed.
    unsafe impl defmt::Logger for Logger {
        fn acquire() {}

        unsafe fn flush() {}

        unsafe fn release() {}

        unsafe fn write(bytes: &[u8]) {
            let mut all = BYTES.take();
            all.extend_from_slice(bytes);
            BYTES.set(all);
        }
    }

    defmt::timestamp!("{=u8}", 0);

    log();
    BYTES.take()
}
