//! What a guest did that was stepped through.

/// What a guest did from where it asked for steps (see [`dormir_abi::port::STEPS`]) to where it asked for
/// no more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stretch {
    /// The address of each instruction that was executed, in order.
    pub addresses: Vec<u64>,
    /// What they asked the machine for, and what came from it, in order.
    pub events: Vec<Event>,
}

/// Something on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// How many instructions of the stretch were executed before.
    pub at: usize,
    /// What.
    pub kind: EventKind,
}

/// What leaves the processor, or comes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The guest marks a place, with an instruction that does nothing (`xchg bx, bx`).
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
