//! Boot code: from the first instruction to `main`.

mod entry;
pub(crate) mod image;
pub(crate) mod paging;
pub(crate) mod start_info;

use dormir::platform::bare::{self, Config, FaultStacks, InitError};

use crate::{args, console, exit, fault, memory, nmi, println};

unsafe extern "Rust" {
    /// The program, exported by `entry!`.
    safe fn dormir_guest_main() -> u8;
    /// Whether the program sets up its timers itself, exported by `entry!`.
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
    // sets the stacks aside. `on_nmi` calls the program's handler, which keeps to the same
    // contract; or it makes a report, which calls `current_task` and never returns, where critical
    // sections only mask interrupts: this crate selects dormir's `critical-section-impl`.
    unsafe { bare::install_tables(stacks, fault::report, nmi::on_nmi) };
    // SAFETY: `start_info` comes from the VMM; nothing has been unmapped or written yet.
    let ram = unsafe { start_info::read(start_info, image::whole().start) };
    let ram = ram.unwrap_or_else(|error| fail(&error));
    // SAFETY: ring 0; the entry loaded the boot tables; nothing but the image is in use in its RAM.
    let free = unsafe { paging::init(&ram) }.unwrap_or_else(|error| fail(&error));
    #[cfg(feature = "alloc")]
    for piece in &free {
        // SAFETY: mapped, writable, used by nothing else; each piece is added once.
        unsafe { crate::heap::add(piece.clone()) };
    }
    memory::keep(ram, free);
    construct();

    if dormir_guest_owns_machine() {
        exit(dormir_guest_main());
    }
    let mut config = Config::new();
    config.timer =
        args::value("timer").map(|name| name.parse().unwrap_or_else(|error| fail(&error)));
    config.tsc_hz = args::value("tsc_hz").map(|hz| {
        hz.parse()
            .unwrap_or_else(|_| fail(&"the argument tsc_hz= takes the TSC's frequency in Hz"))
    });
    // SAFETY: ring 0, the one vCPU, interrupts masked, tables installed; memory is mapped one to
    // one, the APICs uncached.
    match unsafe { bare::init(config) } {
        Ok(_) => {}
        Err(error @ (InitError::NoTscFrequency | InitError::ImplausibleTscFrequency { .. })) => {
            fail(&format_args!(
                "{error} (in this guest, by the argument tsc_hz=HZ)"
            ))
        }
        Err(error) => fail(&error),
    }
    x86_64::instructions::interrupts::enable();
    exit(dormir_guest_main())
}

/// Calls the constructors that C's `__attribute__((constructor))` and crates such as `ctor` and
/// `inventory` put into `.init_array`, in the linker's order.
fn construct() {
    for address in image::constructors().step_by(size_of::<extern "C" fn()>()) {
        let constructor = address as *const extern "C" fn();
        // SAFETY: by the linker script, the range is the section, whose words are addresses of
        // functions of this type.
        let constructor = unsafe { constructor.read() };
        constructor();
    }
}

/// Prints why `main` cannot run, and ends the guest.
fn fail(error: &dyn core::fmt::Display) -> ! {
    println!("error: {error}");
    exit(crate::SETUP_FAILED)
}
