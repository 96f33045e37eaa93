//! Console output that the harness must not take for records, or cannot keep.

use dormir_guest::{exit, print, println};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("end-marked-lines", marked_lines),
    ("end-console-flood", console_flood),
];

/// The mark of a JSON text sequence (RFC 7464) does not make a line a record of this guest.
fn marked_lines() {
    print!("plain\n\u{1e}{{\"level\":\"info\"}}\n\u{1e}panic not really\n\u{1e}stat x 5\nlast\n");
    exit(7)
}

fn console_flood() {
    let line = core::str::from_utf8(&[b'-'; 255]).unwrap_or_default();
    loop {
        println!("{line}");
    }
}
