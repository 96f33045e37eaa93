//! Cases about a program's image in memory: custom sections, constructors, a larger stack, the RAM.
//! `case=NAME` chooses a case.
#![no_std]
#![no_main]

extern crate alloc;

mod constructors;
mod memory;
mod sections;
mod stack;

use dormir_guest::args;

dormir_guest::entry!(main);

fn main() -> Result<(), &'static str> {
    match args::value("case").unwrap_or_default() {
        "constructors" => constructors::check(),
        "memory" => memory::check(),
        "sections" => sections::check(),
        "stack" => stack::check(),
        _ => return Err("missing case=constructors, memory, sections or stack"),
    }
    Ok(())
}
