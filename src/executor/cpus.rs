//! Which vCPUs may wake tasks: any, or only the one that polls them.

use crate::sync::atomic::{AtomicU64, Ordering};

/// How the words of a ready set are changed: a type parameter of [`Executor`](super::Executor),
/// which decides whether a wake needs locked instructions.
///
/// [`Shared`] is always correct. [`SingleVcpu`] is cheaper; by its unsafe constructor a program
/// promises that only one vCPU uses the executor. This is a type and not a cargo feature, because
/// features unify: one crate that enables the cheaper form would enable it for all.
///
/// # Examples
///
/// ```
/// use dormir::executor::{Executor, Shared, SingleVcpu, Up64};
///
/// static ANY: Executor<Up64> = Executor::new(Shared);
/// // SAFETY: this guest has one vCPU.
/// static ONE: Executor<Up64, SingleVcpu> = Executor::new(unsafe { SingleVcpu::new() });
/// # assert_eq!(ANY.tasks() + ONE.tasks(), 0);
/// ```
///
/// # Safety
///
/// Each operation must be atomic with regard to every context in which the type's constructor
/// allows wakes, NMI handlers included.
pub unsafe trait Cpus: Copy + Send + Sync + 'static {
    /// Sets bit `bit` modulo 64 of `word`. Returns `false` only if it was set already. In either
    /// case, the context that clears the bit afterwards sees what the caller wrote before.
    ///
    /// # Examples
    ///
    /// ```
    /// use core::sync::atomic::AtomicU64;
    /// use dormir::executor::{Cpus, Shared};
    ///
    /// let word = AtomicU64::new(0);
    /// assert!(Shared::set(&word, 3));
    /// assert!(!Shared::set(&word, 3), "it was set already");
    /// ```
    fn set(word: &AtomicU64, bit: u32) -> bool;

    /// Sets the bits of `mask`, whatever they were.
    ///
    /// # Examples
    ///
    /// ```
    /// use core::sync::atomic::AtomicU64;
    /// use dormir::executor::{Cpus, Shared};
    ///
    /// let word = AtomicU64::new(0b0010);
    /// Shared::raise(&word, 0b0110);
    /// assert_eq!(word.into_inner(), 0b0110);
    /// ```
    fn raise(word: &AtomicU64, mask: u64);

    /// Clears bit `bit`, which is below 64. The caller then sees what was written before the bit
    /// was set.
    ///
    /// # Examples
    ///
    /// ```
    /// use core::sync::atomic::AtomicU64;
    /// use dormir::executor::{Cpus, Shared};
    ///
    /// let word = AtomicU64::new(0b1111);
    /// Shared::clear(&word, 3);
    /// assert_eq!(word.into_inner(), 0b0111);
    /// ```
    fn clear(word: &AtomicU64, bit: u32);
}

/// Tasks may be woken from any vCPU or thread. One locked instruction for each word that changes.
///
/// This holds for wakes, which use no critical section. Spawns, aborts, handles and timers use one:
/// they may be used on another vCPU than the runner's only with an implementation of
/// `critical-section` that excludes other vCPUs. dormir's own (the feature `critical-section-impl`)
/// only masks the interrupts of its own vCPU.
///
/// A wake on another vCPU does not end the runner's halt: see
/// [`Executor::on_wake`](super::Executor::on_wake). Without such a hook, even a wake on the
/// runner's own vCPU can be delayed until its next interrupt: in an executor of more than 64 tasks,
/// if another vCPU is waking the same task at that moment.
///
/// # Examples
///
/// ```
/// use dormir::executor::{Executor, RemoteSpawner, Shared, Up64};
///
/// dormir::tasks! { async fn from_thread(), pool = 1 {} }
///
/// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
///
/// let remote: RemoteSpawner = EXECUTOR.remote();
/// let other = std::thread::spawn(move || remote.spawn_detached(from_thread()).is_ok());
/// assert!(other.join().expect("the thread ends"));
/// EXECUTOR.enter()?.run(dormir::platform::host::Skip);
/// # Ok::<(), dormir::executor::AlreadyEntered>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Shared;

// SAFETY: locked instructions are atomic for every context on every vCPU.
unsafe impl Cpus for Shared {
    #[inline(always)]
    fn set(word: &AtomicU64, bit: u32) -> bool {
        // This writes even if the bit is set: a plain load could be older than what the waker has
        // written for the task. As one expression it becomes `lock bts`.
        let mask = 1 << (bit % 64);
        word.fetch_or(mask, Ordering::AcqRel) & mask == 0
    }

    #[inline(always)]
    fn raise(word: &AtomicU64, mask: u64) {
        word.fetch_or(mask, Ordering::Release);
    }

