//! One step after the other, each begun and ended by the idle policy.

use core::sync::atomic::Ordering;

use dormir::{
    arch::x86_64::pit,
    idle::{Halt, Idle, IdleContext},
};
use dormir_guest::{exit, println};
use dormir_programs::{hit, machine::PIT_CAME};

use crate::{
    cast::Cast,
    tasks::{ARM, record, waker},
};

/// How long a step lasts, in ticks of the PIT: a millisecond, a million instructions. Nothing else ends a
/// sleep on a wake that was lost.
const STEP_TICKS: u16 = 1193;

/// A wake that no poll followed.
const NEVER: u64 = u64::MAX;

/// An idle policy: [`Halt`], and where a step is over, the next one.
pub(crate) struct Steps {
    cast: &'static Cast,
    /// Whom handlers are to wake after this one.
    names: core::str::Split<'static, char>,
    /// The steps of each.
    steps: u32,
    /// The step that is under way; `None` before the first.
    now: Option<Step>,
}

#[derive(Clone, Copy)]
struct Step {
    name: &'static str,
    victim: usize,
    number: u32,
}

impl Idle for Steps {
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

impl Steps {
    pub(crate) fn new(cast: &'static Cast, wakes: &'static str, steps: u32) -> Self {
        Self {
            cast,
            names: wakes.split(','),
            steps,
            now: None,
        }
    }

    fn next(&mut self) -> Option<Step> {
        if let Some(step) = self.now
            && step.number < self.steps
        {
            let number = step.number + 1;
            return Some(Step { number, ..step });
        }
        let name = self.names.next()?;
        let victim = self.cast.victim(name)?;
        Some(Step {
            name,
            victim,
            number: 1,
        })
    }

    fn begin(&mut self, step: Step) {
        self.now = Some(step);
        hit::AT.store(0, Ordering::Relaxed);
        hit::ADDRESS.store(0, Ordering::Relaxed);
        for place in 0..self.cast.places {
            record(place).polls.store(0, Ordering::Relaxed);
            record(place).polled_at.store(0, Ordering::Relaxed);
        }
        // SAFETY: the local APIC's timer has long counted down, or was not started.
        unsafe { hit::will_wake(waker(step.victim).clone()) };
        ARM.store(step.number, Ordering::Relaxed);
        PIT_CAME.store(false, Ordering::Relaxed);
        pit::set(STEP_TICKS);
        waker(self.cast.lead).wake_by_ref();
    }

    fn report(&self, step: Step) {
        let Step {
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
        // Polls that nobody had woken for.
        let mut stray = 0;
        for place in 0..self.cast.places {
            let wakes = self.cast.wakes(place, victim);
            let polls = record(place).polls.load(Ordering::Relaxed);
            stray += polls.saturating_sub(wakes);
            if wakes > 0 && polls == 0 {
                late = NEVER;
            }
        }
        let address = hit::ADDRESS.load(Ordering::Relaxed);
        println!("{name} {number} {address:#x} {late} {stray}");
    }
}
