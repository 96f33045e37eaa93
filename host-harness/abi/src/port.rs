//! The I/O ports, which are the same under every VMM.

/// 32-bit write: ends the guest with [`to_port_value`](crate::exit::to_port_value) of an exit code.
///
/// QEMU's `isa-debug-exit` device is placed here; the harness's own VMM behaves the same.
pub const EXIT: u16 = 0xf4;

/// Byte write: one byte of console output (QEMU's `isa-debugcon`, Bochs' port 0xE9).
///
/// A read returns [`DEBUG_CONSOLE_PRESENT`] if the device is present.
pub const DEBUG_CONSOLE: u16 = 0xe9;

/// What a read of [`DEBUG_CONSOLE`] returns if the device is present.
pub const DEBUG_CONSOLE_PRESENT: u8 = 0xe9;

/// The first of the eight ports of the serial line COM1, whose interrupt is [`SERIAL_IRQ`].
pub const SERIAL: u16 = 0x3f8;

/// The ISA interrupt line of COM1.
pub const SERIAL_IRQ: u8 = 4;

/// 32-bit write: the physical address of a [`ConsoleBuffer`], whose bytes go to the console.
///
/// Only the harness's own VMM has it. A write takes one exit for any number of bytes, where `rep
/// outsb` can take one exit for each byte.
pub const CONSOLE_BUFFER: u16 = 0x5f0;

/// 32-bit write: sets the paravirtual clock ahead by this many milliseconds, or back if negative,
/// as if another host had restored the guest from a snapshot.
///
/// Only the harness's own VMM has it.
pub const CLOCK: u16 = 0x5f4;

/// A run of console output in guest memory, see [`CONSOLE_BUFFER`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsoleBuffer {
    /// Physical address of the first byte.
    pub address: u64,
    /// Number of bytes; at most [`ConsoleBuffer::MAX_LENGTH`].
    pub length: u64,
}

impl ConsoleBuffer {
    /// The longest run that one write may pass, in bytes.
    pub const MAX_LENGTH: u64 = 1 << 16;
}

/// 32-bit write: a VMM with steps enabled steps through the instructions from here on. The value is
/// the vector of the interrupts that end the halts meanwhile, or [`STEPS_END`].
///
/// Only the harness's own VMM has it. A halt is not stepped through: the vCPU runs freely until
/// that vector's interrupt comes.
pub const STEPS: u16 = 0x5f8;

/// Written to [`STEPS`]: ends the stepping.
pub const STEPS_END: u32 = 0;

/// 32-bit write: the physical address of a [`HostInterrupt`], which the VMM answers.
///
/// Only the harness's own VMM has it.
pub const HOST_INTERRUPT: u16 = 0x5fc;

/// A request for an interrupt that the host injects, see [`HOST_INTERRUPT`]. It must be aligned.
///
/// A thread of the host sends the interrupt through an irqfd, as a message to the local APIC, like
/// the interrupts of paravirtual devices. A new request replaces one that is still waiting.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostInterrupt {
    /// The vector. 0: no interrupt is injected, and `tsc` is set before the write returns.
    pub vector: u64,
    /// The delay of the interrupt after the write.
    pub delay_nanos: u64,
    /// The answer: the guest's TSC just before the interrupt was injected. It is set when the
    /// interrupt comes.
    pub tsc: u64,
}

impl HostInterrupt {
    /// Its size in 64-bit words.
    pub const WORDS: usize = size_of::<Self>() / 8;

    /// The offset of the answer.
    pub const TSC_OFFSET: u64 = core::mem::offset_of!(Self, tsc) as u64;

    /// The lowest vector of an interrupt: those below are the processor's exceptions.
    pub const LOWEST_VECTOR: u8 = 32;

    /// The longest delay; longer ones are reduced to it.
    pub const MAX_DELAY_NANOS: u64 = 1_000_000_000;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_is_one_device() {
        let ports = [
            EXIT,
            DEBUG_CONSOLE,
            SERIAL,
            CONSOLE_BUFFER,
            CLOCK,
            STEPS,
            HOST_INTERRUPT,
        ];
        // A write takes up to four bytes, and the serial line has eight ports.
        for (index, one) in ports.iter().enumerate() {
            for other in &ports[index + 1..] {
                let least = if *one.min(other) == SERIAL { 8 } else { 4 };
                assert!(one.abs_diff(*other) >= least, "{one:#x} and {other:#x}");
            }
        }
    }
}
