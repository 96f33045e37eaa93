//! A reactor: hardware interrupts wake the tasks that wait for them. Here they come from the timer,
//! whose handler is in the library, and from the serial line, whose handler is below.
//!
//! The line is in loopback mode and receives what it sends, so it needs no peer.

use alloc::string::String;
use core::time::Duration;

use dormir::{
    Event,
    arch::x86_64::{interrupt::InterruptFrame, pic, vector},
    event::Wait,
    executor::{Executor, SingleVcpu, Up64},
    interrupt_entry,
    platform::bare,
    tasks,
    time::Timer,
};
use dormir_guest::{console::report, print, println};
use x86_64::instructions::port::Port;

use crate::{DemoResult, measure};

/// The link between an interrupt and its task: one event for each source of interrupts.
static SERIAL_LINE: Event = Event::new();

/// The part of the driver that runs in the interrupt. It only signals; the task does the rest in
/// its turn.
extern "sysv64" fn on_serial_line(_frame: &InterruptFrame) {
    SERIAL_LINE.signal();
    pic::end_of_interrupt(COM1_IRQ);
}
interrupt_entry!(serial_line_entry => on_serial_line);

/// The last message on the line.
const GOODBYE: &str = "goodbye\n";

tasks! {
    /// Waits for the timer's interrupt, and then causes those of the serial line.
    async fn tick(), pool = 1 {
        for (number, text) in (1..).zip(["hello\n", "who is there?\n", GOODBYE]) {
            Timer::after(Duration::from_millis(300)).await;
            println!("timer: tick {number}");
            text.bytes().for_each(send);
        }
    }

    /// Waits for the serial line's interrupts until it says goodbye.
    async fn listen(), pool = 1 {
        let mut receiver = Receiver {
            interrupts: SERIAL_LINE.wait().expect("this is its only waiter"),
            interrupts_seen: 0,
        };
        let mut text = String::new();
        while text != GOODBYE {
            text.clear();
            while !text.ends_with('\n') {
                text.push(receiver.next().await.into());
            }
            print!("serial line: {text}");
        }
        report("serial_interrupts", receiver.interrupts_seen);
    }
}

// SAFETY: this guest has one vCPU.
static EXECUTOR: Executor<Up64, SingleVcpu> = Executor::new(unsafe { SingleVcpu::new() });

pub(crate) fn run() -> DemoResult {
    EXECUTOR.on_wake(measure::count_poll);
    open();
    let mut runner = EXECUTOR.enter()?;
    runner.spawner().spawn_detached(tick())?;
    runner.spawner().spawn_detached(listen())?;
    // Polls what is ready and halts, until no task is left.
    measure::napping(|idle| runner.run(idle));
    Ok(())
}

/// The serial line's first port and interrupt line (16550 data sheet, "Registers").
const COM1: u16 = 0x3f8;
const COM1_IRQ: u8 = 4;
const INTERRUPT_ENABLE: u16 = 1;
const FIFO_CONTROL: u16 = 2;
const LINE_CONTROL: u16 = 3;
const MODEM_CONTROL: u16 = 4;
const LINE_STATUS: u16 = 5;

/// Configures the line to interrupt when it has received a byte.
fn open() {
    let handler = vector::PIC_FIRST + COM1_IRQ;
    // SAFETY: made by `interrupt_entry!`, and acknowledges the line's interrupt.
    unsafe { bare::set_interrupt_handler(handler, serial_line_entry) };
    for (register, value) in [
        (LINE_CONTROL, 0x03),     // 8 bits, no parity
        (FIFO_CONTROL, 0x07),     // on, emptied, interrupts at each byte
        (MODEM_CONTROL, 0x18),    // loopback, and interrupts let out
        (INTERRUPT_ENABLE, 0x01), // something was received
    ] {
        write(register, value);
    }
    pic::unmask(COM1_IRQ);
}

fn send(byte: u8) {
    write(0, byte);
}

/// The receiving end.
struct Receiver {
    interrupts: Wait<'static>,
    /// How many interrupts there have been.
    interrupts_seen: u64,
}

impl Receiver {
    /// Waits for the next byte.
    async fn next(&mut self) -> u8 {
        const RECEIVED: u8 = 1;
        while read(LINE_STATUS) & RECEIVED == 0 {
            self.interrupts_seen += u64::from((&mut self.interrupts).await);
        }
        read(0)
    }
}

fn write(register: u16, value: u8) {
    // SAFETY: the port belongs to the serial line, which does not access memory.
    unsafe { Port::new(COM1 + register).write(value) }
}

fn read(register: u16) -> u8 {
    // SAFETY: as in `write`.
    unsafe { Port::new(COM1 + register).read() }
}
