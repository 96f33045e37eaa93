//! The guest of the harness's first example: it sends data to the host.
#![no_std]
#![no_main]

extern crate alloc;

use dormir_guest::{args, entry, println, send};

entry!(main);

fn main() {
    let last: u32 = args::value("last")
        .and_then(|last| last.parse().ok())
        .unwrap_or(3);
    for number in 1..=last {
        let line = alloc::format!("{number},{}\n", number * number);
        // What is sent under one name is one value.
        send("squares.csv", line.as_bytes());
    }
    // More than a record holds, and every byte.
    let bytes: alloc::vec::Vec<u8> = (0..=u8::MAX).cycle().take(3000).collect();
    send("bytes.bin", &bytes);
    send("empty", &[]);
    println!("sent");
}
