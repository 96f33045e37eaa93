//! A program that never returns, and names no crate but `dormir_guest`.
#![no_std]
#![no_main]

#[dormir_guest::task]
async fn unused() {}

#[dormir_guest::main]
fn main() -> ! {
    // It can be made, and is given back.
    drop(unused());
    dormir_guest::exit(9)
}
