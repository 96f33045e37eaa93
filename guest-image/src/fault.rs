//! Panics and exceptions: printed on the console and reported to the harness, with registers and
//! stack; then the guest ends.

use core::{
    panic::PanicInfo,
    sync::atomic::{AtomicBool, Ordering},
};

use dormir::{
    arch::x86_64::exceptions::{ExceptionFrame, GENERAL_NAMES},
    executor::current_task,
};
use dormir_abi::{
    exit as exit_code,
    record::{self, Record},
};
use x86_64::registers::control::{Cr2, Cr3};

use crate::{
    backtrace,
    boot::image,
    console::{TextLine, write_record},
    exit, panic_hook, print, println,
};

// Panics have it between place and message.
const _: () = assert!(record::SEPARATOR == '\x1f');

#[panic_handler]
fn on_panic(info: &PanicInfo<'_>) -> ! {
    x86_64::instructions::interrupts::disable();
    let registers = backtrace::here();
    panic_hook::call(info);
    let task = current_task();
    println!("{info}");
    if let Some(task) = task {
        println!("in the task {task}");
    }
    let message = info.message();
    let text = match (task, info.location()) {
        (Some(task), Some(location)) => {
            TextLine::message(format_args!("task {task}: {location}\x1f{message}"))
        }
        (Some(task), None) => TextLine::message(format_args!("task {task}\x1f{message}")),
        (None, Some(location)) => TextLine::message(format_args!("{location}\x1f{message}")),
        (None, None) => TextLine::message(format_args!("\x1f{message}")),
    };
    write_record(Record::Panic(text.as_str()));
    backtrace::report(registers);
    exit(exit_code::PANIC)
}

/// Whether an exception or an NMI is being reported.
static REPORTING: AtomicBool = AtomicBool::new(false);

/// Records that a report begins, in which exceptions can come; returns whether it is the first.
pub(crate) fn begin_report() -> bool {
    !REPORTING.swap(true, Ordering::Relaxed)
}

/// Reports which exception came and where, prints the registers, and ends the guest.
pub(crate) fn report(frame: &ExceptionFrame) -> ! {
    let overflow = frame.fault_address().and_then(image::overflowed_stack);
    // Not if a report itself has faulted: it may have done so in `current_task`.
    let task = begin_report().then(current_task).flatten();
    let (the_task, name, colon) = match task {
        Some(name) => ("task ", name, ": "),
        None => ("", "", ""),
    };
    let text = match overflow {
        Some(stack) => TextLine::message(format_args!(
            "{the_task}{name}{colon}stack overflow of the {stack}: {frame}, rsp {:#x}",
            frame.rsp
        )),
        None => TextLine::message(format_args!("{the_task}{name}{colon}{frame}")),
    };
    println!("exception: {}", text.as_str());
    print_registers(frame);
    write_record(Record::Exception(text.as_str()));
    backtrace::report(backtrace::at_exception(frame));
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
