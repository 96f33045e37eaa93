//! KVM's paravirtual clock.
//!
//! KVM keeps a structure in the guest's memory up to date that says which time it was at which value of
//! the TSC, and how fast the TSC counts since: Linux, `Documentation/virt/kvm/x86/msr.rst`, "Custom MSR
//! list", `MSR_KVM_SYSTEM_TIME_NEW`, and `arch/x86/include/asm/pvclock-abi.h`. So the time is right
//! also where the TSC was set back or ahead, and where the guest was moved to a machine whose TSC counts
//! at another rate.

use core::{
    hint::spin_loop,
    sync::atomic::{AtomicI8, AtomicU8, AtomicU32, AtomicU64, Ordering, compiler_fence},
};

use x86_64::registers::model_specific::Msr;

use super::{cpuid, tsc};
use crate::time::{
    monotonic::{Monotonic, Readers},
    rate::{Line, Rate},
};

/// `MSR_KVM_SYSTEM_TIME_NEW`.
const SYSTEM_TIME: u32 = 0x4b56_4d01;
/// `KVM_FEATURE_CLOCKSOURCE2`: the MSR above is there.
const FEATURE_CLOCKSOURCE2: u32 = 1 << 3;
/// `KVM_FEATURE_CLOCKSOURCE_STABLE_BIT`: the flags below mean something.
const FEATURE_STABLE_BIT: u32 = 1 << 24;
/// In the MSR: the structure is to be kept up to date.
const ENABLE: u64 = 1;
/// `PVCLOCK_TSC_STABLE_BIT`, in the flags: the time is the same on every vCPU.
const TSC_STABLE: u8 = 1 << 0;

/// `struct pvclock_vcpu_time_info`, written by KVM.
#[repr(C, align(64))]
struct TimeInfo {
    /// Odd while KVM writes.
    version: AtomicU32,
    _pad: u32,
    tsc_timestamp: AtomicU64,
    system_time: AtomicU64,
    tsc_to_system_mul: AtomicU32,
    tsc_shift: AtomicI8,
    flags: AtomicU8,
    _pad2: [u8; 2],
}

/// That of the vCPU which called [`enable`]. Only atomics, since KVM writes it at any time.
static TIME_INFO: TimeInfo = TimeInfo {
    version: AtomicU32::new(0),
    _pad: 0,
    tsc_timestamp: AtomicU64::new(0),
    system_time: AtomicU64::new(0),
    tsc_to_system_mul: AtomicU32::new(0),
    tsc_shift: AtomicI8::new(0),
    flags: AtomicU8::new(0),
    _pad2: [0; 2],
};

/// Has KVM fill [`TIME_INFO`] in, and keep it up to date from now on. `None` if the hypervisor is not KVM
/// or has no clock.
///
/// # Safety
///
/// Ring 0, memory mapped one to one, and not called on two vCPUs.
unsafe fn enable() -> Option<()> {
    if cpuid::kvm_features() & FEATURE_CLOCKSOURCE2 == 0 {
        return None;
    }
    let address = core::ptr::from_ref(&TIME_INFO).addr() as u64;
    // SAFETY: the feature bit says that the MSR exists. The address is that of a static of the
    // structure's size and alignment, made of atomics; the caller says that it is the physical one.
    unsafe { Msr::new(SYSTEM_TIME).write(address | ENABLE) };
    // KVM fills the structure in before the vCPU goes on after the write.
    Some(())
}

/// The TSC's frequency in Hz as KVM gives it; `None` if the hypervisor is not KVM or has no clock.
///
/// From then on KVM writes to a static of this module now and then.
///
/// # Safety
///
/// Ring 0, memory mapped one to one, and not called on two vCPUs.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use dormir::arch::x86_64::{cpuid, pvclock, tsc::TscClock};
///
/// // SAFETY: ring 0, one vCPU, memory mapped one to one.
/// let hz = unsafe { pvclock::tsc_hz() }.or(cpuid::hypervisor_timing().tsc_hz);
/// if let Some(hz) = hz {
///     let clock = TscClock::start(hz);
/// #   let _ = clock;
/// }
/// ```
#[must_use]
pub unsafe fn tsc_hz() -> Option<u64> {
    // SAFETY: the caller's promises are the ones asked for.
    unsafe { enable()? };
    Parameters::read().0.rate()?.hz()
}

/// What the structure says.
#[derive(Clone, Copy)]
struct Parameters {
    version: u32,
    timestamp: u64,
    system_time: u64,
    mul: u32,
    shift: i8,
}

impl Parameters {
    /// By the protocol, and flags and TSC with it: what was read counts if the version is even, and the
    /// same before and after.
    fn read() -> (Self, u8, u64) {
        loop {
            let read = Self::load(TIME_INFO.version.load(Ordering::Acquire));
            let flags = TIME_INFO.flags.load(Ordering::Relaxed);
            let tsc = tsc::read();
            if read.version.is_multiple_of(2) && is_still(read.version) {
                return (read, flags, tsc);
            }
            spin_loop();
        }
    }

    /// Whatever is there, after the version was read.
    #[inline(always)]
    fn load(version: u32) -> Self {
        let info = &TIME_INFO;
        Self {
            version,
            timestamp: info.tsc_timestamp.load(Ordering::Relaxed),
            system_time: info.system_time.load(Ordering::Relaxed),
            mul: info.tsc_to_system_mul.load(Ordering::Relaxed),
            shift: info.tsc_shift.load(Ordering::Relaxed),
        }
    }

    /// `None` if nobody has filled it in.
    fn rate(&self) -> Option<Rate> {
        Rate::new(self.mul, self.shift)
    }

