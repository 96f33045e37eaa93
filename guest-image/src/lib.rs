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
//! VMM, and the 32-bit one of a PVH note, for QEMU's `-kernel` and other VMMs that boot PVH. Before
//! `main` runs, interrupts are unmasked and there are: page tables of its own (nothing writable is
//! executable; address 0 and a page under each stack are unmapped), an interrupt table in which every
//! exception is reported with its registers, the clock and the timer, and a heap (feature `alloc`)
//! over the RAM that is free: see [`memory`], which without that feature is the program's.
//!
//! Constructors (C's `__attribute__((constructor))`, the crates `ctor` and `inventory`) run when console
//! and heap are there, with interrupts masked, before the timer is set up.
//!
//! # Arguments
//!
//! The command line is a list of words, see [`args`], of up to 4,095 bytes.
//! `timer=pit|xapic|x2apic|tsc-deadline` forces a timer; a guest that is asked for one that the machine lacks
//! ends with [`SETUP_FAILED`]. `tsc_hz=HZ` says how fast the TSC counts, where neither the hypervisor nor the
//! processor does and there is no PIT to measure it; the clock then goes by the TSC alone.
//!
//! # Linking
//!
//! The final link needs `-C relocation-model=static -C link-arg=-Tdormir.ld` as rustflags, as this
//! repository's `.cargo/config.toml` gives them; this package's build script says where the script is.
//!
//! The stack of `main` has 256 KiB. `-C link-arg=--defsym=__stack_size=0x100000` makes it a MiB large; the
//! size is in bytes, a multiple of 4,096, and at least 16,384. An overflow ends in a page below it that is
//! not mapped, and is reported.
//!
//! A static in a section of its own (`#[link_section]`, the crate `linkme`) lies among those of its kind,
//! and keeps its value. Where the section's name is a C identifier, the linker says by `__start_NAME` and
//! `__stop_NAME` where it is.
#![no_std]
#![cfg(target_os = "none")]

pub mod args;
mod boot;
pub mod console;
mod fault;
#[cfg(feature = "alloc")]
pub mod heap;
pub mod memory;
mod panic_hook;
mod termination;

use dormir_abi::{exit as exit_code, port, record::Record};
pub use fault::set_nmi_handler;
pub use panic_hook::set_panic_hook;
pub use termination::Termination;
use x86_64::instructions::port::Port;

/// The exit code of a guest whose machine could not be set up: no such timer, too little memory.
pub const SETUP_FAILED: u8 = exit_code::SETUP_FAILED;

/// Makes a function the program: `fn()`, or one that returns a [`Termination`].
///
/// `entry!(main, owns_machine)` is for a guest that sets up its timers itself: `main` is entered with
/// interrupts masked, before `dormir::platform::bare::init`, and the arguments `timer=` and `tsc_hz=` are
/// not read.
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

/// Ends the guest, and with it the VM. Codes above [`dormir_abi::exit::MAX`] do not fit through the exit port and
/// become it there; the harness is told which it was, and says so.
pub fn exit(code: u8) -> ! {
    x86_64::instructions::interrupts::disable();
    console::write_record(Record::Exit(code.into()));
    // SAFETY: the exit port is the VMM's; where there is none, the write goes nowhere.
    unsafe { Port::<u32>::new(port::EXIT).write(exit_code::to_port_value(code)) };
    // The VM ends a moment after the write, and not at all where there is no such port.
    loop {
        x86_64::instructions::hlt();
    }
}
