//! Panics and exceptions: printed on the console and recorded for the harness; then the guest ends.

use core::{
    panic::PanicInfo,
    sync::atomic::{AtomicPtr, Ordering},
};

use dormir::{
    arch::x86_64::{
        exceptions::{ExceptionFrame, GENERAL_NAMES},
        interrupt::InterruptFrame,
    },
    executor::current_task,
};
use dormir_abi::{exit as exit_code, record::Record};
use x86_64::registers::control::{Cr2, Cr3};

use crate::{
    boot::image,
    console::{TextLine, write_record},
    exit, panic_hook, print, println,
};

#[panic_handler]
fn on_panic(info: &PanicInfo<'_>) -> ! {
    x86_64::instructions::interrupts::disable();
    panic_hook::call(info);
    let task = current_task();
    println!("{info}");
    if let Some(task) = task {
        println!("in the task {task}");
    }
    let message = info.message();
    let text = match (task, info.location()) {
        (Some(task), Some(location)) => {
            TextLine::message(format_args!("task {task}: {location}: {message}"))
        }
        (Some(task), None) => TextLine::message(format_args!("task {task}: {message}")),
        (None, Some(location)) => TextLine::message(format_args!("{location}: {message}")),
        (None, None) => TextLine::message(format_args!("{message}")),
    };
    write_record(Record::Panic(text.as_str()));
    exit(exit_code::PANIC)
}

/// Reports which exception came and where, prints the registers, and ends the guest.
pub(crate) fn report(frame: &ExceptionFrame) -> ! {
    let overflow = frame.fault_address().and_then(image::overflowed_stack);
    let text = match overflow {
        Some(stack) => TextLine::message(format_args!(
            "stack overflow of the {stack}: {frame}, rsp {:#x}",
            frame.rsp
        )),
        None => TextLine::message(format_args!("{frame}")),
    };
    println!("exception: {}", text.as_str());
    print_registers(frame);
    write_record(Record::Exception(text.as_str()));
    exit(exit_code::EXCEPTION)
}

fn print_registers(frame: &ExceptionFrame) {
    let special = [
        ("rip", frame.rip),
        ("cs", frame.cs),
        ("rflags", frame.rflags),
        ("rsp", frame.rsp),
        ("ss", frame.ss),
        ("error", frame.error_code),
        ("cr2", Cr2::read_raw()),
        ("cr3", Cr3::read().0.start_address().as_u64()),
    ];
    let general = GENERAL_NAMES.into_iter().zip(frame.general);
    for (index, (name, value)) in special.into_iter().chain(general).enumerate() {
        let end = if index % 3 == 2 { "\n" } else { "" };
        print!("  {name:>6} {value:#018x}{end}");
    }
    println!();
}

/// The address of the guest's handler; null if there is none. A function pointer fits, since on
/// this target both are addresses.
static NMI_HANDLER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Makes NMIs call `handler`, which may wake tasks. Without a handler an NMI ends the guest.
///
/// # Safety
///
/// `handler` must not use timers, critical sections or the heap: they do not mask NMIs, so an NMI
/// can interrupt any of them.
pub unsafe fn set_nmi_handler(handler: fn(&InterruptFrame)) {
    NMI_HANDLER.store(handler as *mut (), Ordering::Relaxed);
}

pub(crate) fn on_nmi(frame: &InterruptFrame) {
    let handler = NMI_HANDLER.load(Ordering::Relaxed);
    if handler.is_null() {
        println!(
            "exception: NMI at {:#x}, for which the guest has no handler",
            frame.rip
        );
        write_record(Record::Exception("NMI without a handler"));
        exit(exit_code::EXCEPTION)
    }
    // SAFETY: an address other than null was stored by `set_nmi_handler`, from a function of this
    // type.
    let handler = unsafe { core::mem::transmute::<*mut (), fn(&InterruptFrame)>(handler) };
    handler(frame);
}
