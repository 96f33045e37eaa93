//! A PCI device whose registers are this process's memory.

use core::{
    cell::RefCell,
    ops::Range,
    ptr::{NonNull, with_exposed_provenance_mut},
    sync::atomic::{AtomicPtr, Ordering},
    task::{Context, Poll, Waker},
};
use std::{boxed::Box, sync::Mutex, vec::Vec};

use virtio_drivers::transport::{
    DeviceType, InterruptStatus, Transport as _,
    pci::bus::{ConfigurationAccess, DeviceFunction},
};

use super::{
    ConnectError, TableEntry,
    bars::{self, PlaceError},
    configuration::{self, Function},
    prepare,
};
use crate::Interrupt;

const FUNCTION: DeviceFunction = DeviceFunction {
    bus: 0,
    device: 3,
    function: 0,
};

/// The length of each BAR, in bytes.
const BAR: usize = 0x4000;

/// The register of the messages' capability.
const MESSAGES: usize = 0x40;

/// A configuration of 64 words, with BARs 0 (messages) and 4 (registers).
struct Configuration {
    words: RefCell<[u32; 64]>,
    /// What the BARs' low bits say: 4 for 64 bits, 0 for 32.
    bar_type: u32,
    /// A power of two.
    bar_size: u32,
    /// What was written to the messages' capability, and the table's first data word then.
    written: RefCell<Vec<(u32, u32)>>,
}

impl Configuration {
    fn new(words: [u32; 64]) -> Self {
        Self {
            words: RefCell::new(words),
            bar_type: 4,
            bar_size: BAR as u32,
            written: RefCell::default(),
        }
    }

    fn word(&self, register: usize) -> u32 {
        self.words.borrow()[register / 4]
    }
}

#[derive(Clone, Copy)]
struct Fake<'a>(&'a Configuration);

impl ConfigurationAccess for Fake<'_> {
    fn read_word(&self, _: DeviceFunction, register: u8) -> u32 {
        self.0.word(register.into())
    }

    fn write_word(&mut self, _: DeviceFunction, register: u8, data: u32) {
        if usize::from(register) == MESSAGES {
            let table = u64::from(self.0.word(0x14)) << 32 | u64::from(self.0.word(0x10) & !0xf);
            self.0.written.borrow_mut().push((data, read(table + 8)));
        }
        let mut words = self.0.words.borrow_mut();
        let index = usize::from(register) / 4;
        words[index] = match register {
            // The status stays.
            0x04 => words[index] & 0xffff_0000 | data & 0xffff,
            // The low bits of an address tell its type, and its size.
            0x10 | 0x20 => data & !(self.0.bar_size - 1) | self.0.bar_type,
            0x14 | 0x24 if self.0.bar_type == 4 => data,
            0x14 | 0x18 | 0x1c | 0x24 => 0,
            _ => data,
        };
    }

    unsafe fn unsafe_clone(&self) -> Self {
        *self
    }
}

