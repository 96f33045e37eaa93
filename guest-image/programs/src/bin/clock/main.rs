//! Tests of the clock: how it keeps time with the host, and what it does when its source jumps.
//! `do=drift|jumps|naps|rates` selects the test, `clock=default|tsc|calibrated` the clock's source,
//! `timer=NAME` the timer. `by=tsc|nested|host` selects what jumps: the TSC, which this guest
//! writes or its own hypervisor moves, or the host's paravirtual clock. Arguments of naps are those
//! of [`naps::take`].
#![no_std]
#![no_main]

extern crate alloc;

mod hypervisor;
mod naps;
mod rates;

use alloc::{boxed::Box, sync::Arc, task::Wake};
use core::{
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Waker},
    time::Duration,
};

use dormir::{
    arch::x86_64::{pit, tsc},
    block_on,
    idle::Halt,
    platform::bare::{self, ClockSource, Config, Machine},
    time::{Instant, Timer},
};
use dormir_abi::port;
use dormir_guest::{
    args,
    console::{report, report_time},
    println,
};
use x86_64::{instructions::port::Port, registers::model_specific::Msr};

dormir_guest::entry!(main, owns_machine);

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

fn main() -> Result<(), &'static str> {
    let machine = set_up()?;
    println!(
        "clock {}; TSC at {} Hz, {}; timer {}",
        machine.clock, machine.tsc_hz, machine.tsc_source, machine.timer
    );
    report("tsc_hz", machine.tsc_hz);
    match args::value("do") {
        Some("drift") => block_on(drift(), Halt),
        // One loop for everything, since the start of a loop reads the clock.
        Some("jumps") => block_on(jumps(machine), Halt),
        Some("naps") => block_on(naps::take(), Halt),
        Some("rates") => block_on(rates::change(), Halt),
        _ => return Err("missing do=drift|jumps|naps|rates"),
    }
    Ok(())
}

fn set_up() -> Result<&'static Machine, &'static str> {
    let tsc_hz = match args::value("clock") {
        None | Some("default") => None,
        Some("tsc") => {
            // SAFETY: ring 0, the one vCPU, interrupts masked, memory mapped one to one.
            let found = unsafe { tsc::find_frequency() };
            Some(found.ok_or("the TSC's frequency is not known")?.0)
        }
        Some("calibrated") => {
            // SAFETY: interrupts are masked, and nothing else uses the PIT's channel 2.
            let measured = unsafe { pit::measure_hz(tsc::read) };
            Some(measured.ok_or("there is no PIT to measure the TSC")?)
        }
        Some(_) => return Err("the clock is one of default, tsc, calibrated"),
    };
    let timer = match args::value("timer").map(str::parse) {
        None => None,
        Some(Ok(timer)) => Some(timer),
        Some(Err(_)) => return Err("there is no timer of that name"),
    };
    let mut config = Config::new();
    (config.timer, config.tsc_hz) = (timer, tsc_hz);
    // SAFETY: ring 0, the one vCPU, interrupts masked, tables installed; memory is mapped one to
    // one, the APICs uncached.
    let machine = unsafe { bare::init(config) }.map_err(|error| {
        println!("{error}");
        "the machine cannot be set up"
    })?;
    x86_64::instructions::interrupts::enable();
    Ok(machine)
}

async fn nap(length: Duration) {
    Timer::after(length).await;
}

/// Reports the time many times, and again ten seconds later. Of each group, the host uses the
/// report that took the least time to arrive, so they are spread over a while.
async fn drift() {
    let report_times = async || {
        for _ in 0..300 {
            nap(Duration::from_millis(5)).await;
            report_time();
        }
    };
    report_times().await;
    nap(SECOND * 10).await;
    report_times().await;
}

/// The numbers of the wakers that timers have woken, in order.
static WOKEN: [AtomicUsize; 16] = [const { AtomicUsize::new(0) }; 16];
static WAKES: AtomicUsize = AtomicUsize::new(0);

struct Numbered(usize);

impl Wake for Numbered {
    fn wake(self: Arc<Self>) {
        let wakes = WAKES.fetch_add(1, Ordering::Relaxed);
        WOKEN[wakes].store(self.0, Ordering::Relaxed);
    }
}

/// Takes the numbers woken since the last call, and fails if they are not `expected`.
#[track_caller]
fn assert_woken(expected: &[usize]) {
    let wakes = WAKES.swap(0, Ordering::Relaxed);
    assert_eq!(wakes, expected.len(), "timers that fired");
    for (woken, expected) in WOKEN.iter().zip(expected) {
        assert_eq!(woken.load(Ordering::Relaxed), *expected, "out of order");
    }
}

/// Makes a timer and polls it with a waker of this number.
fn armed(number: usize, after: Duration) -> Pin<Box<Timer>> {
    let mut timer = Box::pin(Timer::after(after));
    let waker = Waker::from(Arc::new(Numbered(number)));
    assert!(
        timer
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    timer
}

/// What jumps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum JumpSource {
    Tsc { hz: u64 },
    Nested { hz: u64 },
    Host,
}

/// `IA32_TIME_STAMP_COUNTER` (SDM vol. 4, table 2-2).
const TSC_MSR: u32 = 0x10;

fn ticks(duration: Duration, hz: u64) -> u64 {
    u64::try_from(duration.as_nanos() * u128::from(hz) / 1_000_000_000).expect("not that long")
}

impl JumpSource {
    fn ahead(self, by: Duration) {
        match self {
            Self::Tsc { hz } => set_tsc(tsc::read().wrapping_add(ticks(by, hz))),
            Self::Nested { hz } => hypervisor::add_to_tsc(ticks(by, hz)),
            Self::Host => move_host_clock(millis(by)),
        }
    }

