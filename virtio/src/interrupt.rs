//! [`Interrupt`]: what wakes a task when its device has done something.

use core::task::{Context, Poll};

/// A device's interrupt. Its handler signals and nothing else.
///
/// Implemented by `dormir::platform::bare::DeviceInterrupt`.
pub trait Interrupt {
    /// Takes the interrupts that came since the last call, and returns their number if there are
    /// any. If not, the next one wakes the task of this context, and no other.
    fn poll_wait(&self, cx: &mut Context<'_>) -> Poll<u32>;
}

impl<I: Interrupt> Interrupt for &I {
    fn poll_wait(&self, cx: &mut Context<'_>) -> Poll<u32> {
        (**self).poll_wait(cx)
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "none"))]
impl Interrupt for dormir::platform::bare::DeviceInterrupt {
    fn poll_wait(&self, cx: &mut Context<'_>) -> Poll<u32> {
        self.poll_wait(cx)
    }
}
