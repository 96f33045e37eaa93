//! KVM's paravirtual clock.
//!
//! KVM keeps a structure in the guest's memory up to date. It holds a value of the TSC, the time at
//! that value, and the rate at which the TSC has counted since: Linux,
//! `Documentation/virt/kvm/x86/msr.rst`, "Custom MSR list", `MSR_KVM_SYSTEM_TIME_NEW`, and
//! `arch/x86/include/asm/pvclock-abi.h`. So the time is right even if the TSC is set back or ahead,
//! or the guest is moved to a machine whose TSC counts at another rate.

use core::{
    hint::spin_loop,
    sync::atomic::{AtomicI8, AtomicU8, AtomicU32, AtomicU64, Ordering, compiler_fence},
};

use x86_64::registers::model_specific::Msr;

use super::counter;
use crate::{
    arch::x86_64::cpuid,
    time::{
        monotonic::{Monotonic, Readers},
        rate::{Line, Rate},
    },
};

/// `MSR_KVM_SYSTEM_TIME_NEW`.
const SYSTEM_TIME: u32 = 0x4b56_4d01;
/// `KVM_FEATURE_CLOCKSOURCE2`: the MSR above exists.
const FEATURE_CLOCKSOURCE2: u32 = 1 << 3;
/// `KVM_FEATURE_CLOCKSOURCE_STABLE_BIT`: the flag below is valid.
const FEATURE_STABLE_BIT: u32 = 1 << 24;
/// In the MSR: KVM keeps the structure up to date.
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

/// The structure of the vCPU that called [`enable`]. It consists of atomics, since KVM may write it
/// at any time.
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

/// Makes KVM fill [`TIME_INFO`] and keep it up to date. Returns its contents and the TSC, or `None`
/// if the hypervisor is not KVM or has no clock.
///
/// # Safety
///
/// Ring 0, memory mapped one to one, and not called on two vCPUs.
#[inline(never)]
unsafe fn enable() -> Option<(Parameters, u64)> {
    if cpuid::kvm_features() & FEATURE_CLOCKSOURCE2 == 0 {
        return None;
    }
    let address = core::ptr::from_ref(&TIME_INFO).addr() as u64;
    // SAFETY: by the feature bit, the MSR exists. The address is that of a static of the
    // structure's size and alignment, made of atomics. The caller guarantees that it is the
    // physical one.
    unsafe { Msr::new(SYSTEM_TIME).write(address | ENABLE) };
    // KVM fills the structure before the vCPU continues after the write.
    let (parameters, _, tsc) = Parameters::read();
    Some((parameters, tsc))
}

/// The TSC's frequency in Hz that KVM reports; `None` if the hypervisor is not KVM or has no clock.
///
/// From then on KVM writes to a static of this module from time to time.
///
/// # Safety
///
/// Ring 0, memory mapped one to one, and not called on two vCPUs.
pub(super) unsafe fn tsc_hz() -> Option<u64> {
    // SAFETY: the caller guarantees what `enable` requires.
    let (parameters, _) = unsafe { enable()? };
    parameters.rate()?.hz()
}

/// The contents of the structure.
#[derive(Clone, Copy)]
struct Parameters {
    version: u32,
    timestamp: u64,
    system_time: u64,
    mul: u32,
    shift: i8,
}

impl Parameters {
    /// Reads the structure by its protocol, with the flags and the TSC. The contents are valid if
    /// the version is even, and the same before and after.
    fn read() -> (Self, u8, u64) {
        loop {
            let read = Self::load(TIME_INFO.version.load(Ordering::Acquire));
            let flags = TIME_INFO.flags.load(Ordering::Relaxed);
            let tsc = counter::read();
            if read.version.is_multiple_of(2) && is_still(read.version) {
                return (read, flags, tsc);
            }
            spin_loop();
        }
    }

    /// Reads the rest of the structure, after the version. The contents may be invalid.
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

    /// The rate; `None` if KVM has not filled the structure.
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

    /// The time at which the TSC has this value, in nanoseconds. The value may be before the
    /// timestamp.
    #[inline(always)]
    fn nanos(&self, tsc: u64) -> u64 {
        self.line().nanos_at(tsc)
    }
}

