//! The local APIC, through memory (xAPIC) or through MSRs (x2APIC).

mod timer;

use x86_64::registers::model_specific::Msr;

use super::vector;
pub use timer::set_tsc_deadline;

/// `IA32_APIC_BASE` (SDM vol. 3, 12.4.4).
const BASE_MSR: u32 = 0x1b;
const BASE_ENABLE: u64 = 1 << 11;
const BASE_X2APIC: u64 = 1 << 10;
const BASE_ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// MSR of the register at xAPIC offset 0; each 16 bytes of offset are one MSR (SDM vol. 3, 12.12.1.2).
const X2APIC_FIRST_MSR: u32 = 0x800;

// Register offsets (SDM vol. 3, table 12-1).
const EOI: u16 = 0xb0;
const SPURIOUS: u16 = 0xf0;
const COMMAND: u16 = 0x300;
const LVT_TIMER: u16 = 0x320;
const LVT_LINT0: u16 = 0x350;
const DIVIDE: u16 = 0x3e0;
/// x2APIC only (SDM vol. 3, 12.12.11).
const SELF_IPI: u16 = 0x3f0;

/// In the spurious-interrupt register: the APIC is enabled.
const SOFTWARE_ENABLE: u32 = 1 << 8;
/// In a local vector table entry: delivery mode ExtINT, the vector comes from the 8259A.
const LVT_EXT_INT: u32 = 0b111 << 8;
const LVT_MASKED: u32 = 1 << 16;
/// In the command register: to this vCPU, edge triggered, asserted, delivery mode fixed.
const COMMAND_SELF: u32 = 0b01 << 18 | 1 << 14;
/// In the divide register: count at the full rate.
const DIVIDE_BY_1: u32 = 0b1011;

/// How the local APIC is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// Memory at this address.
    Memory(*mut u32),
    /// MSRs.
    Msr,
}

/// The local APIC of the vCPU.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use dormir::arch::x86_64::{apic::Apic, cpuid, tsc};
///
/// let apic = if cpuid::has_x2apic() {
///     // SAFETY: ring 0, and the processor has an x2APIC.
///     unsafe { Apic::enable_x2apic() }
/// } else {
///     // SAFETY: there is a local APIC, and its page is mapped one to one, uncached.
///     unsafe { Apic::enable_xapic() }
/// };
/// # // SAFETY: ring 0, one vCPU, interrupts masked, memory mapped one to one.
/// # let (tsc_hz, _) = unsafe { tsc::find_frequency() }.expect("the TSC's frequency is known");
/// let hz = apic.measure_hz(tsc::read, tsc_hz).expect("its timer counts");
/// # dormir_guest::println!("{hz} Hz");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Apic {
    access: Access,
}

// SAFETY: the pointer names a device that the vCPU reaches at the same address from every context,
// and each access is one whole register.
unsafe impl Send for Apic {}
// SAFETY: as above.
unsafe impl Sync for Apic {}

/// Whether the local APIC is in x2APIC mode already.
///
/// # Safety
///
/// Ring 0, and there is a local APIC.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use dormir::arch::x86_64::{apic, apic::Apic, cpuid};
///
/// assert!(cpuid::has_apic());
/// // SAFETY: ring 0, and there is a local APIC.
/// let apic = if unsafe { apic::is_in_x2apic_mode() } {
///     // SAFETY: a processor that is in that mode has it.
///     unsafe { Apic::enable_x2apic() }
/// } else {
///     // SAFETY: it is not in x2APIC mode, and its page is mapped, uncached.
///     unsafe { Apic::enable_xapic() }
/// };
/// ```
#[must_use]
pub unsafe fn is_in_x2apic_mode() -> bool {
    // SAFETY: the MSR exists where there is a local APIC.
    unsafe { Msr::new(BASE_MSR).read() & BASE_X2APIC != 0 }
}

