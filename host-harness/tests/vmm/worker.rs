//! The process of a VM is this program, started once more. It runs nothing of it but the worker.

use std::sync::atomic::{AtomicBool, Ordering};

use dormir_harness::vmm::Outcome;

use crate::{KVM, guests::exit, outcome};

/// Runs before the constructor that makes this program a worker.
#[used]
#[unsafe(link_section = ".init_array.00101")]
static AT_ITS_START: extern "C" fn() = register;

static IS_REGISTERED: AtomicBool = AtomicBool::new(false);

extern "C" fn register() {
    // SAFETY: the function may be called at any time.
    let status = unsafe { libc::atexit(ask_for_a_socket) };
    IS_REGISTERED.store(status == 0, Ordering::Relaxed);
}

/// A worker that asks for this is ended, and its guest dies with a sentence.
extern "C" fn ask_for_a_socket() {
    // SAFETY: the arguments are numbers. What may be opened ends with this process.
    unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) };
}

#[test]
fn what_the_program_does_at_its_end_is_not_for_a_worker() {
    assert!(IS_REGISTERED.load(Ordering::Relaxed));
    assert_eq!(outcome(&exit(0), KVM), Outcome::Exited(0));
}
