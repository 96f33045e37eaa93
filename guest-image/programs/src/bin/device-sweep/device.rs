//! The device: an entropy source, whose answers are this program's doing.

use core::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    ptr::with_exposed_provenance_mut,
    sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence},
    task::{Context, Poll, Waker},
};

use dormir::{
    Event,
    arch::x86_64::{interrupt::InterruptFrame, tsc, vector},
    event::Wait,
    interrupt_entry,
    platform::bare,
};
use dormir_programs::{hit, machine::apic};
use dormir_virtio::{Attached, DeviceType, Interrupt, Transport, rng::Rng};
use virtio_drivers::{
    PhysAddr,
    transport::{DeviceStatus, InterruptStatus},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::mutants::{self, Mutant};

/// Virtio 1.0, without which the driver refuses a device.
const VERSION_1: u64 = 1 << 32;

/// The device's registers.
static STATUS: AtomicU32 = AtomicU32::new(0);
static INTERRUPT_STATUS: AtomicU32 = AtomicU32::new(0);
/// What a mutant has read of it, and not cleared yet.
static SEEN: AtomicU32 = AtomicU32::new(0);

/// The queue: its size, and the addresses of its parts.
static SIZE: AtomicU16 = AtomicU16::new(0);
static DESCRIPTORS: AtomicU64 = AtomicU64::new(0);
static AVAILABLE: AtomicU64 = AtomicU64::new(0);
static USED: AtomicU64 = AtomicU64::new(0);
/// The requests that were answered.
static ANSWERED: AtomicU16 = AtomicU16::new(0);

/// After how many instructions the request is answered that is sent next; 0 once it was sent.
static STEP: AtomicU32 = AtomicU32::new(0);

/// What the device's line signals when it rises.
static LINE: Event = Event::new();

pub(crate) type Source = Rng<Registers, Listener>;

/// Sets up the device, its driver, and the interrupt whose handler answers.
pub(crate) fn attach() -> Result<Source, &'static str> {
    apic().one_shot_mode();
    // SAFETY: made by `interrupt_entry!`, and acknowledges the local APIC's interrupt.
    unsafe { bare::set_interrupt_handler(vector::APIC_TIMER, answer_entry) };
    x86_64::instructions::interrupts::enable();
    let wait = LINE.wait().map_err(|_| "there are two drivers")?;
    *LISTENING.0.borrow_mut() = Some(wait);
    // SAFETY: the device accesses the ring's memory in `answer` alone, for requests that were sent;
    // memory is mapped one to one.
    let attached = unsafe { Attached::new(Registers, Listener) };
    Rng::new(attached).map_err(|_| "the driver refuses the device")
}

/// Starts a step: the next request is answered `step` instructions after it was sent.
pub(crate) fn begin(step: u32) {
    // What a mutant has left.
    acknowledge();
    LINE.take();
    STEP.store(step, Ordering::Relaxed);
    // An interrupt for which no task listens: its wake does not make the driver look once more.
    INTERRUPT_STATUS.store(1, Ordering::SeqCst);
    LINE.signal();
}

extern "sysv64" fn on_answer(frame: &InterruptFrame) {
    hit::ADDRESS.store(frame.rip, Ordering::Relaxed);
    hit::AT.store(tsc::read(), Ordering::Relaxed);
    answer();
    apic().end_of_interrupt();
}
interrupt_entry!(answer_entry => on_answer);

/// Reads a part of the queue.
///
/// # Safety
///
/// It is one, and aligned.
unsafe fn read<T>(address: u64) -> T {
    // SAFETY: the caller guarantees it.
    unsafe { with_exposed_provenance_mut::<T>(address as usize).read_volatile() }
}

/// Writes a part of the used ring, or a byte of a request.
///
/// # Safety
///
/// The driver has given it to the device, and it is aligned.
unsafe fn write<T>(address: u64, value: T) {
    // SAFETY: the caller guarantees it.
    unsafe { with_exposed_provenance_mut::<T>(address as usize).write_volatile(value) };
}

