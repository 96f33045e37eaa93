//! What a guest did while it was stepped through.

use serde::{Deserialize, Serialize};

/// What a guest did between starting and ending the steps (see [`dormir_abi::port::STEPS`]).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// The address of each instruction that was executed, in order.
    pub addresses: Vec<u64>,
    /// Accesses to the machine, and interrupts from it, in order.
    pub events: Vec<StepEvent>,
}

impl Stretch {
    /// Whether the events are in order, and among its instructions.
    pub(crate) fn is_sound(&self) -> bool {
        let mut events = self.events.iter();
        self.events.is_sorted_by_key(|event| event.at)
            && events.all(|event| event.at <= self.addresses.len())
    }
}

/// An event in a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepEvent {
    /// How many instructions of the stretch were executed before it.
    pub at: usize,
    /// The kind of event.
    pub kind: EventKind,
}

/// What leaves the processor, or arrives at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// The guest marks a point, with an instruction that does nothing (`xchg bx, bx`).
    Mark,
    /// `hlt`.
    Halt,
    /// The interrupt that ended a halt; its entry's first instruction is the next.
    Interrupt,
    /// An instruction that writes to this port.
    PortWrite(u16),
    /// An instruction that reads from this port.
    PortRead(u16),
    /// `wrmsr` to this register.
    MsrWrite(u32),
    /// `rdmsr` of this register.
    MsrRead(u32),
    /// A write to the local APIC's page, at this offset.
    ApicWrite(u16),
    /// A read from the local APIC's page, at this offset.
    ApicRead(u16),
}