/// Whether the version is still this one, after everything else has been read.
///
/// The processor keeps loads in order. It may read the TSC some nanoseconds before or after them.
/// That does no harm: KVM writes the vCPU's own structure only between two of the vCPU's
/// instructions, and then no read that has begun is still in progress.
#[inline(always)]
fn is_still(version: u32) -> bool {
    compiler_fence(Ordering::Acquire);
    TIME_INFO.version.load(Ordering::Relaxed) == version
}

/// The clock, and what the last readings found in the structure.
pub(super) struct Pvclock {
    /// The version that was read last, if the time was then the same on every vCPU; else
    /// [`NONE`](Self::NONE). As long as the structure has this version, a reading is short.
    known: AtomicU64,
    /// Timestamp, time, and multiplier and shift, as they were read last. If a reader interrupts
    /// the writes of another, they may be of two readings. Then the TSC seems to have jumped, and
    /// the queue makes one check too many.
    line: [AtomicU64; 3],
    /// The mask of the flags that are valid.
    flags: u8,
}

/// The time and what it was calculated from.
#[derive(Clone, Copy)]
pub(super) struct PvclockTime {
    /// In nanoseconds.
    pub(super) elapsed: u64,
    pub(super) tsc: u64,
    pub(super) rate: Rate,
}

/// The result of a reading by the long path.
pub(super) struct PvclockReading {
    pub(super) time: PvclockTime,
    /// The nanoseconds for which the clock stands still.
    pub(super) held: u64,
    /// Whether, since the last reading, the time has jumped, the TSC has gone back or its rate has
    /// changed.
    pub(super) jumped: bool,
}

impl Pvclock {
    /// In place of a version, which has 32 bits.
    const NONE: u64 = u64::MAX;

    /// The clock, and the current time in nanoseconds; `None` if there is no such clock.
    ///
    /// # Safety
    ///
    /// Ring 0, memory mapped one to one, and not called on two vCPUs.
    pub(super) unsafe fn start() -> Option<(Self, u64)> {
        // SAFETY: the caller guarantees what `enable` requires.
        let (now, tsc) = unsafe { enable()? };
        now.rate()?.hz()?;
        let has_flags = cpuid::kvm_features() & FEATURE_STABLE_BIT != 0;
        let clock = Self {
            known: AtomicU64::new(Self::NONE),
            line: packed(&now).map(AtomicU64::new),
            flags: if has_flags { u8::MAX } else { 0 },
        };
        Some((clock, now.nanos(tsc)))
    }

    /// The time, kept from going back by `time`. This is the short path. It returns `None` if the
    /// long one, [`read`](Self::read), is needed.
    #[inline(always)]
    pub(super) fn usual(&self, time: &Monotonic) -> Option<PvclockTime> {
        let (mut at_tsc, mut rate) = (0, Rate::unchecked(0, 0));
        let elapsed = time.usual(|| {
            let version = TIME_INFO.version.load(Ordering::Acquire);
            if u64::from(version) != self.known.load(Ordering::Relaxed) {
                return None;
            }
            let read = Parameters::load(version);
            at_tsc = counter::read();
            rate = read.unchecked_rate();
            is_still(version).then(|| read.nanos(at_tsc))
        })?;
        Some(PvclockTime {
            elapsed,
            tsc: at_tsc,
            rate,
        })
    }

    /// The long path, for a structure that has changed, or a time that may differ between vCPUs. In
    /// the second case other vCPUs may read at the same time, and this time must not be earlier
    /// than theirs.
    pub(super) fn read(&self, time: &Monotonic) -> PvclockReading {
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
            return PvclockReading {
                time: PvclockTime {
                    elapsed: reading.elapsed,
                    tsc,
                    rate: read.unchecked_rate(),
                },
                held: reading.held,
                jumped: reading.jumped || read.line().is_another_than(&unpacked(before), tsc),
            };
        }
    }

    /// The time at which the TSC has this value, by the current contents of the structure, in
    /// nanoseconds.
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
