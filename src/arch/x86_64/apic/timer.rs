//! The local APIC's timer.

use x86_64::registers::model_specific::Msr;

use super::{Apic, LVT_MASKED, LVT_NMI, LVT_TIMER};
use crate::{
    arch::x86_64::vector,
    time::calibrate::{self, Sample},
};

// Register offsets (SDM vol. 3, table 12-1).
const INITIAL_COUNT: u16 = 0x380;
const CURRENT_COUNT: u16 = 0x390;

const LVT_TSC_DEADLINE: u32 = 0b10 << 17;
/// `IA32_TSC_DEADLINE` (SDM vol. 3, 12.5.4.1).
const TSC_DEADLINE_MSR: u32 = 0x6e0;

impl Apic {
    /// Makes the timer count down once per [`start_count`](Self::start_count), and interrupt at
    /// zero on [`vector::APIC_TIMER`].
    pub fn one_shot_mode(&self) {
        self.write(LVT_TIMER, vector::APIC_TIMER.into());
    }

    /// Like [`one_shot_mode`](Self::one_shot_mode), but the interrupt is an NMI. QEMU's translator
    /// supports this; the SDM does not allow it for the timer (vol. 3, 12.5.1).
    pub fn one_shot_nmi_mode(&self) {
        self.write(LVT_TIMER, LVT_NMI | u32::from(vector::APIC_TIMER));
    }

    /// Starts the count; 0 stops it.
    #[inline]
    pub fn start_count(&self, ticks: u32) {
        self.write(INITIAL_COUNT, ticks);
    }

    /// Makes the timer interrupt on [`vector::APIC_TIMER`] when the TSC reaches the value given to
    /// [`set_tsc_deadline`].
    pub(crate) fn tsc_deadline_mode(&self) {
        self.write(LVT_TIMER, LVT_TSC_DEADLINE | u32::from(vector::APIC_TIMER));
        // A write to memory is not ordered with the deadline's MSR, and a deadline that arrives
        // first is ignored (SDM vol. 3, 12.5.4.1).
        // SAFETY: every x86-64 processor has MFENCE.
        unsafe { core::arch::x86_64::_mm_mfence() };
    }

    /// Measures how many times a second the timer counts, against a counter that counts
    /// `counter_hz` times. Returns `None` if the timer does not count. The timer is stopped and its
    /// interrupt masked afterwards.
    ///
    /// # Panics
    ///
    /// If `counter_hz` is below 100.
    #[must_use]
    pub fn measure_hz(&self, counter: impl Fn() -> u64, counter_hz: u64) -> Option<u64> {
        // 10 ms: long compared to the two reads at its ends, short compared to a boot.
        let span = counter_hz / 100;
        assert!(span != 0, "a counter of less than 100 Hz measures nothing");
        self.write(LVT_TIMER, LVT_MASKED);
        let hz = calibrate::frequency(counter_hz, span, || {
            self.start_count(u32::MAX);
            || {
                let unknown = u64::from(u32::MAX - self.read(CURRENT_COUNT));
                Some(Sample {
                    known: counter(),
                    unknown,
                })
            }
        });
        self.start_count(0);
        hz
    }
}

/// Arms the timer, in its TSC-deadline mode, for this value of the TSC. If the TSC is beyond it,
/// the timer interrupts at once. 0 disarms.
///
/// # Safety
///
/// Ring 0, and the processor has a TSC-deadline timer.
#[inline]
pub(crate) unsafe fn set_tsc_deadline(tsc: u64) {
    // SAFETY: the caller guarantees that the MSR exists. It only affects the timer's interrupt.
    unsafe { Msr::new(TSC_DEADLINE_MSR).write(tsc) }
}
