//! Panics and exceptions: said on the console, recorded for the harness, and the guest ends.

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
    console::{Message, write_record},
    exit, panic_hook, println,
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
        (Some(task), Some(place)) => Message::new(format_args!("task {task}: {place}: {message}")),
        (Some(task), None) => Message::new(format_args!("task {task}: {message}")),
        (None, Some(place)) => Message::new(format_args!("{place}: {message}")),
        (None, None) => Message::new(format_args!("{message}")),
    };
    write_record(Record::Panic(text.as_str()));
    exit(exit_code::PANIC)
}

/// Ends the guest with what the exception was, where, and the registers.
pub(crate) fn report(frame: &ExceptionFrame) -> ! {
    let overflow = frame.fault_address().and_then(image::overflowed_stack);
    let text = match overflow {
        Some(stack) => Message::new(format_args!(
            "stack overflow of the {stack}: {frame}, rsp {:#x}",
            frame.rsp
        )),
        None => Message::new(format_args!("{frame}")),
    };
    println!("exception: {}", text.as_str());
    print_registers(frame);
    write_record(Record::Exception(text.as_str()));
    exit(exit_code::EXCEPTION)
}

fn print_registers(frame: &ExceptionFrame) {
    println!(
        "  rip {:#018x}  rsp {:#018x}  rflags {:#x}  cs {:#x}  ss {:#x}",
        frame.rip, frame.rsp, frame.rflags, frame.cs, frame.ss
    );
    println!(
        "  cr2 {:#018x}  cr3 {:#018x}  error {:#x}",
        Cr2::read_raw(),
        Cr3::read().0.start_address(),
        frame.error_code
    );
    for (names, values) in GENERAL_NAMES.chunks(3).zip(frame.general.chunks(3)) {
        for (name, value) in names.iter().zip(values) {
            crate::print!("  {name:>3} {value:#018x}");
        }
        println!();
    }
}

/// A handler's address; null for none. A function pointer fits, as both are addresses here.
static NMI_HANDLER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Has `handler` called at each NMI, in place of ending the guest. It may wake tasks.
///
/// # Safety
///
/// It must not use timers, critical sections or the heap: they do not hold an NMI off, so it can come in
/// the midst of one.
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
    // SAFETY: what is not null was stored by `set_nmi_handler`, from a function of this type.
    let handler = unsafe { core::mem::transmute::<*mut (), fn(&InterruptFrame)>(handler) };
    handler(frame);
}
