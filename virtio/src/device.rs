//! A device with its interrupt, as drivers use it.

use core::{
    fmt,
    task::{Context, Poll},
};

use spin::Mutex;
use virtio_drivers::transport::{DeviceType, Transport};

use crate::{
    Interrupt, SetupError,
    message::{Reply, Stage},
    state::{State, Wanted},
};

/// How often the configuration is read anew because it has changed meanwhile.
const CONFIGURATION_READS: usize = 100;

/// How often a poll takes interrupts before it looks for what is done.
const MOST_ROUNDS: usize = 4;

/// A device that a driver can be made of: its registers and its interrupt.
pub struct Attached<T, I> {
    transport: T,
    interrupt: I,
}

impl<T: Transport, I> Attached<T, I> {
    /// Puts a transport and the device's interrupt together. For virtio-mmio,
    /// [`mmio::Device::connect`](crate::mmio::Device::connect) does it.
    ///
    /// # Safety
    ///
    /// - The transport is that of a device that nothing else drives, and its functions do what they
    ///   are named for. In particular, the device accesses no memory that it was given before once
    ///   its status is 0.
    /// - The device sees the heap at the addresses that this program uses: memory is mapped one to
    ///   one, without an IOMMU.
    pub unsafe fn new(transport: T, interrupt: I) -> Self {
        Self {
            transport,
            interrupt,
        }
    }

    /// Which driver it needs.
    #[must_use]
    pub fn device_type(&self) -> DeviceType {
        self.transport.device_type()
    }
}

impl<T, I> fmt::Debug for Attached<T, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attached").finish_non_exhaustive()
    }
}

/// A device with its queues, of `SIZE` descriptors each.
pub(crate) struct Device<T: Transport, I: Interrupt, const SIZE: usize> {
    /// No foreign code runs while it is locked: wakers are cloned, woken and dropped outside. It is
    /// dropped, and with it the device reset, before the interrupt is given back.
    pub(crate) state: Mutex<State<T, SIZE>>,
    interrupt: I,
    pub(crate) features: u64,
    #[cfg(test)]
    pub(crate) mutant: Option<Mutant>,
}

/// A fault that tests must find.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// Acknowledges after the look.
    LookFirst,
    /// Does not look after the acknowledgement.
    NoLook,
    /// Makes no other request the leader.
    NoHandOver,
    /// Leaves a parked request that was not sent as it is.
    UnsentLeads,
}

impl<T: Transport, I: Interrupt, const SIZE: usize> Device<T, I, SIZE> {
    pub(crate) fn new(attached: Attached<T, I>, wanted: &Wanted<'_>) -> Result<Self, SetupError> {
        let Attached {
            transport,
            interrupt,
        } = attached;
        if transport.device_type() != wanted.device_type {
            return Err(SetupError::WrongType);
        }
        if transport.requires_legacy_layout() {
            return Err(SetupError::Legacy);
        }
        // From here on, dropping it resets the device.
        let mut state = State::new(transport);
        let features = state.set_up(wanted)?;
        Ok(Self {
            interrupt,
            features,
            state: Mutex::new(state),
            #[cfg(test)]
            mutant: None,
        })
    }

    /// Reads from the device's configuration by `read`, all at one time.
    pub(crate) fn configuration<R>(
        &self,
        read: impl Fn(&T) -> virtio_drivers::Result<R>,
    ) -> Result<R, SetupError> {
        let state = self.state.lock();
        let transport = state.transport();
        for _ in 0..CONFIGURATION_READS {
            let before = transport.read_config_generation();
            let value = read(transport).map_err(|_| SetupError::Configuration)?;
            if transport.read_config_generation() == before {
                return Ok(value);
            }
        }
        Err(SetupError::Configuration)
    }

    /// Sends a request if there is room and that has not happened yet, and takes its reply.
    pub(crate) fn poll(
        &self,
        stage: &mut Stage,
        id: &mut u64,
        queue: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Reply> {
        if let Some(reply) = self.advance(stage, id, queue, cx) {
            return Poll::Ready(reply);
        }
        #[cfg(test)]
        if self.mutant == Some(Mutant::LookFirst) {
            self.take_back_all(*id);
            self.listen(*id, cx);
            let reply = self.advance(stage, id, queue, cx);
            return reply.map_or(Poll::Pending, Poll::Ready);
        }
        if !self.listen(*id, cx) {
            cx.waker().wake_by_ref();
        }
        // Only now, after the acknowledgement: what the device does after the look interrupts.
        self.take_back_all(*id);
        self.advance(stage, id, queue, cx)
            .map_or(Poll::Pending, Poll::Ready)
    }

    /// Takes the interrupts so far, and acknowledges them at the device. The next one wakes the
    /// task of this context, unless `false` is returned: interrupts come faster than they are
    /// taken.
    pub(crate) fn listen(&self, id: u64, cx: &mut Context<'_>) -> bool {
        for _ in 0..MOST_ROUNDS {
            if self.interrupt.poll_wait(cx).is_ready() {
                if self.state.lock().acknowledge() {
                    self.interrupt.acknowledged();
                }
            } else if self.state.lock().lead(id) {
                return true;
            }
            // If it was not, another vCPU polled a request meanwhile: which of the two the
            // interrupt wakes is not known.
        }
        false
    }

    fn take_back_all(&self, me: u64) {
        #[cfg(test)]
        if self.mutant == Some(Mutant::NoLook) {
            return;
        }
        while let Some(wakes) = { self.state.lock().take_back(me) } {
            wakes.wake();
        }
    }

    /// As [`State::advance`].
    fn advance(
        &self,
        stage: &mut Stage,
        id: &mut u64,
        queue: usize,
        cx: &mut Context<'_>,
    ) -> Option<Reply> {
        // What is left in it is dropped at the end, when the state is not locked.
        let mut waker = Some(cx.waker().clone());
        let mut state = self.state.lock();
        if *id == 0 {
            *id = state.new_id();
        }
        let (reply, wakes) = state.advance(stage, *id, queue, &mut waker);
        drop(state);
        wakes.wake();
        reply
    }

    /// Lets another request be the leader, until this one is polled again.
    #[cfg(any(test, feature = "console"))]
    pub(crate) fn park(&self, stage: &Stage, id: u64, queue: usize) {
        #[cfg(test)]
        if self.mutant == Some(Mutant::UnsentLeads) && matches!(stage, Stage::Unsent(_)) {
            return;
        }
        let wakes = self.state.lock().park(stage, id, queue);
        wakes.wake();
    }

    /// Drops a request.
    pub(crate) fn give_up(&self, stage: Stage, id: u64, queue: usize) {
        let (reply, wakes) = self.state.lock().give_up(&stage, id, queue);
        wakes.wake();
        drop((reply, stage));
    }
}