/// Answers the oldest request with one byte (virtio 1.2, 2.7), and raises the line.
fn answer() {
    let answered = ANSWERED.load(Ordering::Relaxed);
    let place = u64::from(answered % SIZE.load(Ordering::Relaxed));
    let available = AVAILABLE.load(Ordering::Relaxed);
    // SAFETY: the place of the oldest request in the available ring.
    let head: u16 = unsafe { read(available + 4 + 2 * place) };
    let descriptor = DESCRIPTORS.load(Ordering::Relaxed) + 16 * u64::from(head);
    // SAFETY: a descriptor begins with the address of its buffer.
    let buffer: u64 = unsafe { read(descriptor) };
    // SAFETY: requests have a buffer of 8 bytes.
    unsafe { write(buffer, answered as u8) };
    let used = USED.load(Ordering::Relaxed);
    // SAFETY: the next place in the used ring: which request, ...
    unsafe { write(used + 4 + 8 * place, u32::from(head)) };
    // SAFETY: ... and how many bytes were written.
    unsafe { write(used + 8 + 8 * place, 1_u32) };
    fence(Ordering::SeqCst);
    ANSWERED.store(answered.wrapping_add(1), Ordering::Relaxed);
    // SAFETY: the used ring's index.
    unsafe { write(used + 2, answered.wrapping_add(1)) };
    // The interrupt controller sees the line only when it rises.
    if INTERRUPT_STATUS.fetch_or(1, Ordering::SeqCst) == 0 {
        LINE.signal();
    }
}

/// Clears the interrupt status, and lowers the line.
pub(crate) fn acknowledge() -> u32 {
    SEEN.store(0, Ordering::SeqCst);
    INTERRUPT_STATUS.swap(0, Ordering::SeqCst)
}

/// The device's registers, as the driver accesses them.
pub(crate) struct Registers;

impl Transport for Registers {
    fn device_type(&self) -> DeviceType {
        DeviceType::EntropySource
    }

    fn read_device_features(&mut self) -> u64 {
        VERSION_1
    }

    fn write_driver_features(&mut self, _: u64) {}

    fn max_queue_size(&mut self, _: u16) -> u32 {
        8
    }

    fn notify(&mut self, _: u16) {
        match STEP.swap(0, Ordering::Relaxed) {
            0 => {}
            step => apic().start_count(step),
        }
    }

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_retain(STATUS.load(Ordering::Relaxed))
    }

    fn set_status(&mut self, status: DeviceStatus) {
        STATUS.store(status.bits(), Ordering::Relaxed);
    }

    fn set_guest_page_size(&mut self, _: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(
        &mut self,
        _: u16,
        size: u32,
        descriptors: PhysAddr,
        driver_area: PhysAddr,
        device_area: PhysAddr,
    ) {
        SIZE.store(size as u16, Ordering::Relaxed);
        DESCRIPTORS.store(descriptors, Ordering::Relaxed);
        AVAILABLE.store(driver_area, Ordering::Relaxed);
        USED.store(device_area, Ordering::Relaxed);
    }

    fn queue_unset(&mut self, _: u16) {}

    fn queue_used(&mut self, _: u16) -> bool {
        USED.load(Ordering::Relaxed) != 0
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        let status = if mutants::is(Mutant::AcknowledgesAfterTheLook) {
            let status = INTERRUPT_STATUS.load(Ordering::SeqCst);
            status & !SEEN.swap(status, Ordering::SeqCst)
        } else {
            acknowledge()
        };
        InterruptStatus::from_bits_retain(status)
    }

    fn read_config_generation(&self) -> u32 {
        0
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, _: usize) -> virtio_drivers::Result<T> {
        Err(virtio_drivers::Error::ConfigSpaceMissing)
    }

    fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        _: usize,
        _: T,
    ) -> virtio_drivers::Result<()> {
        Err(virtio_drivers::Error::ConfigSpaceMissing)
    }
}

/// The driver's end of the line.
pub(crate) struct Listener;

/// What handlers do not use.
struct MainLine<T>(RefCell<T>);

// SAFETY: one vCPU, and no handler uses it.
unsafe impl<T> Sync for MainLine<T> {}

static LISTENING: MainLine<Option<Wait<'static>>> = MainLine(RefCell::new(None));

/// The waker that a mutant registers too late.
static LATE: MainLine<Option<Waker>> = MainLine(RefCell::new(None));

/// Takes the signals of the line, or lets the next one wake the task.
fn listen(cx: &mut Context<'_>) -> Poll<u32> {
    let mut listening = LISTENING.0.borrow_mut();
    let wait = listening.as_mut().expect("the driver is attached");
    Pin::new(wait).poll(cx)
}

impl Interrupt for Listener {
    fn poll_wait(&self, cx: &mut Context<'_>) -> Poll<u32> {
        if !mutants::is(Mutant::NoLookAfterListening) {
            return listen(cx);
        }
        match LINE.take() {
            0 => {
                *LATE.0.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
            signals => Poll::Ready(signals),
        }
    }
}

/// The mutant's listening: forgets what came before, and lets the next signal wake the task.
pub(crate) fn listen_late() {
    let waker = LATE.0.borrow_mut().take();
    if let Some(waker) = waker {
        LINE.take();
        let _ = listen(&mut Context::from_waker(&waker));
    }
}
