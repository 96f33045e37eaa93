//! What a device's lock protects: its registers, its queues, and which request its interrupt wakes.

use alloc::vec::Vec;
use core::{
    sync::atomic::{Ordering, fence},
    task::Waker,
};

use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};

use crate::{
    SetupError,
    error::RequestError,
    message::{Reply, Stage},
    ring::{Ring, WrongToken},
};

/// Indirect descriptors, which `virtio-drivers` would allocate.
const INDIRECT_DESC: u64 = 1 << 28;
/// Indexes in place of flags say when to notify. With them, `virtio-drivers` loses interrupts: it
/// has no fence between `pop_used` and `can_pop`.
const EVENT_IDX: u64 = 1 << 29;
/// The interface since virtio 1.0.
const VERSION_1: u64 = 1 << 32;

/// How often the status is read until a reset must be over. Devices of VMMs reset at once.
const RESET_READS: usize = 1000;

/// How often the interrupt status is read until it must be 0. Each answer can set it again, but a
/// device has no more requests than its queues hold.
const ACKNOWLEDGEMENTS: usize = 1000;

/// What a driver wants of its device.
pub(crate) struct Wanted<'a> {
    pub(crate) device_type: DeviceType,
    /// Features that the driver uses if they are there.
    pub(crate) features: u64,
    /// For each queue, the most descriptors of a request.
    pub(crate) queues: &'a [usize],
}

pub(crate) struct State<T: Transport, const SIZE: usize> {
    transport: T,
    pub(crate) rings: Vec<Ring<SIZE>>,
    /// The request that the interrupt wakes, or that was woken to become it.
    leader: Option<u64>,
    last_id: u64,
    health: Health,
    /// The device's configuration has changed.
    #[cfg(feature = "net")]
    pub(crate) is_changed: bool,
    #[cfg(test)]
    pub(crate) no_hand_over: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Health {
    Good,
    /// It broke the protocol, and was reset.
    Reset,
    /// It broke the protocol, and does not reset.
    Lost,
}

/// Wakers that are woken, or only dropped, once the state is unlocked.
#[derive(Default)]
pub(crate) struct Wakes {
    woken: [Option<Waker>; 2],
    unused: Option<Waker>,
}

impl Wakes {
    pub(crate) fn wake(self) {
        drop(self.unused);
        self.woken.into_iter().flatten().for_each(Waker::wake);
    }
}

impl<T: Transport, const SIZE: usize> State<T, SIZE> {
    pub(crate) fn new(transport: T) -> Self {
        Self {
            transport,
            rings: Vec::new(),
            leader: None,
            last_id: 0,
            health: Health::Good,
            #[cfg(feature = "net")]
            is_changed: false,
            #[cfg(test)]
            no_hand_over: false,
        }
    }

    pub(crate) fn transport(&self) -> &T {
        &self.transport
    }

    /// An id that no other request has.
    pub(crate) fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Resets the device, agrees on features, and makes the queues (virtio 1.2, 3.1.1).
    pub(crate) fn set_up(&mut self, wanted: &Wanted<'_>) -> Result<u64, SetupError> {
        if !self.reset() {
            return Err(SetupError::NoReset);
        }
        let transport = &mut self.transport;
        let mut status = DeviceStatus::ACKNOWLEDGE;
        transport.set_status(status);
        status |= DeviceStatus::DRIVER;
        transport.set_status(status);
        let offered = transport.read_device_features();
        if offered & VERSION_1 == 0 {
            return Err(SetupError::Legacy);
        }
        let features = offered & (wanted.features | VERSION_1) & !(INDIRECT_DESC | EVENT_IDX);
        transport.write_driver_features(features);
        status |= DeviceStatus::FEATURES_OK;
        transport.set_status(status);
        if !transport.get_status().contains(DeviceStatus::FEATURES_OK) {
            return Err(SetupError::Features);
        }
        for (index, most_parts) in (0..).zip(wanted.queues) {
            // From here on it is freed after a reset.
            self.rings.push(Ring::new(transport, index, *most_parts)?);
            if !transport.queue_used(index) {
                return Err(SetupError::Queue);
            }
        }
        // An interrupt from before would keep its line from rising again.
        if self.lower_line().is_none() {
            return Err(SetupError::NoReset);
        }
        self.transport.set_status(status | DeviceStatus::DRIVER_OK);
        Ok(features)
    }

