//! What of a program is where, and that it stays there: sections of its own, constructors, a larger stack,
//! the memory. `case=NAME` chooses a case.
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
        _ => return Err("say which case: case=constructors, memory, sections or stack"),
    }
    Ok(())
}