    #[inline(always)]
    fn unchecked_rate(&self) -> Rate {
        Rate::unchecked(self.mul, self.shift)
    }

    #[inline(always)]
    fn line(&self) -> Line {
        Line {
            count: self.timestamp,
            nanos: self.system_time,
            rate: self.unchecked_rate(),
        }
    }

    /// The time at which the TSC has this value, in nanoseconds; before the timestamp too.
    #[inline(always)]
    fn nanos(&self, tsc: u64) -> u64 {
        self.line().nanos_at(tsc)
    }
}

/// Whether the version is this one after all else has been read.
///
/// The processor keeps loads in order. It may read the TSC some nanoseconds before or after them; but it
/// is the vCPU's own structure, which KVM writes only between two of its instructions, and then
/// nothing that was begun before remains.
#[inline(always)]
fn is_still(version: u32) -> bool {
    compiler_fence(Ordering::Acquire);
    TIME_INFO.version.load(Ordering::Relaxed) == version
}

/// Readings of the clock, and what is known of the structure from the last ones.
pub(super) struct Pvclock {
    /// The version that was read last, if the time then was the same on every vCPU; else
    /// [`NONE`](Self::NONE). While it is there, a reading needs no more than to see that.
    known: AtomicU64,
    /// Timestamp, time, and multiplier and shift, as they were read last. Where a reader comes between
    /// another's writes they may be of two readings: then the TSC seems to have jumped, and the queue looks
    /// once more than it must.
    line: [AtomicU64; 3],
    /// Which flags mean something.
    flags: u8,
}

/// The clock at a moment.
#[derive(Clone, Copy)]
pub(super) struct Usual {
    /// In nanoseconds.
    pub(super) elapsed: u64,
    pub(super) tsc: u64,
    pub(super) rate: Rate,
}

/// The clock at a moment when more may be to say of it.
pub(super) struct Look {
    pub(super) usual: Usual,
    /// For how many nanoseconds it stands still.
    pub(super) held: u64,
    /// Whether it has jumped, or the TSC has gone back or counts at another rate, since the last look.
    pub(super) jumped: bool,
}

impl Pvclock {
    /// No version.
    const NONE: u64 = u64::MAX;

    /// The clock, and the time now in nanoseconds. `None` if there is none.
    ///
    /// # Safety
    ///
    /// Ring 0, memory mapped one to one, and not called on two vCPUs.
    pub(super) unsafe fn start() -> Option<(Self, u64)> {
        // SAFETY: the caller's promises are the ones asked for.
        unsafe { enable()? };
        let (now, _, tsc) = Parameters::read();
        now.rate()?.hz()?;
        let has_flags = cpuid::kvm_features() & FEATURE_STABLE_BIT != 0;
        let clock = Self {
            known: AtomicU64::new(Self::NONE),
            line: packed(&now).map(AtomicU64::new),
            flags: if has_flags { u8::MAX } else { 0 },
        };
        Some((clock, now.nanos(tsc)))
    }

    /// The time by `time`, which keeps it from going back; `None` where there is more to be done, which
    /// [`look`](Self::look) does.
    #[inline(always)]
    pub(super) fn usual(&self, time: &Monotonic) -> Option<Usual> {
        let (mut at_tsc, mut rate) = (0, Rate::unchecked(0, 0));
        let elapsed = time.usual(|| {
            let version = TIME_INFO.version.load(Ordering::Acquire);
            if u64::from(version) != self.known.load(Ordering::Relaxed) {
                return None;
            }
            let read = Parameters::load(version);
            at_tsc = tsc::read();
            rate = read.unchecked_rate();
            is_still(version).then(|| read.nanos(at_tsc))
        })?;
        Some(Usual {
            elapsed,
            tsc: at_tsc,
            rate,
        })
    }

    /// The long way, where the structure has changed, or where the time may differ from vCPU to vCPU:
    /// then other vCPUs may be reading at the same moment, whose times this one must not fall short of.
    pub(super) fn look(&self, time: &Monotonic) -> Look {
        loop {
            let mut seen = None;
            let reading = time.read(Readers::AnyVcpu, || {
                let (read, flags, tsc) = Parameters::read();
                seen = Some((read, flags, tsc));
                read.nanos(tsc)
            });
            let Some((read, flags, tsc)) = seen else {
                continue;
            };
            let is_stable = flags & self.flags & TSC_STABLE != 0;
            let known = if is_stable {
                u64::from(read.version)
            } else {
                Self::NONE
            };
            self.known.store(known, Ordering::Relaxed);
            let mut before = packed(&read);
            for (word, kept) in before.iter_mut().zip(&self.line) {
                *word = kept.swap(*word, Ordering::Relaxed);
            }
            return Look {
                usual: Usual {
                    elapsed: reading.elapsed,
                    tsc,
                    rate: read.unchecked_rate(),
                },
                held: reading.held,
                jumped: reading.jumped || read.line().is_another_than(&unpacked(before), tsc),
            };
        }
    }

    /// The time at which the TSC has this value, by what the structure says now; in nanoseconds.
    pub(super) fn nanos_at(&self, tsc: u64) -> u64 {
        Parameters::read().0.nanos(tsc)
    }
}

fn packed(read: &Parameters) -> [u64; 3] {
    let rate = u64::from(read.mul) | u64::from(read.shift.cast_unsigned()) << 32;
    [read.timestamp, read.system_time, rate]
}

fn unpacked([count, nanos, rate]: [u64; 3]) -> Line {
    let (mul, shift) = (rate as u32, (rate >> 32) as u8);
    Line {
        count,
        nanos,
        rate: Rate::unchecked(mul, shift.cast_signed()),
    }
}
