//! What QEMU's end means for its guest.

#[cfg(test)]
mod tests;

use std::process::ExitStatus;

use dormir_abi::exit;

use super::{
    PROGRAM_VARIABLE,
    messages::Messages,
    monitor::{MonitorEvents, Shutdown},
};
use crate::{
    process::was_ended_at_a_filter,
    vmm::{console::GuestRecords, error::RunError, outcome::Outcome},
};

/// Returns why QEMU was ended at its gate.
pub(super) fn forbidden(call: &str) -> String {
    format!(
        "QEMU was ended, since it asked for {call}, which it does not need while a guest runs: the \
         guest may have broken out of its VM, so keep its file; or {PROGRAM_VARIABLE} names a \
         program that starts others after QEMU"
    )
}

/// Returns what QEMU's exit status means.
pub(super) fn ended_with(
    status: ExitStatus,
    messages: &Messages,
    monitor_events: &MonitorEvents,
) -> Result<Outcome, RunError> {
    let last_words = messages.last_words();
    if !monitor_events.started {
        let message = format!("{status}, {last_words}");
        return Err(RunError::QemuRefused { message });
    }
    if was_ended_at_a_filter(status) {
        return Ok(Outcome::Died(forbidden("a system call")));
    }
    let Some(code) = status.code() else {
        return Ok(Outcome::Died(format!(
            "QEMU was ended ({status}, {last_words}): see whether the system ran out of memory, or \
             what killed it"
        )));
    };
    if let Some(code) = exit::from_qemu_status(code) {
        return Ok(Outcome::Exited(code.into()));
    }
    Ok(match (code, monitor_events.shutdown) {
        (0, Some(Shutdown::Reset)) => Outcome::TripleFault { registers: None },
        (0, Some(Shutdown::PowerOff)) => Outcome::PoweredOff,
        (0, Some(Shutdown::Other)) => Outcome::Died(format!(
            "QEMU was asked to end from outside ({last_words}): see what did so"
        )),
        (1, _) if messages.summary().is_none() => Outcome::Died(
            "it wrote 0 to the exit port, which stands for no exit code: send a code as \
             dormir_abi::exit::to_port_value encodes it"
                .into(),
        ),
        _ => Outcome::Died(format!(
            "QEMU ended with status {code}, which stands for no exit code ({last_words}): see \
             whether its message explains it"
        )),
    })
}

/// Checks an exit code from QEMU's status: it counts only if the guest has reported it too, since
/// QEMU may have ended with this status by itself.
pub(super) fn confirmed_by_guest(
    outcome: Outcome,
    records: &GuestRecords,
    messages: &Messages,
) -> Outcome {
    let Outcome::Exited(code) = outcome else {
        return outcome;
    };
    match records.exit {
        Some(reported) if reported == code => outcome,
        _ => Outcome::Died(format!(
            "QEMU ended with the status of exit code {code}, which the guest did not report ({}): \
             make it end by dormir_guest::exit, and see whether this QEMU works",
            messages.last_words()
        )),
    }
}
