//! The steps of a sweep, one after another. The idle policy starts and ends each.

use core::sync::atomic::Ordering;

use dormir::{
    arch::x86_64::pit,
    idle::{Halt, Idle, IdleContext},
};
use dormir_guest::{exit, println};
use dormir_programs::{hit, machine::PIT_CAME};

use crate::{
    fixture::Fixture,
    tasks::{ARM, record, waker_of},
};

/// How long a step lasts, in ticks of the PIT: a millisecond, a million instructions. Nothing else
/// ends the sleep after a lost wake.
const STEP_TICKS: u16 = 1193;

/// A wake that no poll followed.
const NEVER: u64 = u64::MAX;

/// An idle policy: [`Halt`], and at the end of a step, the start of the next one.
pub(crate) struct SweepIdle {
    fixture: &'static Fixture,
    /// The victims of the steps that follow this victim's.
    names: core::str::Split<'static, char>,
    /// The number of steps for each victim.
    steps: u32,
    /// The current step; `None` before the first.
    now: Option<SweepStep>,
}

#[derive(Clone, Copy)]
struct SweepStep {
    name: &'static str,
    victim: usize,
    number: u32,
}

impl Idle for SweepIdle {
    fn wait(&mut self, cx: &IdleContext<'_>) {
        if self.now.is_some() && !PIT_CAME.load(Ordering::Relaxed) {
            return Halt.wait(cx);
        }
        if let Some(step) = self.now {
            self.report(step);
        }
        match self.next() {
            Some(step) => self.begin(step),
            None => exit(0),
        }
    }
}

impl SweepIdle {
    pub(crate) fn new(fixture: &'static Fixture, wakes: &'static str, steps: u32) -> Self {
        Self {
            fixture,
            names: wakes.split(','),
            steps,
            now: None,
        }
    }

    fn next(&mut self) -> Option<SweepStep> {
        if let Some(step) = self.now
            && step.number < self.steps
        {
            let number = step.number + 1;
            return Some(SweepStep { number, ..step });
        }
        let name = self.names.next()?;
        let victim = self.fixture.victim(name)?;
        Some(SweepStep {
            name,
            victim,
            number: 1,
        })
    }

    fn begin(&mut self, step: SweepStep) {
        self.now = Some(step);
        hit::AT.store(0, Ordering::Relaxed);
        hit::ADDRESS.store(0, Ordering::Relaxed);
        for slot in 0..self.fixture.slots {
            record(slot).polls.store(0, Ordering::Relaxed);
            record(slot).polled_at.store(0, Ordering::Relaxed);
        }
        // SAFETY: the local APIC's timer has expired long ago, or was not started.
        unsafe { hit::will_wake(waker_of(step.victim).clone()) };
        ARM.store(step.number, Ordering::Relaxed);
        PIT_CAME.store(false, Ordering::Relaxed);
        pit::set(STEP_TICKS);
        waker_of(self.fixture.waker).wake_by_ref();
    }

    fn report(&self, step: SweepStep) {
        let SweepStep {
            name,
            victim,
            number,
        } = step;
        let hit_at = hit::AT.load(Ordering::Relaxed);
        let polled_at = record(victim).polled_at.load(Ordering::Relaxed);
        let mut late = match polled_at.checked_sub(hit_at) {
            Some(late) if hit_at != 0 => late,
            _ => NEVER,
        };
        // Polls without a wake.
        let mut spurious = 0;
        for slot in 0..self.fixture.slots {
            let wakes = self.fixture.wakes(slot, victim);
            let polls = record(slot).polls.load(Ordering::Relaxed);
            spurious += polls.saturating_sub(wakes);
            if wakes > 0 && polls == 0 {
                late = NEVER;
            }
        }
        let address = hit::ADDRESS.load(Ordering::Relaxed);
        println!("{name} {number} {address:#x} {late} {spurious}");
    }
}
