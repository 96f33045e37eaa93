//! A PCI device whose registers are this process's memory.

use core::{
    cell::RefCell,
    convert::Infallible,
    ptr::{NonNull, with_exposed_provenance_mut},
    task::{Context, Poll, Waker},
};
use std::{boxed::Box, sync::Mutex, vec::Vec};

use virtio_drivers::transport::{
    DeviceType, InterruptStatus, Transport as _,
    pci::bus::{ConfigurationAccess, DeviceFunction},
};

use super::{ConnectError, Message, bars, configuration::Function, prepare};
use crate::Interrupt;

const FUNCTION: DeviceFunction = DeviceFunction {
    bus: 0,
    device: 3,
    function: 0,
};

/// The length of each BAR, in bytes.
const BAR: usize = 0x4000;

/// A configuration of 64 words, with 64-bit BARs 0 (messages) and 4 (registers).
#[derive(Clone, Copy)]
struct Fake<'a>(&'a RefCell<[u32; 64]>);

impl ConfigurationAccess for Fake<'_> {
    fn read_word(&self, _: DeviceFunction, register: u8) -> u32 {
        self.0.borrow()[usize::from(register) / 4]
    }

    fn write_word(&mut self, _: DeviceFunction, register: u8, data: u32) {
        let mut words = self.0.borrow_mut();
        let index = usize::from(register) / 4;
        words[index] = match register {
            // The status stays.
            0x04 => words[index] & 0xffff_0000 | data & 0xffff,
            // The low bits of an address tell its type, and its size.
            0x10 | 0x20 => data & !(BAR as u32 - 1) | 0x4,
            0x14 | 0x24 => data,
            0x18 | 0x1c => 0,
            _ => data,
        };
    }

    unsafe fn unsafe_clone(&self) -> Self {
        *self
    }
}

/// Page-aligned memory of a BAR, which is leaked.
fn memory() -> u64 {
    #[repr(align(0x4000))]
    struct Bar(#[expect(dead_code)] [u8; BAR]);
    let bar: *mut Bar = Box::leak(Box::new(Bar([0; BAR])));
    bar.expose_provenance() as u64
}

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
    words[0x40 / 4] = 0x0001_5011;
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

type Prepared = Result<(super::Transport, super::Messages<Counted>), ConnectError<Infallible>>;

fn prepare_at(words: &RefCell<[u32; 64]>, interrupts: [u32; 2]) -> Prepared {
    let message = |data| Message {
        address: 0xfee0_0000,
        data,
    };
    let [queues, configuration] = interrupts.map(|count| Counted(Mutex::new(count)));
    let interrupts = [(queues, message(0x41)), (configuration, message(0x42))];
    let map = |range: core::ops::Range<u64>| {
        Ok(NonNull::new(with_exposed_provenance_mut(range.start as usize)).expect("it is memory"))
    };
    // SAFETY: the addresses of registers are those of leaked memory; no device accesses anything.
    unsafe { prepare(Fake(words), FUNCTION, map, interrupts) }
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
    let words = RefCell::new(words(table, registers));
    let (mut transport, messages) = prepare_at(&words, [0, 1]).expect("it is right");
    assert_eq!(transport.device_type(), DeviceType::EntropySource);
    let entries: Vec<u32> = (0..8).map(|index| read(table + 4 * index)).collect();
    assert_eq!(entries, [0xfee0_0000, 0, 0x41, 0, 0xfee0_0000, 0, 0x42, 0]);
    // Memory, bus master, no line; MSI-X on.
    assert_eq!(words.borrow()[1] & 0xffff, 0x406);
    assert_eq!(words.borrow()[0x40 / 4], 0x8001_5011);

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
    let words = RefCell::new(words(memory(), memory()));
    let (_, messages) = prepare_at(&words, [2, 1]).expect("it is right");
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(messages.poll_wait(&mut cx), Poll::Ready(3));
    assert_eq!(messages.poll_wait(&mut cx), Poll::Pending);
}

#[test]
fn registers_without_an_address_get_one() {
    let words = RefCell::new(words(0, 0));
    let mut device = Function::new(Fake(&words), FUNCTION);
    let bars = bars::place(&mut device).expect("there is room");
    let first = 0xd000_0000 + 24 * (128 << 10);
    assert_eq!(bars.range(0), Some(first..first + 0x4000));
    assert_eq!(bars.range(4), Some(first + 0x4000..first + 0x8000));
    assert_eq!(bars.range(1), None, "it is the upper half of the first");
    assert_eq!(words.borrow()[4], first as u32 | 0x4);
    assert_eq!(words.borrow()[8], (first as u32 + 0x4000) | 0x4);
}

/// What is changed of a right configuration, and the error.
type Row = (&'static str, usize, u32, ConnectError<Infallible>);

#[test]
fn malformed_configurations_are_refused() {
    use ConnectError::{Malformed, NoMessages};
    let rows: [Row; 11] = [
        ("no list of capabilities", 1, 0, Malformed),
        ("an empty list", 0x34 / 4, 0, Malformed),
        ("a list that is a circle", 0x8c / 4, 0x0214_5009, Malformed),
        ("no common configuration", 0x50 / 4, 0x0714_6409, Malformed),
        ("registers in a BAR that is missing", 0x54 / 4, 2, Malformed),
        ("registers in a seventh BAR", 0x54 / 4, 6, Malformed),
        ("registers behind their BAR", 0x58 / 4, 0x3001, Malformed),
        ("registers that are too few", 0x5c / 4, 55, Malformed),
        ("notifications far away", 0x90 / 4, u32::MAX, Malformed),
        ("no MSI-X", 0x40 / 4, 0x0001_5001, NoMessages),
        ("one message", 0x40 / 4, 0x0000_5011, NoMessages),
    ];
    for (name, index, value, error) in rows {
        let registers = memory();
        let mut words = words(memory(), registers);
        words[index] = value;
        let prepared = prepare_at(&RefCell::new(words), [0, 0]);
        assert_eq!(prepared.err(), Some(error), "{name}");
    }
    // The notification offset lies in the registers, not in the configuration.
    let registers = memory();
    write::<u16>(registers + 18, 1);
    write::<u16>(registers + 30, 0x400);
    let prepared = prepare_at(&RefCell::new(words(memory(), registers)), [0, 0]);
    assert_eq!(
        prepared.err(),
        Some(Malformed),
        "a notification behind its region"
    );
}

#[test]
fn any_configuration_is_an_error_or_works() {
    let registers = memory();
    let table = memory();
    let right = words(table, registers);
    for index in (0x34 / 4)..(0xa0 / 4) {
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
            drop(prepare_at(&RefCell::new(words), [0, 0]));
        }
    }
}
