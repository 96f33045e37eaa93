//! A program without the feature `alloc`, which uses the memory after the image itself.
#![no_std]
#![no_main]

use dormir_guest::{memory, println};

dormir_guest::entry!(main);

fn main() {
    let mut bytes = 0;
    for piece in memory::free() {
        for page in piece.clone().step_by(4096) {
            // SAFETY: RAM that is mapped, writable and unused.
            unsafe { (page as *mut u64).write_volatile(page) };
        }
        bytes += piece.end - piece.start;
    }
    for piece in memory::free() {
        for page in piece.clone().step_by(4096) {
            // SAFETY: the same; it was initialised above.
            let read = unsafe { (page as *const u64).read_volatile() };
            assert_eq!(read, page);
        }
    }
    println!("{} MiB of {}", bytes >> 20, memory::ram().len());
}