    #[cfg(all(target_arch = "x86_64", not(any(loom, miri, sanitized))))]
    #[inline(always)]
    fn clear(word: &AtomicU64, bit: u32) {
        // `fetch_and` would take two instructions more, for the mask. SAFETY: this changes one bit
        // of a live atomic. It is not `nomem`, so the compiler moves no memory access across it.
        unsafe {
            core::arch::asm!(
                "lock btr qword ptr [{word}], {bit:r}",
                word = in(reg) word.as_ptr(),
                bit = in(reg) u64::from(bit % 64),
                options(nostack),
            );
        }
    }

    #[cfg(not(all(target_arch = "x86_64", not(any(loom, miri, sanitized)))))]
    fn clear(word: &AtomicU64, bit: u32) {
        word.fetch_and(!(1 << bit), Ordering::AcqRel);
    }
}

/// Tasks are woken only on the vCPU that polls them: by other tasks and by interrupt handlers. No
/// locked instruction.
///
/// An instruction that changes memory is atomic on its own vCPU, since interrupts and NMIs come
/// between instructions. So it needs no lock prefix.
///
/// # Examples
///
/// ```
/// use dormir::executor::{Executor, SingleVcpu, Up64, yield_now};
///
/// dormir::tasks! { async fn twice(), pool = 1 { yield_now().await } }
///
/// // SAFETY: this guest has one vCPU.
/// static EXECUTOR: Executor<Up64, SingleVcpu> = Executor::new(unsafe { SingleVcpu::new() });
///
/// let mut runner = EXECUTOR.enter()?;
/// runner.spawner().spawn_detached(twice())?;
/// runner.run(dormir::platform::host::Skip);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SingleVcpu(());

impl SingleVcpu {
    /// Promises that only one vCPU uses the executor.
    ///
    /// # Safety
    ///
    /// As long as the executor is used, everything that wakes its tasks, spawns on it or uses its
    /// handles runs on the vCPU (on a host: the thread) that polls them: tasks, interrupt handlers
    /// and NMI handlers of that vCPU.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::executor::{Executor, SingleVcpu, Up4096};
    ///
    /// // SAFETY: this guest has one vCPU, so everything that wakes or spawns runs there.
    /// const ONE: SingleVcpu = unsafe { SingleVcpu::new() };
    /// static EXECUTOR: Executor<Up4096, SingleVcpu> = Executor::new(ONE);
    /// # assert_eq!(EXECUTOR.tasks(), 0);
    /// ```
    #[must_use]
    pub const unsafe fn new() -> Self {
        Self(())
    }
}

// SAFETY: `new` promises that all contexts are on one vCPU, and each change is one instruction.
unsafe impl Cpus for SingleVcpu {
    #[inline(always)]
    fn set(word: &AtomicU64, bit: u32) -> bool {
        // Testing the bit first would cost more than setting it again.
        Self::raise(word, mask(bit));
        true
    }

    #[cfg(all(target_arch = "x86_64", not(any(loom, miri, sanitized))))]
    #[inline(always)]
    fn raise(word: &AtomicU64, mask: u64) {
        // SAFETY: this changes bits of a live atomic. It is not `nomem`, so the compiler moves no
        // memory access across it.
        unsafe {
            core::arch::asm!(
                "or qword ptr [{word}], {mask}",
                word = in(reg) word.as_ptr(),
                mask = in(reg) mask,
                options(nostack),
            );
        }
    }

    #[cfg(all(target_arch = "x86_64", not(any(loom, miri, sanitized))))]
    #[inline(always)]
    fn clear(word: &AtomicU64, bit: u32) {
        // SAFETY: this changes one bit of a live atomic. It is not `nomem`, so the compiler moves
        // no memory access across it.
        unsafe {
            core::arch::asm!(
                "btr qword ptr [{word}], {bit:r}",
                word = in(reg) word.as_ptr(),
                bit = in(reg) u64::from(bit % 64),
                options(nostack),
            );
        }
    }

    #[cfg(not(all(target_arch = "x86_64", not(any(loom, miri, sanitized)))))]
    fn raise(word: &AtomicU64, mask: u64) {
        Shared::raise(word, mask);
    }

    #[cfg(not(all(target_arch = "x86_64", not(any(loom, miri, sanitized)))))]
    fn clear(word: &AtomicU64, bit: u32) {
        Shared::clear(word, bit);
    }
}

/// Returns a mask of one bit. The compiler would shift, which takes one instruction more.
#[cfg(all(target_arch = "x86_64", not(any(loom, miri, sanitized))))]
#[inline(always)]
fn mask(bit: u32) -> u64 {
    let mut mask = 0_u64;
    // SAFETY: this only changes a register. `bts` takes the bit's number modulo 64.
    unsafe {
        core::arch::asm!(
            "bts {mask}, {bit:r}",
            mask = inout(reg) mask,
            bit = in(reg) bit,
            options(pure, nomem, nostack),
        );
    }
    mask
}

#[cfg(not(all(target_arch = "x86_64", not(any(loom, miri, sanitized)))))]
fn mask(bit: u32) -> u64 {
    1_u64.wrapping_shl(bit)
}
