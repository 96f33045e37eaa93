//! Tests of timers and the clock. Each runs with the machine's default timer, or with the one that
//! `timer=` forces.

use core::{
    arch::asm,
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use dormir::{
    block_on,
    idle::{Halt, Metered},
    platform::bare,
    time::{Delay, Instant, Scale, Timer, TimerQueue},
};
use dormir_guest::{args, println};
use embedded_hal::delay::DelayNs;
use x86_64::instructions::interrupts;

use crate::probes::CountingWaker;

/// The timer's interrupt comes while the program uses every register, and changes none.
#[dormir_guest::test]
fn interrupt_saves_all() {
    /// Carry and direction flag, which are set before the interrupt.
    const FLAGS: u64 = 1 << 10 | 1;
    let mut timer = pin!(Timer::after(Duration::from_millis(200)));
    let mut context = Context::from_waker(Waker::noop());
    interrupts::disable();
    assert!(timer.as_mut().poll(&mut context).is_pending());
    let timers = TimerQueue::global();
    while !timers.is_settled() {
        let next = timers.turn();
        assert!(next.is_some(), "the deadline has passed already");
    }
    let before = bare::timer_interrupts();
    let given: [u64; 14] = core::array::from_fn(|index| 0x0101_0101_0101_0101 * (index as u64 + 1));
    let mut found = [0_u64; 15];
    // SAFETY: `rbx` and `rbp`, which must not be named, are saved on the stack, as is the address
    // of `found`; the flags are restored after the halt.
    unsafe {
        asm!(
            "push rbx",
            "push rbp",
            "push rdi",
            "mov rax, [rsi]",
            "mov rbx, [rsi + 8]",
            "mov rcx, [rsi + 16]",
            "mov rdx, [rsi + 24]",
            "mov rdi, [rsi + 32]",
            "mov rbp, [rsi + 40]",
            "mov r8, [rsi + 48]",
            "mov r9, [rsi + 56]",
            "mov r10, [rsi + 64]",
            "mov r11, [rsi + 72]",
            "mov r12, [rsi + 80]",
            "mov r13, [rsi + 88]",
            "mov r14, [rsi + 96]",
            "mov r15, [rsi + 104]",
            "std",
            "stc",
            "sti",
            "hlt",
            "cli",
            "xchg rdi, [rsp]",
            "mov [rdi], rax",
            "pushfq",
            "pop rax",
            "cld",
            "mov [rdi + 112], rax",
            "mov [rdi + 8], rbx",
            "mov [rdi + 16], rcx",
            "mov [rdi + 24], rdx",
            "mov [rdi + 40], rbp",
            "mov [rdi + 48], r8",
            "mov [rdi + 56], r9",
            "mov [rdi + 64], r10",
            "mov [rdi + 72], r11",
            "mov [rdi + 80], r12",
            "mov [rdi + 88], r13",
            "mov [rdi + 96], r14",
            "mov [rdi + 104], r15",
            "pop rax",
            "mov [rdi + 32], rax",
            "pop rbp",
            "pop rbx",
            in("rsi") given.as_ptr(),
            inout("rdi") found.as_mut_ptr() => _,
            out("rax") _, out("rcx") _, out("rdx") _, out("r8") _, out("r9") _, out("r10") _,
            out("r11") _, out("r12") _, out("r13") _, out("r14") _, out("r15") _,
        );
    }
    interrupts::enable();
    assert_eq!(
        bare::timer_interrupts() - before,
        1,
        "it came during the code above"
    );
    assert_eq!(found[..14], given);
    assert_eq!(found[14] & FLAGS, FLAGS, "the flags are {:#x}", found[14]);
}

/// The timer is the one that was asked for, and its interrupt ends naps, none of them early.
#[dormir_guest::test]
fn source() {
    let machine = bare::machine().expect("set up before main");
    println!(
        "timer {} at {} Hz; TSC at {} Hz, {}",
        machine.timer, machine.timer_hz, machine.tsc_hz, machine.tsc_source
    );
    if let Some(asked) = args::value("timer") {
        assert_eq!(asked.parse(), Ok(machine.timer));
    }
    let mut idle = Metered::new(Halt);
    let before = bare::timer_interrupts();
    const NAPS: u64 = 20;
    let start = Instant::now();
    for millis in 1..=NAPS {
        let deadline = Instant::now().saturating_add(Duration::from_millis(millis));
        block_on(Timer::at(deadline), &mut idle);
        assert!(
            Instant::now() >= deadline,
            "a nap of {millis} ms ended early"
        );
    }
    // 210 ms of naps. Ten times as much means a wrong scale.
    let took = Instant::now().saturating_duration_since(start);
    assert!(
        took < Duration::from_millis(2100),
        "{took:?} for 210 ms of naps"
    );
    // A vCPU that is descheduled for some milliseconds finds the deadline passed without having
    // slept; that must not be so for most naps.
    let interrupts = bare::timer_interrupts() - before;
    assert!(
        interrupts >= NAPS / 2,
        "{interrupts} timer interrupts for {NAPS} naps"
    );
    assert!(
        idle.waits() >= NAPS / 2,
        "{} halts for {NAPS} naps",
        idle.waits()
    );
}

/// A nap longer than the PIT's 16-bit count (54.9 ms) or the local APIC's 32-bit count, which takes
/// several steps. TSC-deadline has no such limit.
#[dormir_guest::test]
fn beyond_the_counter() {
    let machine = bare::machine().expect("the machine is set up");
    let (nap, expected) = match machine.timer {
        // Four steps, fewer if the vCPU is descheduled for longer than one; ten times as many would
        // be an interrupt storm.
        bare::TimerSource::Pit => (Duration::from_millis(200), 2..=40),
        bare::TimerSource::Xapic | bare::TimerSource::X2apic => {
            let longest = Scale::new(machine.timer_hz, 1_000_000_000).up(u64::from(u32::MAX));
            (
                Duration::from_nanos(longest) + Duration::from_millis(200),
                2..=20,
            )
        }
        _ => (Duration::from_millis(200), 1..=10),
    };
    let before = bare::timer_interrupts();
    let deadline = Instant::now().saturating_add(nap);
    block_on(Timer::at(deadline), Halt);
    assert!(Instant::now() >= deadline, "ended early");
    let interrupts = bare::timer_interrupts() - before;
    assert!(
        expected.contains(&interrupts),
        "{interrupts} interrupts for one nap"
    );
}

/// A deadline that has passed is due at the first poll, without an interrupt.
#[dormir_guest::test]
fn in_the_past() {
    for deadline in [Instant::START, Instant::now()] {
        let mut timer = pin!(Timer::at(deadline));
        let mut context = Context::from_waker(Waker::noop());
        assert!(timer.as_mut().poll(&mut context).is_ready());
        // It stays ready.
        assert!(timer.as_mut().poll(&mut context).is_ready());
    }
}

/// Deadlines too near to be armed in time are not lost, and cause no interrupt storm.
#[dormir_guest::test]
fn a_few_ticks_away() {
    let before = bare::timer_interrupts();
    const NAPS: u64 = 200;
    for nanos in 0..NAPS {
        block_on(
            async { Timer::after(Duration::from_nanos(nanos * 50)).await },
            Halt,
        );
    }
    let interrupts = bare::timer_interrupts() - before;
    assert!(
        interrupts <= NAPS * 2,
        "{interrupts} interrupts for {NAPS} short naps"
    );
}

/// A timer that was polled and dropped wakes no task.
#[dormir_guest::test]
fn dropped_never_fires() {
    let counter = CountingWaker::new();
    {
        let mut timer = pin!(Timer::after(Duration::from_millis(200)));
        assert!(counter.poll(timer.as_mut()).is_pending());
    }
    block_on(
        async { Timer::after(Duration::from_millis(300)).await },
        Halt,
    );
    assert_eq!(counter.wakes(), 0);
}

/// A timer can be reset, before it expires and after.
#[dormir_guest::test]
fn can_be_reset() {
    let start = Instant::now();
    let after = |millis| start.saturating_add(Duration::from_millis(millis));
    let mut timer = pin!(Timer::at(after(3_600_000)));
    let mut context = Context::from_waker(Waker::noop());
    assert!(timer.as_mut().poll(&mut context).is_pending());
    for millis in [10, 20] {
        timer.as_mut().reset(after(millis));
        block_on(timer.as_mut(), Halt);
        assert!(Instant::now() >= after(millis), "ended early");
    }
    assert!(
        Instant::now() < after(60_000),
        "slept past its new, earlier deadline"
    );
}

/// A timer wakes only the task that polled it last.
#[dormir_guest::test]
fn follows_the_last_waker() {
    let (first, last) = (CountingWaker::new(), CountingWaker::new());
    let mut timer = pin!(Timer::after(Duration::from_millis(200)));
    for counter in [&first, &last] {
        assert!(counter.poll(timer.as_mut()).is_pending());
    }
    block_on(
        async { Timer::after(Duration::from_millis(300)).await },
        Halt,
    );
    assert_eq!((first.wakes(), last.wakes()), (0, 1));
}

/// A timer that never expires does not affect other timers.
#[dormir_guest::test]
fn never_disturbs_no_other() {
    let mut never = pin!(Timer::after(Duration::MAX));
    let mut nap = pin!(Timer::after(Duration::from_millis(5)));
    block_on(
        core::future::poll_fn(|cx| {
            assert_eq!(never.as_mut().poll(cx), Poll::Pending);
            nap.as_mut().poll(cx)
        }),
        Halt,
    );
}

/// The busy wait for drivers.
#[dormir_guest::test]
fn delay_is_never_short() {
    for nanos in [0, 1, 1_000, 1_000_000] {
        let start = Instant::now();
        Delay.delay_ns(nanos);
        let waited = Instant::now().saturating_duration_since(start);
        assert!(
            waited >= Duration::from_nanos(nanos.into()),
            "{waited:?} for {nanos} ns"
        );
    }
}

#[dormir_guest::test]
fn clock_never_goes_back() {
    let mut last = Instant::now();
    for _ in 0..20_000 {
        let now = Instant::now();
        assert!(now >= last, "{now} after {last}");
        last = now;
    }
}