    /// Acknowledges interrupts until the device's line is low, and returns the reasons. `None`: it
    /// stays high. What the device adds between the read of its status and the acknowledgement is
    /// not acknowledged, and a line that is still high never rises again.
    fn lower_line(&mut self) -> Option<InterruptStatus> {
        let mut reasons = InterruptStatus::empty();
        for _ in 0..ACKNOWLEDGEMENTS {
            let acknowledged = self.transport.ack_interrupt();
            if acknowledged.is_empty() {
                return Some(reasons);
            }
            reasons |= acknowledged;
        }
        None
    }

    fn reset(&mut self) -> bool {
        self.transport.set_status(DeviceStatus::empty());
        for _ in 0..RESET_READS {
            if self.transport.get_status().is_empty() {
                return true;
            }
            core::hint::spin_loop();
        }
        false
    }

    /// Resets a device that broke the protocol.
    pub(crate) fn fail(&mut self) {
        if self.health != Health::Good {
            return;
        }
        self.health = Health::Lost;
        if self.reset() {
            self.health = Health::Reset;
            for ring in &mut self.rings {
                // SAFETY: the device was reset.
                unsafe { ring.take_all_back() };
            }
        }
    }

    /// Whether the device has not broken the protocol.
    #[cfg(any(feature = "net", feature = "vsock"))]
    pub(crate) fn works(&self) -> bool {
        self.health == Health::Good
    }

    /// The transport, and a queue.
    #[cfg(any(feature = "net", feature = "vsock"))]
    pub(crate) fn queue(&mut self, index: usize) -> (&mut T, &mut Ring<SIZE>) {
        (&mut self.transport, &mut self.rings[index])
    }

    /// Makes request `id` the leader, and returns whether it was that.
    pub(crate) fn lead(&mut self, id: u64) -> bool {
        self.leader.replace(id) == Some(id)
    }

    /// Acknowledges what the device has interrupted for, and returns whether there was anything.
    pub(crate) fn acknowledge(&mut self) -> bool {
        let reasons = self.lower_line();
        fence(Ordering::SeqCst);
        let Some(reasons) = reasons else {
            self.fail();
            return true;
        };
        if reasons.contains(InterruptStatus::DEVICE_CONFIGURATION_INTERRUPT) {
            #[cfg(feature = "net")]
            {
                self.is_changed = true;
            }
            let status = self.transport.get_status();
            let works = status.contains(DeviceStatus::DRIVER_OK)
                && !status.contains(DeviceStatus::DEVICE_NEEDS_RESET);
            if !works {
                self.fail();
            }
        }
        !reasons.is_empty()
    }

    /// Takes back one request that is done, and returns who is to be woken. `None`: there was none.
    pub(crate) fn take_back(&mut self, me: u64) -> Option<Wakes> {
        if self.health != Health::Good {
            let waker = self.rings.iter_mut().find_map(Ring::any_waker)?;
            return Some(Wakes {
                woken: [Some(waker), None],
                unused: None,
            });
        }
        for ring in &mut self.rings {
            match ring.take_back() {
                Ok(None) => {}
                Ok(Some((_, owner, waker))) => {
                    let (owner, unused) = match owner {
                        Some(owner) if owner != me => (waker, None),
                        _ => (None, waker),
                    };
                    return Some(Wakes {
                        woken: [owner, ring.wake_for_room()],
                        unused,
                    });
                }
                Err(WrongToken) => {
                    self.fail();
                    return Some(Wakes::default());
                }
            }
        }
        None
    }

    /// Lets another request be the leader, until this one is polled again. If it waits for room, it
    /// gives up its place, so that those behind it need not wait for its task.
    #[cfg(any(test, feature = "console"))]
    pub(crate) fn park(&mut self, stage: &Stage, id: u64, queue: usize) -> Wakes {
        let ring = &mut self.rings[queue];
        let unused = match stage {
            Stage::Sent(slot) => ring.park(*slot),
            Stage::Unsent(_) | Stage::Finished => ring.stop_waiting(id),
        };
        let woken = [ring.wake_for_room(), self.hand_over(id)];
        Wakes { woken, unused }
    }

