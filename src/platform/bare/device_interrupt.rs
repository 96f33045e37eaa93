//! [`DeviceInterrupt`]: lines and vectors that drivers claim.

mod claim_error;
mod entry;

use core::{
    cell::Cell,
    future::poll_fn,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    task::{Context, Poll},
};

use critical_section::Mutex;

pub use claim_error::ClaimError;

use super::machine;
use crate::{
    Event,
    arch::x86_64::{apic::Apic, idt, pic, vector},
};

/// The most interrupts that can be claimed at once.
const SLOTS: usize = u32::BITS as usize;

/// A signal of each claim.
static EVENTS: [Event; SLOTS] = [const { Event::new() }; SLOTS];

/// Which slots are claimed, and for what.
static CLAIMS: Mutex<Cell<Claims>> = Mutex::new(Cell::new(Claims {
    slots: 0,
    indices: [0; SLOTS],
}));

#[derive(Clone, Copy)]
struct Claims {
    /// A bit for each slot.
    slots: u32,
    /// The index in [`LISTENERS`] of each slot that is claimed.
    indices: [u8; SLOTS],
}

impl Claims {
    fn has(&self, index: usize) -> bool {
        let claims = self.indices.iter().enumerate();
        let mut claims = claims.filter(|(slot, _)| self.slots & 1 << slot != 0);
        claims.any(|(_, claimed)| usize::from(*claimed) == index)
    }
}

/// For each vector, from the PIC's first on, the slots whose events its interrupts signal.
static LISTENERS: [AtomicU32; entry::VECTORS] = [const { AtomicU32::new(0) }; entry::VECTORS];

/// The interrupts that signalled no event.
static UNCLAIMED: AtomicU64 = AtomicU64::new(0);

/// An interrupt of a device: a line of the PIC, or a vector for messages (MSI and MSI-X). Each
/// interrupt is acknowledged at the controller and wakes the task that waits, which then asks the
/// device what has happened.
///
/// # Order
///
/// The task acknowledges the interrupt *at the device* first, tells that by
/// [`acknowledged`](Self::acknowledged), and looks for what the device has done afterwards. What the
/// device does after the look then interrupts again.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use dormir::platform::bare::{ClaimError, DeviceInterrupt};
///
/// async fn drive() -> Result<(), ClaimError> {
///     let mut interrupt = DeviceInterrupt::vector()?;
///     let message = interrupt.message().expect("a vector has a message");
///     // Tell the device to write `message.data` to `message.address`. Here, this vCPU does it:
///     let apic = dormir::platform::bare::machine().and_then(|machine| machine.apic);
///     apic.expect("there is one").interrupt_self(message.data as u8);
///     let interrupts = interrupt.wait().await;
///     assert_eq!(interrupts, 1);
///     Ok(())
/// }
/// # dormir::block_on(drive(), dormir::idle::Halt)?;
/// # Ok::<(), ClaimError>(())
/// ```
#[derive(Debug)]
pub struct DeviceInterrupt {
    slot: usize,
    /// The vector's index in [`LISTENERS`]; for a line, the line.
    index: usize,
}

/// What a device writes to memory, in place of raising a line (SDM vol. 3, 12.11).
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use dormir::platform::bare::{ClaimError, DeviceInterrupt, Message};
///
/// let interrupt = DeviceInterrupt::vector()?;
/// let Message { address, data, .. } = interrupt.message().expect("a vector has one");
/// // An entry of a device's MSI-X table: low and high half of the address, the data, not masked.
/// let entry = [address as u32, (address >> 32) as u32, data, 0];
/// # assert_eq!(entry[0] >> 20, 0xfee);
/// # Ok::<(), ClaimError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// Where it is written.
    pub address: u64,
    /// What is written.
    pub data: u32,
}

impl DeviceInterrupt {
    /// The lines of the two PICs.
    const LINES: usize = 16;

