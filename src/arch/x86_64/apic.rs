//! The local APIC. Its registers are in memory (xAPIC) or are MSRs (x2APIC).

pub(super) mod timer;

use core::cell::Cell;

use critical_section::Mutex;
use x86_64::registers::model_specific::Msr;

use super::vector;

/// `IA32_APIC_BASE` (SDM vol. 3, 12.4.4).
const BASE_MSR: u32 = 0x1b;
const BASE_ENABLE: u64 = 1 << 11;
const BASE_X2APIC: u64 = 1 << 10;
const BASE_ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// The MSR of the register at xAPIC offset 0. Every 16 bytes of offset are one MSR (SDM vol. 3,
/// 12.12.1.2).
const X2APIC_FIRST_MSR: u32 = 0x800;

/// A message is written to this address, with the local APIC's ID from bit 12 on (SDM vol. 3,
/// 12.11.1). The data is the vector: fixed delivery, edge triggered (12.11.2).
#[cfg(feature = "bare")]
const MESSAGES: u64 = 0xfee0_0000;

// Register offsets (SDM vol. 3, table 12-1).
#[cfg(feature = "bare")]
const ID: u16 = 0x20;
const EOI: u16 = 0xb0;
const SPURIOUS: u16 = 0xf0;
/// The first of eight registers with a bit for each vector.
const IN_SERVICE: u16 = 0x100;
const COMMAND: u16 = 0x300;
const LVT_TIMER: u16 = 0x320;
const LVT_LINT0: u16 = 0x350;
const LVT_LINT1: u16 = 0x360;
const DIVIDE: u16 = 0x3e0;
/// x2APIC only (SDM vol. 3, 12.12.11).
const SELF_IPI: u16 = 0x3f0;

/// In the spurious-interrupt register: the APIC is enabled.
const SOFTWARE_ENABLE: u32 = 1 << 8;
/// In a local vector table entry: delivery mode NMI.
const LVT_NMI: u32 = 0b100 << 8;
/// In a local vector table entry: delivery mode ExtINT. The vector comes from the 8259A.
const LVT_EXT_INT: u32 = 0b111 << 8;
const LVT_MASKED: u32 = 1 << 16;
/// In the command register: to this vCPU, edge triggered, asserted, delivery mode fixed.
const COMMAND_SELF: u32 = 0b01 << 18 | 1 << 14;
/// In the divide register: count at the full rate.
const DIVIDE_BY_1: u32 = 0b1011;

/// The place of the local APIC's registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Registers {
    /// In memory, from this address on.
    Memory(*mut u32),
    /// They are MSRs.
    Msr,
}

/// The local APIC of the vCPU.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use dormir::arch::x86_64::{apic::Apic, tsc};
///
/// // SAFETY: ring 0; there is a local APIC, not in x2APIC mode; its page is mapped one to one,
/// // uncached.
/// let apic = unsafe { Apic::enable_xapic() };
/// // SAFETY: ring 0, one vCPU, interrupts masked, memory mapped one to one.
/// let (tsc_hz, _) = unsafe { tsc::find_frequency() }.expect("the TSC's frequency is known");
/// let hz = apic.measure_hz(tsc::read, tsc_hz).expect("its timer counts");
/// dormir_guest::println!("the local APIC's timer counts {hz} times a second");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Apic {
    registers: Registers,
}

/// The local APIC that was enabled last.
static ENABLED: Mutex<Cell<Option<Apic>>> = Mutex::new(Cell::new(None));

// SAFETY: the pointer is to a device that the vCPU reaches at the same address from every context,
// and each access is to one whole register.
unsafe impl Send for Apic {}
// SAFETY: as above.
unsafe impl Sync for Apic {}

/// Ends an interrupt that came on the spurious vector if it is in service: then a device or the
/// vCPU itself has sent it as a message, and without an end it would hold off all others. A
/// spurious interrupt is not in service, and an EOI would end another one (SDM vol. 3, 12.9).
pub(super) fn end_of_spurious() {
    let enabled = critical_section::with(|cs| ENABLED.borrow(cs).get());
    if let Some(apic) = enabled.filter(|apic| apic.is_in_service(vector::SPURIOUS)) {
        apic.end_of_interrupt();
    }
}

/// Whether the local APIC is in x2APIC mode already.
///
/// # Safety
///
/// Ring 0, and there is a local APIC.
pub(crate) unsafe fn is_in_x2apic_mode() -> bool {
    // SAFETY: the MSR exists where there is a local APIC.
    unsafe { Msr::new(BASE_MSR).read() & BASE_X2APIC != 0 }
}

impl Apic {
    /// Enables the local APIC in xAPIC mode. Interrupts of the legacy controller pass through it.
    ///
    /// # Safety
    ///
    /// Ring 0, there is a local APIC, its page is mapped one to one, uncached, and it is not in
    /// x2APIC mode (which the processor cannot simply leave: SDM vol. 3, 12.12.5).
    #[must_use]
    pub unsafe fn enable_xapic() -> Self {
        let mut base = Msr::new(BASE_MSR);
        // SAFETY: the MSR exists where there is a local APIC.
        let value = unsafe { base.read() };
        // SAFETY: sets a bit that the SDM lets software set.
        unsafe { base.write(value | BASE_ENABLE) };
        let apic = Self {
            registers: Registers::Memory((value & BASE_ADDRESS) as *mut u32),
        };
        apic.init();
        apic
    }

