//! The functions in `.init_array` are called before `main`, in the linker's order.

use alloc::vec::Vec;

use dormir_guest::println;
use spin::Mutex;

static CALLED: Mutex<Vec<&str>> = Mutex::new(Vec::new());

/// Heap and console are usable; interrupts are masked, and there is no clock yet.
fn called(name: &'static str) {
    println!("constructor {name}");
    assert!(!x86_64::instructions::interrupts::are_enabled());
    assert!(dormir::platform::bare::machine().is_none());
    CALLED.lock().push(name);
}

extern "C" fn usual() {
    called("usual");
}

extern "C" fn first() {
    called("first");
}

#[used]
#[unsafe(link_section = ".init_array")]
static USUAL: extern "C" fn() = usual;

#[used]
#[unsafe(link_section = ".init_array.00001")]
static FIRST: extern "C" fn() = first;

pub(crate) fn check() {
    assert_eq!(*CALLED.lock(), ["first", "usual"]);
}
