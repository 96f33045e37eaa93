//! Test programs: a table of tests in the image, of which each run of the program calls one.
//!
//! The harness reads the table from the file, starts a VM for each test, and names the test by its
//! index, see [`dormir_abi::test_table`].

use core::slice;

use dormir_abi::test_table::{ARGUMENT, ENTRY_BYTES};

use crate::{args, boot::image, console, println};

/// An entry of the table, made by `#[dormir_guest::test]` and [`test_main!`](crate::test_main).
#[doc(hidden)]
#[derive(Debug)]
#[repr(C)]
pub struct TestEntry<const LENGTH: usize> {
    description: &'static [u8; LENGTH],
    length: usize,
    run: fn() -> u8,
}

const _: () = assert!(size_of::<TestEntry<0>>() == ENTRY_BYTES);

impl<const LENGTH: usize> TestEntry<LENGTH> {
    /// Makes the entry of a function. `LENGTH` is the description's.
    #[must_use]
    pub const fn new(description: &'static str, run: fn() -> u8) -> Self {
        let Some(description) = description.as_bytes().first_chunk() else {
            panic!("the length is the description's");
        };
        Self {
            description,
            length: LENGTH,
            run,
        }
    }
}

/// Makes this a test program: `cargo test` runs each function with `#[dormir_guest::test]` in a VM
/// of its own.
///
/// It takes the place of [`entry!`](crate::entry) in a test target with `harness = false`, or in a
/// library with `#![cfg_attr(test, no_main)]`.
///
/// ```no_run
/// #![no_std]
/// #![no_main]
///
/// dormir_guest::test_main!();
///
/// #[dormir_guest::test]
/// fn adds() {
///     assert_eq!(2 + 2, 4);
/// }
/// ```
#[macro_export]
macro_rules! test_main {
    () => {
        $crate::entry!(dormir_test_main);

        fn dormir_test_main() -> u8 {
            #[used]
            #[unsafe(link_section = "dormir_tests")]
            static PROGRAM: $crate::__private::TestEntry<
                { $crate::__private::TEST_PROGRAM.len() },
            > = $crate::__private::TestEntry::new($crate::__private::TEST_PROGRAM, || {
                $crate::SETUP_FAILED
            });
            $crate::__private::run_test()
        }
    };
}

/// The description of the program's own entry.
#[doc(hidden)]
pub const TEST_PROGRAM: &str = concat!("format=1\0version=", env!("CARGO_PKG_VERSION"), "\0");

const _: () = assert!(dormir_abi::test_table::FORMAT == 1, "as in TEST_PROGRAM");

/// Calls the test that the harness chose, and returns the exit code.
#[doc(hidden)]
pub fn run_test() -> u8 {
    let place = image::tests();
    let count = (place.end - place.start) as usize / ENTRY_BYTES;
    // SAFETY: by the linker script the range is the table, whose entries have this type but for the
    // description's length, on which no field's layout depends.
    let table = unsafe { slice::from_raw_parts(place.start as *const TestEntry<0>, count) };
    let Some(test) =
        args::value(ARGUMENT).and_then(|index| table.get(index.parse::<usize>().ok()?))
    else {
        println!(
            "error: this is a program with {} tests, of which the argument {ARGUMENT}=INDEX names \
             one: run it with `cargo vm runner`, which does that",
            count - 1
        );
        return crate::SETUP_FAILED;
    };
    // When it arrives, the harness knows how long the boot took.
    console::report_time();
    (test.run)()
}