    /// Claims line `irq` of the PIC, and unmasks it. Several drivers may claim a line: each of its
    /// interrupts then signals all of them, and each tells when it has
    /// [acknowledged](Self::acknowledged).
    ///
    /// # Contexts
    ///
    /// Any but an NMI handler.
    ///
    /// # Errors
    ///
    /// See [`ClaimError`]. Lines 0 (PIT) and 2 (second PIC) are [`Reserved`](ClaimError::Reserved),
    /// and lines of PCI devices usually [`LevelTriggered`](ClaimError::LevelTriggered): use messages.
    ///
    /// # Examples
    ///
    /// ```
    /// # dormir_guest::entry!(main);
    /// use dormir::platform::bare::{ClaimError, DeviceInterrupt};
    ///
    /// assert_eq!(DeviceInterrupt::line(0).err(), Some(ClaimError::Reserved { irq: 0 }));
    /// // The first serial port.
    /// let serial = DeviceInterrupt::line(4)?;
    /// // Another device on the same line.
    /// let modem = DeviceInterrupt::line(4)?;
    /// # drop((serial, modem));
    /// # Ok::<(), ClaimError>(())
    /// ```
    pub fn line(irq: u8) -> Result<Self, ClaimError> {
        machine().ok_or(ClaimError::NotInitialized)?;
        if matches!(irq, 0 | 2) || usize::from(irq) >= Self::LINES {
            return Err(ClaimError::Reserved { irq });
        }
        if pic::is_level_triggered(irq) {
            return Err(ClaimError::LevelTriggered { irq });
        }
        let claimed = claim(|_| Some(usize::from(irq)))?;
        if pic::is_masked(irq) {
            // Dropping the claim masks the line.
            return Err(ClaimError::NoPic);
        }
        Ok(claimed)
    }

    /// Claims a vector that nothing else uses, for a device that sends messages.
    ///
    /// # Contexts
    ///
    /// Any but an NMI handler.
    ///
    /// # Errors
    ///
    /// See [`ClaimError`].
    pub fn vector() -> Result<Self, ClaimError> {
        let machine = machine().ok_or(ClaimError::NotInitialized)?;
        machine.apic.ok_or(ClaimError::NoApic)?;
        let first = usize::from(vector::FIRST_MESSAGE - vector::PIC_FIRST);
        claim(|claims| {
            let is_free = |index: &usize| !claims.has(*index) && !has_other_handler(*index);
            (first..entry::VECTORS).find(is_free)
        })
    }

    /// Waits for interrupts, and returns the number of those that were not taken before. It may be
    /// more than the device has caused: whoever shares the line, or had the vector before, may have
    /// one on its way.
    ///
    /// # Cancel safety
    ///
    /// Interrupts that it has not returned stay counted.
    pub async fn wait(&mut self) -> u32 {
        poll_fn(|cx| self.poll_wait(cx)).await
    }

    /// Takes the interrupts so far, and returns their number if there are any. If not, the next one
    /// wakes the task of this context. Where several tasks poll it, only the last one is woken: it
    /// must serve them all, or wake another.
    pub fn poll_wait(&self, cx: &mut Context<'_>) -> Poll<u32> {
        self.event().poll_signals(cx)
    }

    /// Takes the interrupts so far, without waiting, and returns their number.
    pub fn take(&self) -> u32 {
        self.event().take()
    }

    fn event(&self) -> &'static Event {
        &EVENTS[self.slot]
    }

    /// The line; `None` for a vector.
    #[must_use]
    pub fn irq(&self) -> Option<u8> {
        (self.index < Self::LINES).then_some(self.index as u8)
    }

    /// What the device is to write; `None` for a line, or on a vCPU whose APIC ID is above 255.
    #[must_use]
    pub fn message(&self) -> Option<Message> {
        let apic = machine().and_then(|machine| machine.apic)?;
        let address = Apic::message_address(apic.id())?;
        self.irq().is_none().then(|| Message {
            address,
            data: u32::from(vector_at(self.index)),
        })
    }

    /// Makes all other drivers of the line look at their devices, as if it had interrupted. A driver
    /// calls it each time when its device had interrupted and was told that this was seen; not when
    /// there was nothing to tell, or two drivers would keep each other busy.
    ///
    /// A device holds its line until it is acknowledged, and the PIC sees only when the line rises.
    /// So another device that raises it meanwhile is not seen. Without other drivers, and for a
    /// vector, this does nothing.
    ///
    /// # Contexts
    ///
    /// Any but an NMI handler.
    pub fn acknowledged(&self) {
        let listeners = LISTENERS[self.index].load(Ordering::Relaxed);
        signal(listeners & !(1 << self.slot));
    }

    /// Keeps interrupts from this driver. A line is masked while no driver listens.
    ///
    /// # Contexts
    ///
    /// Any but an NMI handler.
    pub fn mask(&self) {
        self.listen(false);
    }

    /// Undoes [`mask`](Self::mask), and counts as an interrupt, since one may have come meanwhile.
    ///
    /// # Contexts
    ///
    /// Any but an NMI handler.
    pub fn unmask(&self) {
        self.listen(true);
        self.event().signal();
    }

    fn listen(&self, listens: bool) {
        critical_section::with(|_| {
            let before = LISTENERS[self.index].load(Ordering::Relaxed);
            let bit = 1 << self.slot;
            let after = if listens { before | bit } else { before & !bit };
            LISTENERS[self.index].store(after, Ordering::Relaxed);
            match self.irq() {
                // Its mask belongs to the handler that the program has set since.
                Some(_) if has_other_handler(self.index) => {}
                Some(irq) if after == 0 => pic::mask(irq),
                Some(irq) if before == 0 => pic::unmask(irq),
                _ => {}
            }
        });
    }
}

