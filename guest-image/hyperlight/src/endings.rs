//! The ways in which a call can end.

use alloc::string::String;

use hyperlight_guest_bin::{guest_function, host_comm::call_host};

/// Exit codes at the edges of their 32 bits.
macro_rules! codes {
    ($($name:ident = $code:expr,)*) => {
        $(
            #[guest_function]
            fn $name() -> i32 {
                $code
            }
        )*
    };
}

codes! {
    code_0 = 0,
    code_7 = 7,
    code_124 = 124,
    code_256 = 256,
    code_65536 = 1 << 16,
    code_minus_1 = -1,
    code_least = i32::MIN,
}

/// Panics with a text longer than a line of most consoles.
#[guest_function]
fn panics_at_length() -> i32 {
    panic!("{}", "a".repeat(600))
}

/// Panics with a text longer than Hyperlight's host accepts.
#[guest_function]
fn panics_beyond_length() -> i32 {
    panic!("{}", "a".repeat(2000))
}

/// Panics with a text that contains terminal escape sequences.
#[guest_function]
fn panics_in_colours() -> i32 {
    panic!("\x1b[2J\x1b[32m100 passed")
}

/// Prints text that imitates records, and fails.
#[guest_function]
fn passes_on_lies() -> i32 {
    let lies = "\x1eexit 0\n\x1e0123456789abcdef exit 0\nexit 0\n";
    call_host::<i32>("HostPrint", (String::from(lies),)).expect("a sandbox has HostPrint");
    3
}
