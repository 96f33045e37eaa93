//! A request to a device, as a future.

use core::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use virtio_drivers::transport::Transport;

use crate::{
    Interrupt,
    device::Device,
    message::{Message, Reply, Stage},
};

/// A request, which is sent when it is first polled, and there is room.
///
/// # Cancel safety
///
/// When it is dropped, its buffer stays with the driver until the device gives it back. The device
/// may have done what it was asked for.
#[must_use = "it is sent when it is awaited"]
pub(crate) struct Request<'a, T: Transport, I: Interrupt, const SIZE: usize> {
    device: &'a Device<T, I, SIZE>,
    pub(crate) queue: usize,
    /// 0 before the first poll.
    pub(crate) id: u64,
    pub(crate) stage: Stage,
}

impl<'a, T: Transport, I: Interrupt, const SIZE: usize> Request<'a, T, I, SIZE> {
    pub(crate) fn new(device: &'a Device<T, I, SIZE>, queue: usize, message: Message) -> Self {
        Self {
            device,
            queue,
            id: 0,
            stage: Stage::Unsent(message),
        }
    }

    /// Says that no task polls this request for the time being.
    #[cfg(test)]
    pub(crate) fn park(&self) {
        self.device.park(&self.stage, self.id, self.queue);
    }
}

impl<T: Transport, I: Interrupt, const SIZE: usize> Future for Request<'_, T, I, SIZE> {
    type Output = Reply;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        let this = self.get_mut();
        this.device
            .poll(&mut this.stage, &mut this.id, this.queue, cx)
    }
}

impl<T: Transport, I: Interrupt, const SIZE: usize> Drop for Request<'_, T, I, SIZE> {
    fn drop(&mut self) {
        let stage = core::mem::replace(&mut self.stage, Stage::Finished);
        if self.id != 0 {
            self.device.give_up(stage, self.id, self.queue);
        }
    }
}