impl Apic {
    /// Enables the local APIC in xAPIC mode, with the legacy interrupt controller passed through.
    ///
    /// # Safety
    ///
    /// Ring 0, there is a local APIC, it is not in x2APIC mode (from there the processor cannot
    /// simply go back, SDM vol. 3, 12.12.5), and its page is mapped one to one, uncached.
    ///
    /// # Examples
    ///
    /// ```
    /// # dormir_guest::entry!(main, owns_machine);
    /// use dormir::arch::x86_64::apic::Apic;
    ///
    /// // SAFETY: ring 0; there is a local APIC, not in x2APIC mode; its page is mapped, uncached.
    /// let apic = unsafe { Apic::enable_xapic() };
    /// assert!(!apic.is_x2apic());
    /// ```
    #[must_use]
    pub unsafe fn enable_xapic() -> Self {
        let mut base = Msr::new(BASE_MSR);
        // SAFETY: the MSR exists where there is a local APIC.
        let value = unsafe { base.read() };
        // SAFETY: sets a bit that the SDM lets software set.
        unsafe { base.write(value | BASE_ENABLE) };
        let apic = Self {
            access: Access::Memory((value & BASE_ADDRESS) as *mut u32),
        };
        apic.init();
        apic
    }

    /// Enables the local APIC in x2APIC mode, with the legacy interrupt controller passed through.
    ///
    /// # Safety
    ///
    /// Ring 0, and the processor has an x2APIC.
    ///
    /// # Examples
    ///
    /// ```
    /// # dormir_guest::entry!(main, owns_machine);
    /// use dormir::arch::x86_64::{apic::Apic, cpuid};
    ///
    /// if cpuid::has_x2apic() {
    ///     // SAFETY: ring 0, and the processor has an x2APIC.
    ///     let apic = unsafe { Apic::enable_x2apic() };
    ///     assert!(apic.is_x2apic());
    /// }
    /// ```
    #[must_use]
    pub unsafe fn enable_x2apic() -> Self {
        let mut base = Msr::new(BASE_MSR);
        // SAFETY: the MSR exists where there is a local APIC.
        let value = unsafe { base.read() };
        // From disabled to x2APIC the way leads through xAPIC (SDM vol. 3, figure 12-27).
        // SAFETY: sets a bit that the SDM lets software set.
        unsafe { base.write(value | BASE_ENABLE) };
        // SAFETY: the same, for a processor that has an x2APIC.
        unsafe { base.write(value | BASE_ENABLE | BASE_X2APIC) };
        let apic = Self {
            access: Access::Msr,
        };
        apic.init();
        apic
    }

    fn init(&self) {
        self.write(SPURIOUS, SOFTWARE_ENABLE | u32::from(vector::SPURIOUS));
        // Firmware does this on a PC; micro-VMs have none. Without it the PIC's interrupts end here.
        self.write(LVT_LINT0, LVT_EXT_INT);
        self.write(LVT_TIMER, LVT_MASKED);
        self.write(DIVIDE, DIVIDE_BY_1);
    }

    /// Whether registers are reached through MSRs.
    ///
    /// # Examples
    ///
    /// ```
    /// # dormir_guest::entry!(main);
    /// use dormir::platform::bare;
    /// use dormir_guest::println;
    ///
    /// if let Some(apic) = bare::machine().and_then(|machine| machine.apic) {
    ///     let way = if apic.is_x2apic() { "MSRs" } else { "memory" };
    ///     println!("the local APIC's registers are reached through {way}");
    /// }
    /// ```
    #[must_use]
    pub const fn is_x2apic(&self) -> bool {
        matches!(self.access, Access::Msr)
    }

    #[inline]
    fn write(&self, register: u16, value: u32) {
        match self.access {
            // SAFETY: `enable_xapic`'s caller mapped the page; offsets lie within it and are aligned.
            Access::Memory(base) => unsafe {
                base.wrapping_byte_add(register.into())
                    .write_volatile(value)
            },
            Access::Msr => {
                let mut msr = Msr::new(X2APIC_FIRST_MSR + u32::from(register >> 4));
                // SAFETY: in x2APIC mode each register of this module is an MSR; no bit that is
                // reserved is written.
                unsafe { msr.write(value.into()) }
            }
        }
    }

