//! Halting the vCPU.

use super::{Idle, IdleContext};
use crate::arch::x86_64::halt::halt_if;

/// Halts the vCPU by `hlt` until the next interrupt.
///
/// An interrupt must be able to come: without a timer or a device that is set up to interrupt, the
/// vCPU never wakes up.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use core::time::Duration;
/// use dormir::{block_on, idle::Halt, time::Timer};
///
/// block_on(async { Timer::after(Duration::from_millis(10)).await }, Halt);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Halt;

impl Idle for Halt {
    fn wait(&mut self, cx: &IdleContext<'_>) {
        use x86_64::instructions::interrupts;

        let were_masked = !interrupts::are_enabled();
        halt_if(|| cx.is_idle());
        if were_masked {
            interrupts::disable();
        }
    }
}
