//! Statics in sections that the linker script does not name.

use core::{
    arch::global_asm,
    hint::black_box,
    ops::Range,
    sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
};

/// Large, so that it spans many pages, in a section whose name is not an identifier.
#[unsafe(link_section = ".dma_buffers")]
static BUFFER: [AtomicU8; 1 << 20] = [const { AtomicU8::new(0x5a) }; 1 << 20];

#[unsafe(link_section = ".noinit")]
static NOT_SET: AtomicU64 = AtomicU64::new(0);

/// In a section whose name is an identifier, as the crate `linkme` uses them: the linker defines
/// symbols for start and end.
#[unsafe(link_section = "dormir_words")]
static WORDS: [AtomicU64; 2] = [AtomicU64::new(1), AtomicU64::new(2)];

#[unsafe(link_section = "dormir_constants")]
static CONSTANT: u64 = 3;

// Kinds of sections that Rust cannot express: zero-initialised; of the large code model; code.
global_asm!(
    ".pushsection dormir_zeros, \"aw\", @nobits",
    ".balign 8",
    "dormir_zero: .skip 8",
    ".popsection",
    ".pushsection .dormir_large, \"awl\", @progbits",
    ".balign 8",
    "dormir_large: .quad 4",
    ".popsection",
    ".pushsection dormir_code, \"ax\", @progbits",
    "dormir_five: movl $5, %eax",
    "ret",
    ".popsection",
    ".pushsection .dormir_large_code, \"axl\", @progbits",
    "dormir_six: movl $6, %eax",
    "ret",
    ".popsection",
    options(att_syntax),
);

unsafe extern "C" {
    #[link_name = "__start_dormir_words"]
    static START: AtomicU64;
    #[link_name = "__stop_dormir_words"]
    static STOP: AtomicU64;
    safe static dormir_zero: AtomicU64;
    safe static dormir_large: AtomicU64;
    safe fn dormir_five() -> u32;
    safe fn dormir_six() -> u32;
}

pub(crate) fn check() {
    let wrong = BUFFER.iter().filter(|byte| byte.load(Relaxed) != 0x5a);
    assert_eq!(wrong.count(), 0, "bytes of the buffer are overwritten");
    BUFFER.iter().for_each(|byte| byte.store(1, Relaxed));

    let words = &raw const WORDS as u64;
    let (start, stop) = (&raw const START as u64, &raw const STOP as u64);
    // `black_box`, since the compiler assumes that statics of different names have different
    // addresses.
    assert_eq!(black_box(start)..black_box(stop), words..words + 16);
    let numbers = [&WORDS[0], &WORDS[1], &dormir_zero, &dormir_large, &NOT_SET];
    let before = numbers.map(|number| number.fetch_add(10, Relaxed));
    assert_eq!(before, [1, 2, 0, 4, 0]);
    let after = numbers.map(|number| number.load(Relaxed));
    assert_eq!(after, [11, 12, 10, 14, 10]);
    assert_eq!(black_box(CONSTANT), 3);
    assert_eq!((dormir_five(), dormir_six()), (5, 6));

    // None of them lies in the heap's memory.
    let buffer = &raw const BUFFER as u64;
    let statics = [buffer..buffer + (1 << 20), words..words + 16];
    let is_clear = |block: &Range<u64>| {
        let apart = |taken: &Range<u64>| taken.end <= block.start || block.end <= taken.start;
        statics.iter().all(apart)
    };
    assert!(dormir_guest::memory::free().iter().all(is_clear));
}