    #[inline]
    fn read(&self, register: u16) -> u32 {
        match self.access {
            // SAFETY: as in `write`.
            Access::Memory(base) => unsafe {
                base.wrapping_byte_add(register.into()).read_volatile()
            },
            // SAFETY: as in `write`.
            Access::Msr => unsafe {
                Msr::new(X2APIC_FIRST_MSR + u32::from(register >> 4)).read() as u32
            },
        }
    }

    /// Ends the interrupt in service.
    ///
    /// # Examples
    ///
    /// For a handler in a guest that set its local APIC up by itself:
    ///
    /// ```
    /// # dormir_guest::entry!(main, owns_machine);
    /// use dormir::{arch::x86_64::{apic::Apic, interrupt::InterruptFrame}, interrupt_entry};
    /// use spin::Once;
    ///
    /// static APIC: Once<Apic> = Once::new();
    ///
    /// extern "sysv64" fn on_device(_frame: &InterruptFrame) {
    ///     // Wake whoever waits for the device, then:
    ///     if let Some(apic) = APIC.get() {
    ///         apic.end_of_interrupt();
    ///     }
    /// }
    /// interrupt_entry!(device_entry => on_device);
    /// # use dormir::arch::x86_64::{idt, pic, vector};
    /// # // Its lines would come on the vectors of exceptions.
    /// # pic::init();
    /// # // SAFETY: there is a local APIC, not in x2APIC mode, and its page is mapped, uncached.
    /// # let apic = APIC.call_once(|| unsafe { Apic::enable_xapic() });
    /// # // SAFETY: made by `interrupt_entry!`, and ends the local APIC's interrupt.
    /// # unsafe { idt::set_handler(vector::FREE, device_entry) };
    /// # for _ in 0..2 {
    /// #     apic.interrupt_self(vector::FREE);
    /// #     x86_64::instructions::interrupts::enable_and_hlt();
    /// #     x86_64::instructions::interrupts::disable();
    /// # }
    /// ```
    #[inline]
    pub fn end_of_interrupt(&self) {
        self.write(EOI, 0);
    }

    /// The address of the register that ends interrupts, where it is memory.
    pub(crate) fn eoi_address(&self) -> Option<u64> {
        match self.access {
            Access::Memory(base) => Some(base as u64 + u64::from(EOI)),
            Access::Msr => None,
        }
    }

    /// The MSR that ends interrupts, where it is one. It takes a zero.
    pub(crate) const X2APIC_EOI: u32 = X2APIC_FIRST_MSR + (EOI as u32 >> 4);

    /// Interrupts this vCPU on `vector`: at once, or as soon as interrupts are unmasked.
    ///
    /// # Panics
    ///
    /// If `vector` is an exception's (below 32).
    ///
    /// # Examples
    ///
    /// ```
    /// # dormir_guest::entry!(main);
    /// use dormir::{
    ///     arch::x86_64::{interrupt::InterruptFrame, vector},
    ///     block_on, Event, idle::Halt, interrupt_entry, platform::bare,
    /// };
    ///
    /// static CALLED: Event = Event::new();
    ///
    /// extern "sysv64" fn on_call(_frame: &InterruptFrame) {
    ///     CALLED.signal();
    ///     bare::end_of_interrupt();
    /// }
    /// interrupt_entry!(call_entry => on_call);
    ///
    /// // SAFETY: made by `interrupt_entry!`, and ends the local APIC's interrupt.
    /// unsafe { bare::set_interrupt_handler(vector::FREE, call_entry) };
    /// let apic = bare::machine().and_then(|machine| machine.apic).expect("there is a local APIC");
    /// apic.interrupt_self(vector::FREE);
    /// assert_eq!(block_on(CALLED.wait()?, Halt), 1);
    /// # Ok::<(), dormir::event::AlreadyAwaited>(())
    /// ```
    pub fn interrupt_self(&self, vector: u8) {
        vector::assert_interrupt(vector);
        if self.is_x2apic() {
            self.write(SELF_IPI, vector.into());
        } else {
            self.write(COMMAND, COMMAND_SELF | u32::from(vector));
        }
    }
}
