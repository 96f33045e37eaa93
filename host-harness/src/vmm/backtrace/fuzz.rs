//! Properties that must hold for any file, and for whatever its guest reports.

use dormir_abi::{backtrace, record::Record};

use super::{Interrupted, MAX_FRAMES, Trace};
use crate::escape::is_command;

/// Makes a backtrace. The input is a guest's records, a line each, then a zero, then its file.
///
/// # Panics
///
/// Panics if a property does not hold.
pub fn fuzz_backtrace(bytes: &[u8]) {
    let Some(zero) = bytes.iter().position(|byte| *byte == 0) else {
        return;
    };
    let trace = trace(&String::from_utf8_lossy(&bytes[..zero]));
    let Some(backtrace) = trace.unwind(&bytes[zero + 1..]) else {
        return;
    };
    assert!((1..=MAX_FRAMES).contains(&backtrace.frames.len()));
    let shown = backtrace.to_string();
    assert!(!shown.replace('\n', "").contains(is_command), "{shown}");
}

fn trace(records: &str) -> Trace {
    let mut trace = Trace::default();
    for record in records.lines() {
        match Record::parse(record) {
            Some(Record::Registers(registers)) => trace.set_registers(registers),
            Some(Record::Interrupt { frame, rip, rsp }) => {
                trace.set_interrupted(Interrupted { frame, rip, rsp });
            }
            Some(Record::Stack(words)) => trace.add_words(backtrace::stack_words(words)),
            _ => {}
        }
    }
    trace
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program of four functions, of which two are inlined, stopped in the innermost.
    const SEED: &[u8] = include_bytes!("../../../fuzz/corpus/backtrace/inlined-calls");

    #[test]
    fn the_seed_has_all_its_functions_and_lines() {
        let zero = SEED.iter().position(|byte| *byte == 0).unwrap();
        let trace = trace(str::from_utf8(&SEED[..zero]).unwrap());
        let backtrace = trace.unwind(&SEED[zero + 1..]).unwrap();
        let frames: Vec<_> = backtrace.frames.iter().map(ToString::to_string).collect();
        assert_eq!(
            frames,
            [
                "core::ptr::write_volatile at library/core/src/ptr/mod.rs:2178",
                "core::ptr::mut_ptr::<impl *mut T>::write_volatile at \
                 library/core/src/ptr/mut_ptr.rs:1458",
                "seed::innermost at src/seed.rs:22",
                "seed::inner at src/seed.rs:16",
                "seed::middle at src/seed.rs:12",
                "seed::outer at src/seed.rs:7",
                "_start at src/seed.rs:29",
            ]
        );
        assert!(!backtrace.is_incomplete);
    }

    #[test]
    fn no_damaged_byte_and_no_missing_end_is_a_panic() {
        let mut damaged = SEED.to_vec();
        for at in 0..SEED.len() {
            for value in [0xff, SEED[at].wrapping_add(1)] {
                damaged[at] = value;
                fuzz_backtrace(&damaged);
            }
            damaged[at] = SEED[at];
        }
        for end in (0..SEED.len()).step_by(7) {
            fuzz_backtrace(&SEED[..end]);
        }
    }
}
