//! What holds whatever a worker tells.

use std::{os::unix::process::ExitStatusExt, process::ExitStatus, time::Duration};

use super::Conversation;
use crate::{
    escape::is_command,
    process::was_ended_at_a_filter,
    vmm::{
        attend::ChildEnd, error::RunError, gdb::DebuggerPresence, kvm::ending::WorkerEnd,
        outcome::Outcome,
    },
};

/// The guest's time limit.
const LIMIT: Duration = Duration::from_secs(3);

/// The longest instruction, in bytes (SDM vol. 2, 2.3.11).
const LONGEST_INSTRUCTION: usize = 15;

/// Reads any bytes as what a worker tells, and says how its guest ended. The first byte says how
/// the process itself ended.
///
/// # Panics
///
/// Panics if a property does not hold: a machine is complete once; there is no refusal afterwards,
/// and no end before; and what is said of the end has nothing in it that a terminal obeys.
pub(crate) fn fuzz_conversation(bytes: &[u8]) {
    let Some((&kind, told)) = bytes.split_first() else {
        return;
    };
    let mut ready = 0;
    let presence = DebuggerPresence::default();
    let has_steps = kind & 1 == 1;
    let told = Conversation::read(told, has_steps, &presence, || ready += 1);
    assert_eq!(u32::from(told.was_ready), ready);
    assert!(told.end.is_none() || told.was_ready);
    for stretch in told.end.iter().flat_map(|end| &end.stretches) {
        let last = stretch.events.last();
        assert!(last.is_none_or(|event| event.at <= stretch.addresses.len()));
    }
    let timed_out = Outcome::TimedOut {
        limit: LIMIT,
        place: None,
    };
    let end = match kind >> 1 & 3 {
        0 => ChildEnd::ByItself,
        1 => ChildEnd::Late(LIMIT),
        2 => ChildEnd::Cut(timed_out),
        _ => ChildEnd::Cut(Outcome::Stopped),
    };
    let is_told = told.end.as_ref().is_some_and(|end| end.ended.is_some());
    assert!(told.refused.is_none() || !told.was_ready);
    let worker = WorkerEnd {
        forbidden: (kind >> 3 & 1 == 1).then_some("socket"),
        status: ExitStatus::from_raw(if kind >> 4 & 1 == 1 { libc::SIGSYS } else { 0 }),
        words: "without a message".into(),
        was_ready: told.was_ready,
        refused: told.refused,
        ended: told.end.and_then(|end| end.ended),
    };
    let was_ready = worker.was_ready;
    let is_ended_at_a_filter = was_ready && was_ended_at_a_filter(worker.status);
    let is_forbidden = worker.forbidden.is_some() || is_ended_at_a_filter;
    match worker.outcome(end, LIMIT) {
        Ok(outcome) => {
            let is_own_word = matches!(outcome, Outcome::Exited(_));
            assert!(!is_own_word || (is_told && !is_forbidden), "{outcome}");
            if let Outcome::NotEmulated { bytes, .. } = &outcome {
                assert!(bytes.len() <= LONGEST_INSTRUCTION);
            }
            let text = outcome.to_string();
            // Registers are in lines and columns of their own.
            assert!(
                !text.replace(['\n', '\t'], " ").contains(is_command),
                "{text:?}"
            );
        }
        Err(RunError::VmProcess { message }) => {
            assert!(!was_ready && !is_told, "{message}");
            assert!(!message.contains(is_command), "{message:?}");
        }
        Err(other) => panic!("{other}"),
    }
}
