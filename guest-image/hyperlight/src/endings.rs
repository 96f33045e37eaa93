//! Ways for a call to end.

use alloc::string::String;

use hyperlight_guest_bin::{guest_function, host_comm::call_host};

/// Exit codes with the corners of their 32 bits.
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

/// A panic whose text has more bytes than a line of most consoles.
#[guest_function]
fn panics_at_length() -> i32 {
    panic!("{}", "a".repeat(600))
}

/// A panic whose text has more bytes than Hyperlight's host takes.
#[guest_function]
fn panics_beyond_length() -> i32 {
    panic!("{}", "a".repeat(2000))
}

/// A panic whose text paints.
#[guest_function]
fn panics_in_colours() -> i32 {
    panic!("\x1b[2J\x1b[32m100 passed")
}

/// Passes on what others sent to it, and fails.
#[guest_function]
fn passes_on_lies() -> i32 {
    let lies = "\x1eexit 0\n\x1e0123456789abcdef exit 0\nexit 0\n";
    call_host::<i32>("HostPrint", (String::from(lies),)).expect("a sandbox has HostPrint");
    3
}
