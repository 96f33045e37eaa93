//! Properties of a stopped guest that must hold for any debugger.

use std::convert::Infallible;

use gdbstub::{
    conn::Connection,
    stub::{GdbStub, SingleThreadStopReason, state_machine::GdbStubStateMachine},
};
use vm_memory::{Bytes, GuestAddress};

use super::{
    guest::StoppedGuest,
    link::MAX_ANSWER,
    memory::{CR0_PAGING, EFER_LONG_MODE},
};
use crate::vmm::kvm::boot::{Memory, PML4, START_INFO};

const MEMORY: usize = 64 << 10;

/// A connection whose answers are dropped.
#[derive(Default)]
struct Sink {
    length: usize,
}

impl Connection for Sink {
    type Error = Infallible;

    fn write(&mut self, _: u8) -> Result<(), Infallible> {
        self.length += 1;
        // The real one ends there.
        assert!(self.length <= MAX_ANSWER);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        self.length = 0;
        Ok(())
    }
}

/// Reads any bytes as a debugger's. The first byte chooses whether the guest has page tables, which
/// the bytes may overwrite, and whether the others are bytes of the connection, or bodies of
/// packets, each up to a NUL.
///
/// # Panics
///
/// Panics if a property does not hold: every answer is bounded, and a debugger that has written
/// nothing leaves the guest's memory as it was.
pub(crate) fn fuzz_gdb(bytes: &[u8]) {
    let Some((&first, bytes)) = bytes.split_first() else {
        return;
    };
    let memory = Memory::from_ranges(&[(GuestAddress(0), MEMORY)]).expect("64 KiB");
    let mut guest = StoppedGuest::new(memory.clone());
    if first & 1 != 0 {
        map(&memory);
        let special = &mut guest.registers.special;
        (special.cr0, special.efer, special.cr3) = (CR0_PAGING, EFER_LONG_MODE, PML4.0);
    }
    let before = content(&memory);
    if first & 2 != 0 {
        feed(&mut guest, bytes.iter().copied());
    } else {
        let bodies = bytes.split(|byte| *byte == 0);
        let packets = bodies.clone().flat_map(|body| match body {
            [3] => vec![3],
            body => {
                let sum = body.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
                let end = format!("#{sum:02x}");
                [b"$", body, end.as_bytes()].concat()
            }
        });
        feed(&mut guest, packets);
        let writes = |body: &[u8]| body.iter().any(|byte| b"MX}*#$".contains(byte));
        if !bodies.clone().any(writes) {
            guest.release();
            assert!(content(&memory) == before);
        }
    }
    guest.release();
    assert_eq!(guest.breakpoints.control().control, 0);
}

/// Page tables that map their own memory twice, so that breakpoints at two addresses may be one.
fn map(memory: &Memory) {
    let (upper, lower, table) = (PML4.0 + 0x1000, PML4.0 + 0x2000, PML4.0 + 0x3000);
    for (at, entry) in [
        (PML4.0, upper | 3),
        (PML4.0 + 8, upper | 3),
        (upper, lower | 3),
        (lower, table | 3),
        (lower + 8, 0x83),
    ] {
        let written = memory.write_obj(entry, GuestAddress(at));
        written.expect("it is in memory");
    }
    for page in 0..16 {
        let written = memory.write_obj(page << 12 | 3, GuestAddress(table + 8 * page));
        written.expect("it is in memory");
    }
    let code = [0x90; 64];
    let written = memory.write_slice(&code, START_INFO);
    written.expect("it is in memory");
}

fn content(memory: &Memory) -> Vec<u8> {
    let mut content = vec![0; MEMORY];
    let read = memory.read_slice(&mut content, GuestAddress(0));
    read.expect("it is all of it");
    content
}

fn feed(guest: &mut StoppedGuest, bytes: impl Iterator<Item = u8>) {
    type Session = GdbStubStateMachine<'static, StoppedGuest, Sink>;
    let mut session: Session = GdbStub::new(Sink::default())
        .run_state_machine(guest)
        .expect("a session begins");
    for byte in bytes {
        let next = match session {
            Session::Idle(session) => session.incoming_data(guest, byte),
            // Whatever it asks for while the guest runs, the guest then stops.
            Session::Running(session) => {
                session
                    .incoming_data(guest, byte)
                    .and_then(|session| match session {
                        Session::Running(session) => {
                            session.report_stop(guest, SingleThreadStopReason::DoneStep)
                        }
                        other => Ok(other),
                    })
            }
            Session::CtrlCInterrupt(session) => {
                let stop = SingleThreadStopReason::DoneStep;
                session.interrupt_handled(guest, Some(stop))
            }
            Session::Disconnected(_) => return,
        };
        match next {
            Ok(next) => session = next,
            Err(_) => return,
        }
    }
}