/// Gives the interrupt back, and masks its line if no other driver listens. An interrupt that comes
/// later is acknowledged, and [counted](unclaimed_interrupts).
impl Drop for DeviceInterrupt {
    fn drop(&mut self) {
        self.listen(false);
        self.event().reset();
        // After that, another claim may take the slot.
        critical_section::with(|cs| {
            let claims = CLAIMS.borrow(cs);
            let mut freed = claims.get();
            freed.slots &= !(1 << self.slot);
            claims.set(freed);
        });
    }
}

/// Claims a slot for the vector at the index that `choose` returns, and lets it listen.
fn claim(choose: impl FnOnce(&Claims) -> Option<usize>) -> Result<DeviceInterrupt, ClaimError> {
    critical_section::with(|cs| {
        let mut claims = CLAIMS.borrow(cs).get();
        let slot = claims.slots.trailing_ones() as usize;
        if slot == SLOTS {
            return Err(ClaimError::TooMany);
        }
        // There are as many vectors as slots. One that is missing has another handler.
        let index = choose(&claims).ok_or(ClaimError::InUse)?;
        if has_other_handler(index) {
            return Err(ClaimError::InUse);
        }
        claims.slots |= 1 << slot;
        claims.indices[slot] = index as u8;
        CLAIMS.borrow(cs).set(claims);
        // SAFETY: the entry restores what it changes, and acknowledges what comes on its vector.
        unsafe { idt::set_handler(vector_at(index), entry::of(index)) };
        let interrupt = DeviceInterrupt { slot, index };
        interrupt.listen(true);
        Ok(interrupt)
    })
}

/// Whether the program has set a handler of its own for the vector at `index`.
fn has_other_handler(index: usize) -> bool {
    let vector = vector_at(index);
    !idt::is_unhandled(vector) && !idt::has_handler(vector, entry::of(index))
}

fn vector_at(index: usize) -> u8 {
    vector::PIC_FIRST + index as u8
}

/// Signals the events of these slots.
fn signal(mut slots: u32) {
    while slots != 0 {
        EVENTS[slots.trailing_zeros() as usize].signal();
        slots &= slots - 1;
    }
}

/// Signals who has claimed `vector`, and acknowledges.
extern "sysv64" fn on_interrupt(vector: u64) {
    let index = (vector - u64::from(vector::PIC_FIRST)) as usize;
    let is_line = index < DeviceInterrupt::LINES;
    let irq = index as u8;
    if is_line && pic::is_spurious(irq) {
        pic::end_of_spurious(irq);
        return;
    }
    let listeners = LISTENERS[index].load(Ordering::Relaxed);
    if listeners == 0 {
        UNCLAIMED.fetch_add(1, Ordering::Relaxed);
    }
    signal(listeners);
    if is_line {
        pic::end_of_interrupt(irq);
    } else {
        super::end_of_interrupt();
    }
}

/// The number of interrupts that came after their [`DeviceInterrupt`] was dropped, or while it was
/// masked. They do no harm; many of them show a device that was not stopped.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use dormir::platform::bare::{self, ClaimError, DeviceInterrupt};
///
/// let interrupt = DeviceInterrupt::vector()?;
/// let vector = interrupt.message().expect("it has one").data as u8;
/// drop(interrupt);
/// bare::machine().and_then(|machine| machine.apic).expect("an APIC").interrupt_self(vector);
/// # while bare::unclaimed_interrupts() == 0 {}
/// assert_eq!(bare::unclaimed_interrupts(), 1);
/// # Ok::<(), ClaimError>(())
/// ```
#[must_use]
pub fn unclaimed_interrupts() -> u64 {
    UNCLAIMED.load(Ordering::Relaxed)
}