    /// Gives request `id` up. Returns its reply, if there is one, for the caller to drop.
    pub(crate) fn give_up(
        &mut self,
        stage: &Stage,
        id: u64,
        queue: usize,
    ) -> (Option<Reply>, Wakes) {
        let ring = &mut self.rings[queue];
        let (reply, unused) = match stage {
            Stage::Sent(slot) => ring.abandon(*slot),
            Stage::Unsent(_) | Stage::Finished => (None, ring.stop_waiting(id)),
        };
        let for_room = ring.wake_for_room();
        let woken = [for_room, self.hand_over(id)];
        (reply, Wakes { woken, unused })
    }

    /// Sends request `id` if that is to be done, and takes its reply. Without a reply, stores its
    /// waker and makes it the leader.
    pub(crate) fn advance(
        &mut self,
        stage: &mut Stage,
        id: u64,
        queue: usize,
        waker: &mut Option<Waker>,
    ) -> (Option<Reply>, Wakes) {
        let mut for_room = None;
        let reply = if self.health == Health::Good {
            let ring = &mut self.rings[queue];
            if matches!(stage, Stage::Unsent(_)) && ring.may_send(id) {
                let before = core::mem::replace(stage, Stage::Finished);
                if let Stage::Unsent(message) = before {
                    let unused = ring.stop_waiting(id);
                    let slot = ring.send(&mut self.transport, message, id, waker.take());
                    *waker = unused;
                    *stage = Stage::Sent(slot);
                    for_room = ring.wake_for_room();
                }
                None
            } else {
                match stage {
                    Stage::Unsent(_) => {
                        ring.wait_for_room(id, waker);
                        None
                    }
                    Stage::Sent(slot) => {
                        let reply = ring.reply(*slot, waker);
                        if reply.is_some() {
                            for_room = ring.wake_for_room();
                        }
                        reply
                    }
                    Stage::Finished => panic!("a request was polled after it had ended"),
                }
            }
        } else {
            Some(self.failed(stage, id, queue, waker))
        };
        let next = if reply.is_some() {
            *stage = Stage::Finished;
            self.hand_over(id)
        } else {
            self.leader = Some(id);
            None
        };
        let woken = [for_room, next];
        (
            reply,
            Wakes {
                woken,
                unused: None,
            },
        )
    }

    /// The reply of a device that broke the protocol.
    fn failed(
        &mut self,
        stage: &mut Stage,
        id: u64,
        queue: usize,
        unused: &mut Option<Waker>,
    ) -> Reply {
        let ring = &mut self.rings[queue];
        let buffer = match core::mem::replace(stage, Stage::Finished) {
            Stage::Unsent(message) => {
                *unused = ring.stop_waiting(id);
                message.data
            }
            Stage::Sent(slot) if self.health == Health::Reset => {
                // SAFETY: the device was reset.
                let (buffer, waker) = unsafe { ring.recover(slot) };
                *unused = waker;
                buffer
            }
            Stage::Sent(slot) => {
                let (reply, waker) = ring.abandon(slot);
                *unused = waker;
                reply.map_or_else(Default::default, |reply| reply.buffer)
            }
            Stage::Finished => panic!("a request was polled after it had ended"),
        };
        Reply::failed(buffer, RequestError::Broken)
    }

    /// If request `id`, which ends, is the leader, makes another one the leader, and returns its
    /// waker: it polls the interrupt when it is woken.
    fn hand_over(&mut self, id: u64) -> Option<Waker> {
        if self.leader != Some(id) {
            return None;
        }
        #[cfg(test)]
        if self.no_hand_over {
            return None;
        }
        let next = self.rings.iter_mut().find_map(Ring::any_waiting);
        self.leader = next.as_ref().map(|(id, _)| *id);
        next?.1
    }
}

/// Resets the device, so that it accesses nothing of what is freed then.
impl<T: Transport, const SIZE: usize> Drop for State<T, SIZE> {
    fn drop(&mut self) {
        if !self.reset() {
            // It may still access the rings and buffers, so they are leaked.
            return;
        }
        for ring in &mut self.rings {
            // SAFETY: the device was reset, and the ring is dropped next.
            unsafe { ring.free() };
        }
    }
}