#[repr(align(0x4000))]
struct Bar(#[expect(dead_code)] [u8; BAR]);

/// The memory of all BARs, which stays.
static MEMORY: Mutex<Vec<AtomicPtr<Bar>>> = Mutex::new(Vec::new());

/// Returns the address of memory for a BAR.
fn memory() -> u64 {
    let bar: *mut Bar = Box::into_raw(Box::new(Bar([0; BAR])));
    MEMORY
        .lock()
        .expect("nothing panics")
        .push(AtomicPtr::new(bar));
    bar.expose_provenance() as u64
}

fn is_memory(address: u64) -> bool {
    let memory = MEMORY.lock().expect("nothing panics");
    let mut bars = memory.iter().map(|bar| bar.load(Ordering::Relaxed));
    bars.any(|bar| bar.addr() as u64 == address)
}

/// Registers are where no memory of a BAR is.
#[derive(Debug, PartialEq, Eq)]
struct Elsewhere;

/// Returns an entropy source as QEMU's, with two queues, whose registers are at these addresses.
fn words(table: u64, registers: u64) -> [u32; 64] {
    let mut words = [0; 64];
    words[0] = 0x1044_1af4;
    // It has a list of capabilities.
    words[1] = 0x0010_0000;
    words[4] = table as u32 | 0x4;
    words[5] = (table >> 32) as u32;
    words[8] = registers as u32 | 0x4;
    words[9] = (registers >> 32) as u32;
    words[0x34 / 4] = 0x40;
    // MSI-X with two entries, at the beginning of BAR 0.
    words[MESSAGES / 4] = 0x0001_5011;
    // The common configuration, the ISR status, the device's configuration, notifications.
    for (index, (kind, offset, length)) in [
        (1, 0, 0x1000),
        (3, 0x1000, 0x1000),
        (4, 0x2000, 0x1000),
        (2, 0x3000, 0x1000),
    ]
    .into_iter()
    .enumerate()
    {
        let register = 0x50 + 0x14 * index;
        let next = if kind == 2 { 0 } else { register as u32 + 0x14 };
        words[register / 4] = kind << 24 | 0x14 << 16 | next << 8 | 0x09;
        words[register / 4 + 1] = 4;
        words[register / 4 + 2] = offset;
        words[register / 4 + 3] = length;
        words[register / 4 + 4] = if kind == 2 { 4 } else { 0 };
    }
    words
}

/// An interrupt that comes as often as is written here.
struct Counted(Mutex<u32>);

impl Interrupt for Counted {
    fn poll_wait(&self, _: &mut Context<'_>) -> Poll<u32> {
        match core::mem::take(&mut *self.0.lock().expect("nothing panics")) {
            0 => Poll::Pending,
            count => Poll::Ready(count),
        }
    }
}

type Prepared = Result<(super::Transport, super::Messages<Counted>), ConnectError<Elsewhere>>;

fn prepare_at(configuration: &Configuration, interrupts: [u32; 2]) -> Prepared {
    let entry = |data| TableEntry {
        address: 0xfee0_0000,
        data,
    };
    let [queues, changes] = interrupts.map(|count| Counted(Mutex::new(count)));
    let interrupts = [(queues, entry(0x41)), (changes, entry(0x42))];
    let map = |range: Range<u64>| {
        let first = NonNull::new(with_exposed_provenance_mut(range.start as usize));
        first.filter(|_| is_memory(range.start)).ok_or(Elsewhere)
    };
    // SAFETY: the addresses of registers are those of leaked memory; no device accesses anything.
    unsafe { prepare(Fake(configuration), FUNCTION, map, interrupts) }
}

/// Returns a word of a BAR.
fn read<T: Copy>(address: u64) -> T {
    // SAFETY: leaked memory, of which there are no references.
    unsafe { with_exposed_provenance_mut::<T>(address as usize).read_volatile() }
}

fn write<T>(address: u64, value: T) {
    // SAFETY: the same.
    unsafe { with_exposed_provenance_mut::<T>(address as usize).write_volatile(value) };
}

#[test]
fn messages_are_set_up_and_notifications_cached() {
    let (table, registers) = (memory(), memory());
    // Two queues, whose notification offset is 3: the memory has one register for all queues.
    write::<u16>(registers + 18, 2);
    write::<u16>(registers + 30, 3);
    let configuration = Configuration::new(words(table, registers));
    let (mut transport, messages) = prepare_at(&configuration, [0, 1]).expect("it is right");
    assert_eq!(transport.device_type(), DeviceType::EntropySource);
    let entries: Vec<u32> = (0..8).map(|index| read(table + 4 * index)).collect();
    assert_eq!(entries, [0xfee0_0000, 0, 0x41, 0, 0xfee0_0000, 0, 0x42, 0]);
    // Memory, bus master, no line; MSI-X on.
    assert_eq!(configuration.word(4) & 0xffff, 0x406);
    assert_eq!(configuration.word(MESSAGES), 0x8001_5011);

    transport.write_driver_features(1 << 32);
    assert_eq!(
        read::<u16>(registers + 16),
        1,
        "the configuration's message"
    );
    write::<u16>(registers + 26, 0xffff);
    transport.queue_set(1, 8, 0x1000, 0x2000, 0x3000);
    assert_eq!(read::<u16>(registers + 22), 1);
    assert_eq!(read::<u16>(registers + 26), 0, "the queue's message");
    assert!(transport.queue_used(1));
    transport.notify(1);
    assert_eq!(read::<u16>(registers + 0x3000 + 12), 1);
    assert_eq!(transport.max_queue_size(2), 0, "there is no third queue");

    let mut cx = Context::from_waker(Waker::noop());
    assert!(transport.ack_interrupt().is_empty());
    assert_eq!(messages.poll_wait(&mut cx), Poll::Ready(1));
    let changed = InterruptStatus::DEVICE_CONFIGURATION_INTERRUPT;
    assert!(transport.ack_interrupt() == changed);
    assert!(transport.ack_interrupt().is_empty());
    assert_eq!(messages.poll_wait(&mut cx), Poll::Pending);
}

#[test]
fn interrupts_of_both_kinds_are_counted() {
    let configuration = Configuration::new(words(memory(), memory()));
    let (_, messages) = prepare_at(&configuration, [2, 1]).expect("it is right");
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(messages.poll_wait(&mut cx), Poll::Ready(3));
    assert_eq!(messages.poll_wait(&mut cx), Poll::Pending);
}

/// Places the BARs of a device, and returns the addresses of BARs 0 and 4.
fn placed(configuration: &Configuration) -> Result<[Option<Range<u64>>; 2], PlaceError> {
    let (mut device, layout) = Function::new(Fake(configuration), FUNCTION).expect("a layout");
    let bars = bars::place(&mut device, &layout)?;
    assert_eq!(bars.range(1), None, "no register is there");
    Ok([0, 4].map(|bar| bars.range(bar)))
}

#[test]
fn registers_without_an_address_get_one() {
    // 128 KiB for each function.
    let first = 0xd000_0000 + 24 * (128 << 10);
    for bar_type in [4, 0] {
        let mut words = words(0, 0);
        (words[0x10 / 4], words[0x20 / 4]) = (bar_type, bar_type);
        let mut configuration = Configuration::new(words);
        configuration.bar_type = bar_type;
        let expected = [first..first + 0x4000, first + 0x4000..first + 0x8000].map(Some);
        assert_eq!(placed(&configuration), Ok(expected));
        assert_eq!(configuration.word(0x10), first as u32 | bar_type);
        assert_eq!(configuration.word(0x20), (first as u32 + 0x4000) | bar_type);
    }
}

#[test]
fn registers_that_cannot_be_placed() {
    let mut large = Configuration::new(words(0, 0));
    large.bar_size = 128 << 10;
    assert_eq!(placed(&large), Err(PlaceError::NoRoom));
    let mut reserved = words(0, 0);
    reserved[0x10 / 4] = 0x6;
    let mut reserved = Configuration::new(reserved);
    reserved.bar_type = 6;
    assert_eq!(placed(&reserved), Err(PlaceError::Malformed));
    // One that has no registers needs no room.
    let mut unused = words(0, 0);
    unused[0x44 / 4] = 4;
    let mut unused = Configuration::new(unused);
    unused.bar_size = 128 << 10;
    assert!(placed(&unused).is_ok_and(|[messages, _]| messages.is_none()));
}

#[test]
fn functions_of_a_device_that_has_one() {
    let of = |function| DeviceFunction {
        function,
        ..FUNCTION
    };
    let configuration = Configuration::new(words(0, 0));
    assert!(configuration::is_there(&Fake(&configuration), of(0)));
    assert!(!configuration::is_there(&Fake(&configuration), of(1)));
    configuration.words.borrow_mut()[0x0c / 4] = 1 << 23;
    assert!(configuration::is_there(&Fake(&configuration), of(1)));
}

#[test]
fn messages_are_held_while_their_table_is_written() {
    let table = memory();
    // As another driver has left it.
    write::<u32>(table + 8, 0x99);
    let mut words = words(table, memory());
    words[MESSAGES / 4] |= 1 << 31;
    let configuration = Configuration::new(words);
    assert!(prepare_at(&configuration, [0, 0]).is_ok());
    let written = configuration.written.borrow();
    assert_eq!(*written, [(0xc001_5011, 0x99), (0x8001_5011, 0x41)]);
}

#[test]
fn of_several_capabilities_of_a_kind_the_first_counts() {
    let registers = memory();
    let mut words = words(memory(), registers);
    // The device's configuration becomes a common one that lies nowhere, in a reserved BAR.
    words[0x78 / 4] = words[0x78 / 4] & 0x00ff_ffff | 1 << 24;
    words[0x7c / 4] = 7;
    assert!(prepare_at(&Configuration::new(words), [0, 0]).is_ok());
    // Before it, too: one in a reserved BAR says nothing.
    words[0x50 / 4 + 1] = 6;
    words[0x7c / 4] = 4;
    words[0x80 / 4] = 0;
    assert!(prepare_at(&Configuration::new(words), [0, 0]).is_ok());
}

/// What is changed of a right configuration, and the error.
type Row = (&'static str, usize, u32, ConnectError<Elsewhere>);

#[test]
fn malformed_configurations_are_refused() {
    use ConnectError::{Malformed, NoMessages};
    let rows: [Row; 11] = [
        ("no list of capabilities", 1, 0, Malformed),
        ("an empty list", 0x34 / 4, 0, Malformed),
        ("a list that never ends", 0x8c / 4, 0x0214_5009, Malformed),
        ("no common configuration", 0x50 / 4, 0x0714_6409, Malformed),
        ("registers in a BAR that is missing", 0x54 / 4, 2, Malformed),
        ("registers in a seventh BAR", 0x54 / 4, 6, Malformed),
        ("registers beyond their BAR", 0x58 / 4, 0x3001, Malformed),
        ("registers that are too few", 0x5c / 4, 55, Malformed),
        ("notifications far away", 0x90 / 4, u32::MAX, Malformed),
        ("no MSI-X", 0x40 / 4, 0x0001_5001, NoMessages),
        ("one message", 0x40 / 4, 0x0000_5011, NoMessages),
    ];
    for (name, index, value, error) in rows {
        let registers = memory();
        let mut words = words(memory(), registers);
        words[index] = value;
        let prepared = prepare_at(&Configuration::new(words), [0, 0]);
        assert_eq!(prepared.err(), Some(error), "{name}");
    }
    // The notification offset lies in the registers, not in the configuration.
    let registers = memory();
    write::<u16>(registers + 18, 1);
    write::<u16>(registers + 30, 0x400);
    // A device that is refused is not reset: it might never end that.
    write::<u8>(registers + 20, 0xf);
    let prepared = prepare_at(&Configuration::new(words(memory(), registers)), [0, 0]);
    assert_eq!(
        prepared.err(),
        Some(Malformed),
        "a notification beyond its region"
    );
    assert_eq!(read::<u8>(registers + 20), 0xf);
}

#[test]
fn any_configuration_is_an_error_or_works() {
    let registers = memory();
    let table = memory();
    let right = words(table, registers);
    for index in (0x10 / 4..0x28 / 4).chain(0x34 / 4..0xa0 / 4) {
        for value in [
            0,
            1,
            0x0011_4011,
            0x1000,
            0x3fff_ffff,
            0x8000_0000,
            u32::MAX,
        ] {
            let mut words = right;
            words[index] = value;
            drop(prepare_at(&Configuration::new(words), [0, 0]));
        }
    }
}