    fn back(self, by: Duration) {
        match self {
            Self::Tsc { hz } => set_tsc(tsc::read().wrapping_sub(ticks(by, hz))),
            Self::Nested { hz } => hypervisor::add_to_tsc(ticks(by, hz).wrapping_neg()),
            Self::Host => move_host_clock(-millis(by)),
        }
    }
}

fn set_tsc(to: u64) {
    // SAFETY: every x86-64 processor has the MSR. Memory safety does not depend on it, and dormir
    // must cope with it.
    unsafe { Msr::new(TSC_MSR).write(to) };
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).expect("not that long")
}

fn move_host_clock(millis: i32) {
    // SAFETY: the port belongs to the harness's own VMM, or to no device.
    unsafe { Port::new(port::CLOCK).write(millis.cast_unsigned()) };
}

/// Sets the clock's source ahead by hours and back again, while timers are pending.
async fn jumps(machine: &'static Machine) {
    let hz = machine.tsc_hz;
    let by = match args::value("by") {
        Some("host") => JumpSource::Host,
        Some("nested") => {
            assert!(hypervisor::is_possible(), "the processor has no SVM");
            // SAFETY: ring 0, the only vCPU, memory mapped one to one; called only here.
            unsafe { hypervisor::enter() };
            JumpSource::Nested { hz }
        }
        _ => JumpSource::Tsc { hz },
    };
    if by != JumpSource::Host {
        let before = tsc::read();
        by.ahead(HOUR);
        let can_be_set = tsc::read().wrapping_sub(before) > ticks(HOUR / 2, hz);
        report("tsc_can_be_set", can_be_set.into());
        if !can_be_set {
            return;
        }
        // The two jumps cancel out, since the clock is not read in between.
        by.back(HOUR);
    }

    let follows = by == JumpSource::Host || machine.clock == ClockSource::Tsc;
    let far = armed(100, HOUR * 100);
    if follows {
        ahead(by).await;
    } else {
        ahead_of_pvclock(by).await;
    }
    for time in 1..=5 {
        println!("back, for the {time}. time");
        back(by, HOUR / 2).await;
    }
    back_a_little(by, follows, hz).await;
    assert!(far.deadline() > Instant::now());
    assert_woken(&[]);
}

/// Exactly the timers that are due after a jump fire, once each, in the order of their deadlines.
async fn ahead(by: JumpSource) {
    println!("ahead");
    let before = Instant::now();
    let timers = [(3, 3), (1, 1), (5, 5), (2, 2), (4, 4)];
    let timers = timers.map(|(number, hours)| armed(number, HOUR * hours));
    // The alarm is set by now.
    nap(Duration::from_millis(5)).await;
    assert_woken(&[]);
    by.ahead(HOUR * 4 + HOUR / 2);
    nap(Duration::from_millis(20)).await;
    let jumped = Instant::now().saturating_duration_since(before);
    assert!(
        (HOUR * 4..HOUR * 5).contains(&jumped),
        "the clock went {jumped:?}"
    );
    assert_woken(&[1, 2, 3, 4]);
    nap(Duration::from_millis(100)).await;
    assert_woken(&[]);
    drop(timers);
}

/// The host's paravirtual clock does not jump with the TSC.
async fn ahead_of_pvclock(by: JumpSource) {
    println!("ahead, but for pvclock");
    let before = Instant::now();
    let timers = [(2, HOUR * 2), (1, Duration::from_millis(100))];
    let timers = timers.map(|(number, after)| armed(number, after));
    nap(Duration::from_millis(5)).await;
    by.ahead(HOUR * 3);
    nap(Duration::from_millis(200)).await;
    let went = Instant::now().saturating_duration_since(before);
    assert!(went < HOUR / 60, "the clock went {went:?}");
    assert_woken(&[1]);
    drop(timers);
}

/// The clock continues from where it was, and timers fire after the right time.
async fn back(by: JumpSource, length: Duration) {
    let before = Instant::now();
    let timers = [(2, 150), (3, 250), (1, 50)];
    let timers = timers.map(|(number, after)| armed(number, Duration::from_millis(after)));
    nap(Duration::from_millis(5)).await;
    let last = Instant::now();
    by.back(length);
    let mut shown = last;
    for _ in 0..1000 {
        let now = Instant::now();
        assert!(now >= shown, "{now} after {shown}");
        shown = now;
    }
    nap(Duration::from_millis(300)).await;
    assert_woken(&[1, 2, 3]);
    let went = Instant::now().saturating_duration_since(before);
    assert!(
        (Duration::from_millis(300)..HOUR / 60).contains(&went),
        "the clock went {went:?}"
    );
    drop(timers);
}

/// A jump of less than a second: the clock stands still until its source has caught up, without an
/// interrupt storm.
async fn back_a_little(by: JumpSource, follows: bool, hz: u64) {
    println!("back a little");
    let interrupts = bare::timer_interrupts();
    let timer = armed(1, Duration::from_millis(10));
    nap(Duration::from_millis(1)).await;
    let last = Instant::now();
    by.back(SECOND * 9 / 10);
    let tsc = tsc::read();
    assert!(Instant::now() >= last);
    nap(Duration::from_millis(100)).await;
    assert_woken(&[1]);
    let took = tsc::read() - tsc;
    // If it stood still, it did so for most of the time.
    let least = if follows { SECOND / 2 } else { SECOND / 20 };
    assert!(took > ticks(least, hz), "{took} ticks");
    let interrupts = bare::timer_interrupts() - interrupts;
    // The PIT takes some twenty steps.
    assert!(interrupts < 50, "{interrupts} interrupts");
    drop(timer);
}
