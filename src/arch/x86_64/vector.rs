//! Interrupt vectors, and which source uses which.
//!
//! 0 to 31 are the processor's exceptions (SDM vol. 3, 7.2). The guest may use the vectors from
//! [`FREE`] up to, but not including, [`SPURIOUS`].

/// Vectors below this one are the processor's exceptions.
pub const EXCEPTIONS: u8 = 32;

/// Panics if `vector` is an exception's, which no interrupt may use.
#[cfg(feature = "bare")]
pub(super) fn assert_interrupt(vector: u8) {
    assert!(
        vector >= EXCEPTIONS,
        "vectors below 32 belong to the processor's exceptions"
    );
}

/// IRQ 0 to 7 of the first 8259A: eight vectors from here.
pub const PIC_FIRST: u8 = 0x20;
/// IRQ 8 to 15 of the second 8259A: eight vectors from here.
pub const PIC_SECOND: u8 = 0x28;
/// The PIT, on IRQ 0.
pub const PIT: u8 = PIC_FIRST;
/// The local APIC's timer.
pub const APIC_TIMER: u8 = 0x30;
/// The first of the vectors that devices' messages are given
/// ([`DeviceInterrupt`](crate::platform::bare::DeviceInterrupt)).
#[cfg(feature = "bare")]
pub(crate) const FIRST_MESSAGE: u8 = FREE + 16;
/// The last of them.
#[cfg(feature = "bare")]
pub(crate) const LAST_MESSAGE: u8 = FIRST_MESSAGE + 31;
/// The first vector that the guest may use.
pub const FREE: u8 = 0x31;
/// The local APIC's spurious interrupt, which gets no EOI (SDM vol. 3, 12.9) unless it was sent as
/// a message.
pub const SPURIOUS: u8 = 0xff;
