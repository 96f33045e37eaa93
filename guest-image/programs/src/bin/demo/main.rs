//! The demos; `demo=NAME` chooses one.
#![no_std]
#![no_main]

mod basic;

use dormir_guest::args;

dormir_guest::entry!(main);

fn main() -> Result<(), &'static str> {
    match args::value("demo") {
        Some("basic") => basic::napping(),
        Some("basic-busy") => basic::busy(),
        _ => return Err("say which demo: demo=basic or demo=basic-busy"),
    }
    Ok(())
}
