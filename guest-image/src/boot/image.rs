//! The parts of the image, by the symbols of dormir.ld.

use core::ops::Range;

macro_rules! symbols {
    ($($(#[$meta:meta])* $name:ident: $start:ident .. $end:ident;)*) => {
        unsafe extern "C" {
            $(static $start: u8; static $end: u8;)*
        }
        $(
            $(#[$meta])*
            pub(crate) fn $name() -> Range<u64> {
                (&raw const $start) as u64..(&raw const $end) as u64
            }
        )*
    };
}

symbols! {
    /// Everything, guard pages included.
    whole: __image_start .. __image_end;
    /// Code: read, execute.
    text: __text_start .. __text_end;
    /// Constants: read.
    rodata: __rodata_start .. __rodata_end;
    /// Statics: read, write.
    data: __data_start .. __data_end;
    /// The addresses of the constructors, eight bytes each.
    constructors: __init_array_start .. __init_array_end;
    /// The table of tests.
    tests: __dormir_tests_start .. __dormir_tests_end;
    /// The stack of `main`.
    stack: __stack_bottom .. __stack_top;
    /// The double fault's stack.
    double_fault_stack: __double_fault_stack_bottom .. __double_fault_stack_top;
    /// The NMIs' stack.
    nmi_stack: __nmi_stack_bottom .. __nmi_stack_top;
    /// The machine checks' stack.
    machine_check_stack: __machine_check_stack_bottom .. __machine_check_stack_top;
}

/// The stacks and their names. The page below each is never mapped.
pub(crate) fn stacks() -> [(&'static str, Range<u64>); 4] {
    [
        ("main stack", stack()),
        ("double-fault stack", double_fault_stack()),
        ("NMI stack", nmi_stack()),
        ("machine-check stack", machine_check_stack()),
    ]
}

/// The size of the page below each stack, `__guard_size` of the linker script.
pub(crate) const GUARD_SIZE: u64 = 4096;

/// The name of the stack that has `address` in its guard page.
pub(crate) fn overflowed_stack(address: u64) -> Option<&'static str> {
    stacks()
        .into_iter()
        .find(|(_, stack)| (stack.start - GUARD_SIZE..stack.start).contains(&address))
        .map(|(name, _)| name)
}
