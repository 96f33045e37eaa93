//! Boots a Rust program as a micro-VM guest.
//!
//! ```no_run
//! #![no_std]
//! #![no_main]
//! use core::time::Duration;
//! use dormir::{block_on, idle::Halt, time::Timer};
//! use dormir_guest::println;
//!
//! dormir_guest::entry!(main);
//!
//! fn main() {
//!     block_on(async {
//!         println!("hello");
//!         Timer::after(Duration::from_secs(1)).await;
//!         println!("hello again");
//!     }, Halt);
//! }
//! ```
//!
//! The image is one ELF with two entries: the 64-bit one of the ELF header, for the harness's own
//! VMM, and the 32-bit one of a PVH note, for QEMU's `-kernel` and other VMMs that boot PVH. When
//! `main` runs, interrupts are unmasked, and these are set up:
//!
//! - page tables: nothing is both writable and executable, and address 0 and a page below each
//!   stack are not mapped;
//! - an interrupt table, in which every exception is reported with its registers;
//! - the clock and the timer;
//! - with the feature `alloc`, a heap over the free RAM. Without it the free RAM belongs to the
//!   program: see [`memory`].
//!
//! Constructors (C's `__attribute__((constructor))`, the crates `ctor` and `inventory`) run after
//! the console and the heap and before the timer are set up, with interrupts masked.
//!
//! # Attributes and tests
//!
//! With the feature `macros`, the attributes `main`, `task` and `test` take the place of [`entry!`]
//! and `dormir::tasks!`. With [`test_main!`] in place of [`entry!`], `cargo test` runs each
//! function with `#[dormir_guest::test]` in a VM of its own.
//!
//! # Arguments
//!
//! The command line is a list of words, see [`args`], of at most 4,095 bytes.
//!
//! - `timer=pit|xapic|x2apic|tsc-deadline` sets the timer. If the machine lacks it, the guest ends
//!   with [`SETUP_FAILED`].
//! - `tsc_hz=HZ` sets the TSC's frequency, for machines where neither the hypervisor nor the
//!   processor reports it and there is no PIT to measure it. The clock then uses the TSC alone.
//!
//! # Linking
//!
//! The final link needs `-C relocation-model=static -C link-arg=-Tdormir.ld` in rustflags, as in
//! this repository's `.cargo/config.toml`. This package's build script checks that, and tells the
//! linker where the script is. A package's own build script may pass the script instead, by
//! `cargo::rustc-link-arg=-Tdormir.ld`.
//!
//! The stack of `main` has 256 KiB. `-C link-arg=--defsym=__stack_size=0x100000` makes it 1 MiB.
//! The size is in bytes, a multiple of 4,096, and at least 16,384. A stack overflow is reported,
//! since the page below the stack is not mapped.
//!
//! A static in a section of its own (`#[link_section]`, the crate `linkme`) is placed among the
//! statics of its kind, and keeps its value. If the section's name is a C identifier, the linker
//! defines `__start_NAME` and `__stop_NAME`.
#![no_std]
#![cfg(target_os = "none")]

pub mod args;
mod backtrace;
mod boot;
pub mod console;
mod device_memory;
mod fault;
#[cfg(feature = "alloc")]
pub mod heap;
pub mod memory;
mod nmi;
mod panic_hook;
mod programs;
#[cfg(feature = "serial")]
pub mod serial;
mod termination;
mod testing;
#[cfg(feature = "watchdog")]
mod watchdog;

pub use console::send;
pub use device_memory::{MapError, map_device_memory};
use dormir_abi::{exit as exit_code, port, record::Record};
#[cfg(feature = "macros")]
pub use dormir_macros::{guest_task as task, main, test};
pub use nmi::set_nmi_handler;
pub use panic_hook::set_panic_hook;
pub use termination::Termination;
#[cfg(feature = "watchdog")]
pub use watchdog::{AtStall, start_watchdog};
use x86_64::instructions::port::Port;

/// The exit code of a guest whose machine cannot be set up: no such timer, too little memory.
pub const SETUP_FAILED: u8 = exit_code::SETUP_FAILED;

/// Makes a function the program: `fn()`, or one that returns a [`Termination`].
///
/// `entry!(main, owns_machine)` is for a guest that sets up its timers itself. `main` is then
/// called with interrupts masked, before `dormir::platform::bare::init`, and the arguments `timer=`
/// and `tsc_hz=` are ignored.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        $crate::entry!(@export $main, false);
    };
    ($main:path, owns_machine) => {
        $crate::entry!(@export $main, true);
    };
    (@export $main:path, $owns_machine:literal) => {
        #[unsafe(no_mangle)]
        fn dormir_guest_owns_machine() -> bool {
            $owns_machine
        }

        #[unsafe(no_mangle)]
        fn dormir_guest_main() -> u8 {
            $crate::Termination::exit_code($main())
        }
    };
}

/// What this crate's macros use.
#[doc(hidden)]
pub mod __private {
    pub use crate::{
        programs::run_task,
        testing::{TEST_PROGRAM, TestEntry, run_test},
    };
    pub use dormir;
}

/// Ends the guest, and with it the VM. Codes above [`dormir_abi::exit::MAX`] do not fit through the
/// exit port, which gets that value instead. A record tells the harness the real code.
pub fn exit(code: u8) -> ! {
    x86_64::instructions::interrupts::disable();
    console::write_record(Record::Exit(code.into()));
    // SAFETY: the exit port is the VMM's. Without one the write has no effect.
    unsafe { Port::<u32>::new(port::EXIT).write(exit_code::to_port_value(code)) };
    // The VM ends some time after the write; without an exit port it does not end.
    loop {
        x86_64::instructions::hlt();
    }
}