    /// Enables the local APIC in x2APIC mode. Interrupts of the legacy controller pass through it.
    ///
    /// # Safety
    ///
    /// Ring 0, and the processor has an x2APIC.
    #[must_use]
    pub unsafe fn enable_x2apic() -> Self {
        let mut base = Msr::new(BASE_MSR);
        // SAFETY: the MSR exists where there is a local APIC.
        let value = unsafe { base.read() };
        // A disabled APIC enters x2APIC mode from xAPIC mode only (SDM vol. 3, figure 12-27).
        // SAFETY: sets a bit that the SDM lets software set.
        unsafe { base.write(value | BASE_ENABLE) };
        // SAFETY: the same, for a processor that has an x2APIC.
        unsafe { base.write(value | BASE_ENABLE | BASE_X2APIC) };
        let apic = Self {
            registers: Registers::Msr,
        };
        apic.init();
        apic
    }

    fn init(&self) {
        self.write(SPURIOUS, SOFTWARE_ENABLE | u32::from(vector::SPURIOUS));
        // Firmware does this on a PC; micro-VMs have none. Otherwise the PIC's interrupts do not
        // pass.
        self.write(LVT_LINT0, LVT_EXT_INT);
        // The same for the machine's NMIs, such as those that QEMU's monitor injects.
        self.write(LVT_LINT1, LVT_NMI);
        self.write(LVT_TIMER, LVT_MASKED);
        self.write(DIVIDE, DIVIDE_BY_1);
        critical_section::with(|cs| ENABLED.borrow(cs).set(Some(*self)));
    }

    /// Whether the registers are MSRs.
    #[must_use]
    pub const fn is_x2apic(&self) -> bool {
        matches!(self.registers, Registers::Msr)
    }

    #[inline]
    fn write(&self, register: u16, value: u32) {
        match self.registers {
            // SAFETY: `enable_xapic`'s caller mapped the page. Offsets lie within it and are
            // aligned.
            Registers::Memory(base) => unsafe {
                base.wrapping_byte_add(register.into())
                    .write_volatile(value)
            },
            Registers::Msr => {
                let mut msr = Msr::new(X2APIC_FIRST_MSR + u32::from(register >> 4));
                // SAFETY: in x2APIC mode each register of this module is an MSR, and no reserved
                // bit is written.
                unsafe { msr.write(value.into()) }
            }
        }
    }

    #[inline]
    fn read(&self, register: u16) -> u32 {
        match self.registers {
            // SAFETY: as in `write`.
            Registers::Memory(base) => unsafe {
                base.wrapping_byte_add(register.into()).read_volatile()
            },
            // SAFETY: as in `write`.
            Registers::Msr => unsafe {
                Msr::new(X2APIC_FIRST_MSR + u32::from(register >> 4)).read() as u32
            },
        }
    }

    /// Ends the interrupt in service, as its handler must.
    #[inline]
    pub fn end_of_interrupt(&self) {
        self.write(EOI, 0);
    }

    /// Whether an interrupt on `vector` has come and was not ended.
    fn is_in_service(&self, vector: u8) -> bool {
        let register = IN_SERVICE + 16 * u16::from(vector / 32);
        self.read(register) & 1 << (vector % 32) != 0
    }

    /// The local APIC's ID.
    #[cfg(feature = "bare")]
    pub(crate) fn id(&self) -> u32 {
        match self.registers {
            Registers::Memory(_) => self.read(ID) >> 24,
            Registers::Msr => self.read(ID),
        }
    }

    /// The address to which a device writes a message for the local APIC `id`. Only IDs below 256
    /// have one.
    #[cfg(feature = "bare")]
    pub(crate) const fn message_address(id: u32) -> Option<u64> {
        if id > 0xff {
            return None;
        }
        Some(MESSAGES | (id as u64) << 12)
    }

    /// The address of the register that ends interrupts; `None` if it is an MSR.
    pub(crate) fn eoi_address(&self) -> Option<u64> {
        match self.registers {
            Registers::Memory(base) => Some(base as u64 + u64::from(EOI)),
            Registers::Msr => None,
        }
    }

    /// The MSR that ends interrupts when 0 is written, in x2APIC mode.
    pub(crate) const X2APIC_EOI: u32 = X2APIC_FIRST_MSR + (EOI as u32 >> 4);

    /// Interrupts this vCPU on `vector`, as soon as interrupts are unmasked.
    ///
    /// # Panics
    ///
    /// If `vector` is an exception's (below 32).
    pub fn interrupt_self(&self, vector: u8) {
        vector::assert_interrupt(vector);
        if self.is_x2apic() {
            self.write(SELF_IPI, vector.into());
        } else {
            self.write(COMMAND, COMMAND_SELF | u32::from(vector));
        }
    }
}
