//! From the first instruction to `main`.

mod entry;
pub(crate) mod image;
mod paging;
pub(crate) mod start_info;

use dormir::platform::bare::{self, Config, FaultStacks};

use crate::{args, console, exit, fault, println};

unsafe extern "Rust" {
    /// The program, as `entry!` exports it.
    safe fn dormir_guest_main() -> u8;
    /// Whether the program sets its timers up itself, as `entry!` exports it.
    safe fn dormir_guest_owns_machine() -> bool;
}

/// The first Rust code, on the main stack, with the boot page tables.
extern "sysv64" fn start(start_info: *const u8, entry: u32) -> ! {
    console::init(entry == entry::DIRECT);
    let stacks = FaultStacks {
        double_fault: image::double_fault_stack().end,
        nmi: image::nmi_stack().end,
        machine_check: image::machine_check_stack().end,
    };
    // SAFETY: ring 0, the one vCPU, interrupts masked by the entry, called once; the linker script
    // sets the stacks aside.
    unsafe { bare::install_tables(stacks, fault::report, fault::on_nmi) };
    // SAFETY: `start_info` is what the VMM passed; nothing has been unmapped or written yet.
    let ram = unsafe { start_info::read(start_info, image::whole().start) };
    // SAFETY: ring 0; the boot tables map 1 GiB; nothing but the image is in use in its RAM.
    let free = ram.and_then(|ram| unsafe { paging::init(ram) });
    let free = free.unwrap_or_else(|error| fail(&error));
    #[cfg(feature = "alloc")]
    // SAFETY: mapped, writable, used by nothing else; called once.
    unsafe {
        crate::heap::init(free)
    };
    #[cfg(not(feature = "alloc"))]
    let _ = free;

    if dormir_guest_owns_machine() {
        exit(dormir_guest_main());
    }
    let timer = args::value("timer").map(|name| name.parse().unwrap_or_else(|error| fail(&error)));
    // SAFETY: ring 0, the one vCPU, interrupts masked, tables installed; memory is mapped one to one,
    // the APICs uncached.
    if let Err(error) = unsafe {
        bare::init(Config {
            timer,
            tsc_hz: None,
        })
    } {
        fail(&error);
    }
    x86_64::instructions::interrupts::enable();
    exit(dormir_guest_main())
}

/// What stands in the way of `main`, in a sentence.
fn fail(error: &dyn core::fmt::Display) -> ! {
    println!("error: {error}");
    exit(crate::SETUP_FAILED)
}
