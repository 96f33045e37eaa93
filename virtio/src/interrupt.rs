//! [`Interrupt`]: what wakes a task when its device has done something.

use core::task::{Context, Poll};

/// A device's interrupt. Its handler signals and nothing else.
///
/// It belongs to one driver, since it wakes one task: a reference to it is no `Interrupt`. Drivers
/// whose devices share a line each have an `Interrupt` of their own, as claims of the line are.
///
/// Implemented by `dormir::platform::bare::DeviceInterrupt`.
pub trait Interrupt {
    /// Takes the interrupts that came since the last call, and returns their number if there are
    /// any. If not, the next one wakes the task of this context, and no other.
    fn poll_wait(&self, cx: &mut Context<'_>) -> Poll<u32>;

    /// The device had interrupted, and was told that this was seen. If others share its line, they
    /// must look at their devices now: the line may have hidden theirs. Without sharing there is
    /// nothing to do.
    fn acknowledged(&self) {}
}

#[cfg(all(target_arch = "x86_64", target_os = "none"))]
impl Interrupt for dormir::platform::bare::DeviceInterrupt {
    fn poll_wait(&self, cx: &mut Context<'_>) -> Poll<u32> {
        self.poll_wait(cx)
    }

    fn acknowledged(&self) {
        self.acknowledged();
    }
}
