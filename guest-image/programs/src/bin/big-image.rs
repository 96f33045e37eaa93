//! A program with statics beyond the first GiB.
#![no_std]
#![no_main]

extern crate alloc;

use core::{
    arch::global_asm,
    sync::atomic::{AtomicU8, Ordering::Relaxed},
    time::Duration,
};

use dormir::{block_on, idle::Halt, time::Timer};

dormir_guest::entry!(main);

const MIB: usize = 1 << 20;

const LARGE_BYTES: usize = 1100 * MIB;

// In assembly, since the compiler would keep the whole static in its own memory.
global_asm!(
    ".pushsection .bss.big_image_large, \"aw\", @nobits",
    "big_image_large: .skip {bytes}",
    ".popsection",
    bytes = const LARGE_BYTES,
);

unsafe extern "C" {
    safe static big_image_large: [AtomicU8; LARGE_BYTES];
}

fn main() {
    let large = &big_image_large;
    for byte in large.iter().step_by(100 * MIB).chain(large.last()) {
        assert_eq!(byte.fetch_add(1, Relaxed), 0);
    }
    // Behind it are the stacks, the page tables and the heap.
    assert_eq!(alloc::vec![7; 1000].iter().sum::<u32>(), 7000);
    block_on(async { Timer::after(Duration::from_millis(1)).await }, Halt);
}
