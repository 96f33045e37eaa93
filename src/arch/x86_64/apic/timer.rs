//! The local APIC's timer.

use x86_64::registers::model_specific::Msr;

use super::{super::vector, Apic, LVT_MASKED, LVT_TIMER};
use crate::time::calibrate::{self, Sample};

// Register offsets (SDM vol. 3, table 12-1).
const INITIAL_COUNT: u16 = 0x380;
const CURRENT_COUNT: u16 = 0x390;

/// In a local vector table entry: delivery mode NMI.
const LVT_NMI: u32 = 0b100 << 8;
const LVT_TSC_DEADLINE: u32 = 0b10 << 17;
/// `IA32_TSC_DEADLINE` (SDM vol. 3, 12.5.4.1).
const TSC_DEADLINE_MSR: u32 = 0x6e0;

impl Apic {
    /// Has the timer count down once per [`start_count`](Self::start_count), and interrupt at zero on
    /// [`vector::APIC_TIMER`].
    ///
    /// # Examples
    ///
    /// ```
    /// # dormir_guest::entry!(main);
    /// use dormir::platform::bare;
    ///
    /// let apic = bare::machine().and_then(|machine| machine.apic).expect("there is a local APIC");
    /// apic.one_shot_mode();
    /// apic.start_count(10_000);
    /// while bare::timer_interrupts() == 0 {
    ///     core::hint::spin_loop();
    /// }
    /// ```
    pub fn one_shot_mode(&self) {
        self.write(LVT_TIMER, vector::APIC_TIMER.into());
    }

    /// As [`one_shot_mode`](Self::one_shot_mode), with the interrupt delivered as an NMI. QEMU's
    /// translator does so; the SDM does not offer it for the timer (vol. 3, 12.5.1).
    ///
    /// # Examples
    ///
    /// ```
    /// # dormir_guest::entry!(main);
    /// use dormir::{arch::x86_64::interrupt::InterruptFrame, platform::bare};
    ///
    /// fn on_nmi(frame: &InterruptFrame) {
    ///     dormir_guest::println!("an NMI at {:#x}", frame.rip);
    /// }
    ///
    /// // SAFETY: printing uses neither timers nor critical sections nor the heap.
    /// unsafe { dormir_guest::set_nmi_handler(on_nmi) };
    /// let apic = bare::machine().and_then(|machine| machine.apic).expect("there is a local APIC");
    /// x86_64::instructions::interrupts::disable();
    /// apic.one_shot_nmi_mode();
    /// // Under QEMU's translator the NMI comes although interrupts are masked.
    /// apic.start_count(1000);
    /// ```
    pub fn one_shot_nmi_mode(&self) {
        self.write(LVT_TIMER, LVT_NMI | u32::from(vector::APIC_TIMER));
    }

    /// Starts the count; 0 stops it.
    ///
    /// # Examples
    ///
    /// ```
    /// # dormir_guest::entry!(main);
    /// use dormir::platform::bare;
    ///
    /// let apic = bare::machine().and_then(|machine| machine.apic).expect("there is a local APIC");
    /// apic.one_shot_mode();
    /// apic.start_count(u32::MAX);
    /// // Not so late after all.
    /// apic.start_count(10_000);
    /// while bare::timer_interrupts() == 0 {
    ///     core::hint::spin_loop();
    /// }
    /// ```
    #[inline]
    pub fn start_count(&self, ticks: u32) {
        self.write(INITIAL_COUNT, ticks);
    }

    /// Has the timer interrupt on [`vector::APIC_TIMER`] when the TSC reaches
    /// [`set_tsc_deadline`].
    ///
    /// # Examples
    ///
    /// ```
    /// # dormir_guest::entry!(main);
    /// use dormir::{arch::x86_64::{apic, cpuid, tsc}, platform::bare};
    ///
    /// let machine = bare::machine().expect("the machine is set up");
    /// if let Some(apic) = machine.apic && cpuid::has_tsc_deadline() {
    ///     apic.tsc_deadline_mode();
    ///     let in_a_millisecond = tsc::read() + machine.tsc_hz / 1000;
    ///     // SAFETY: ring 0, and the processor has a TSC-deadline timer.
    ///     unsafe { apic::set_tsc_deadline(in_a_millisecond) };
    ///     while bare::timer_interrupts() == 0 {
    ///         core::hint::spin_loop();
    ///     }
    ///     assert!(tsc::read() >= in_a_millisecond);
    /// }
    /// ```
    pub fn tsc_deadline_mode(&self) {
        self.write(LVT_TIMER, LVT_TSC_DEADLINE | u32::from(vector::APIC_TIMER));
        // A write to memory is not ordered with the deadline's MSR, and a deadline that arrives first
        // is ignored (SDM vol. 3, 12.5.4.1).
        // SAFETY: every x86-64 processor has MFENCE.
        unsafe { core::arch::x86_64::_mm_mfence() };
    }

    /// Measures how many times a second the timer counts, against a counter of known frequency.
    /// `None` if it does not count. The timer is stopped and its interrupt masked afterwards.
    ///
    /// # Panics
    ///
    /// If `counter_hz` is below 100.
    ///
    /// # Examples
    ///
    /// ```
    /// # dormir_guest::entry!(main);
    /// use dormir::{arch::x86_64::tsc, platform::bare};
    ///
    /// let machine = bare::machine().expect("the machine is set up");
    /// if let Some(apic) = machine.apic {
    ///     let hz = apic.measure_hz(tsc::read, machine.tsc_hz).expect("the timer counts");
    ///     dormir_guest::println!("the local APIC's timer counts {hz} times a second");
    /// }
    /// ```
    #[must_use]
    pub fn measure_hz(&self, counter: impl Fn() -> u64, counter_hz: u64) -> Option<u64> {
        // 10 ms: long against the two reads that bound it, short against a boot.
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

/// Arms the timer, in its TSC-deadline mode, for this value of the TSC: at once if it has passed.
/// 0 disarms.
///
/// # Safety
///
/// Ring 0, and the processor has a TSC-deadline timer.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use dormir::{arch::x86_64::{apic, cpuid, tsc}, platform::bare};
///
/// let machine = bare::machine().expect("the machine is set up");
/// if let Some(apic) = machine.apic && cpuid::has_tsc_deadline() {
///     apic.tsc_deadline_mode();
///     let in_a_minute = tsc::read() + 60 * machine.tsc_hz;
///     // SAFETY: ring 0, and the processor has a TSC-deadline timer.
///     unsafe { apic::set_tsc_deadline(in_a_minute) };
///     // SAFETY: the same. 0 takes it back.
///     unsafe { apic::set_tsc_deadline(0) };
/// }
/// ```
#[inline]
pub unsafe fn set_tsc_deadline(tsc: u64) {
    // SAFETY: the caller says that the MSR exists; it affects nothing but the timer's interrupt.
    unsafe { Msr::new(TSC_DEADLINE_MSR).write(tsc) }
}
