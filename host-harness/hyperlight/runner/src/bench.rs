//! The measurements of `cargo vm bench --hyperlight`. Each line of output is one sample: `CASE/WHAT
//! NANOSECONDS`.

use std::{
    hint, thread,
    time::{Duration, Instant},
};

use dormir_hyperlight_host::Host;
use hyperlight_host::Sandbox;

use crate::{
    host_call_bench,
    processor_time::charged,
    sandbox::{Check, INTERRUPTS, SandboxGuest},
};

/// The measurements, by their names.
const BENCHES: &[(&str, Bench)] = &[("calls", calls), ("idle", idle), ("sleeps", sleeps)];

type Bench = fn(&mut Sandbox, Extent) -> Check;

/// How often an operation runs before its samples count.
const WARM_UP: u32 = 3;

/// How many idle periods a sample has, besides the first.
const IDLES: u64 = 4;

/// The timer's default period, in microseconds.
const PERIOD: u64 = 1000;

/// How long the guest halts in a sample of ticks, besides its first period, in microseconds.
const HALTS: u64 = 100_000;

/// The sleeps whose accuracy is measured, in microseconds.
const LENGTHS: [u64; 3] = [1_000, 10_000, 100_000];

/// How many sleeps the guest makes in a turn, and then the host.
const TURN: u32 = 5;

/// The extent of a measurement.
#[derive(Clone, Copy)]
struct Extent {
    samples: u32,
    limit: Duration,
}

impl Extent {
    /// Calls `sample`, which takes `each` samples, until there are enough or the time is up; at
    /// least once.
    fn repeat(self, each: u32, mut sample: impl FnMut() -> Check) -> Check {
        let start = Instant::now();
        let mut taken = 0;
        while taken == 0 || (taken < self.samples && start.elapsed() < self.limit) {
            sample()?;
            taken += each;
        }
        Ok(())
    }
}

/// Measures what `line` names: `WHAT:SAMPLES:MILLISECONDS`, the last two for each figure.
pub(crate) fn run(guest: &SandboxGuest, line: &str) -> Check {
    let parts: Vec<&str> = line.split(':').collect();
    let &[name, samples, millis] = parts.as_slice() else {
        return Err(format!("`{line}` is no measurement: WHAT:SAMPLES:MILLISECONDS").into());
    };
    let extent = Extent {
        samples: samples.parse()?,
        limit: Duration::from_millis(millis.parse()?),
    };
    if [host_call_bench::SMALL, host_call_bench::LARGE].contains(&name) {
        // As many rounds as samples would make ten of a hundred, in a part of the time that other
        // figures have: there are more of these.
        let extent = host_call_bench::Extent {
            rounds: extent.samples.div_ceil(10),
            limit: extent.limit / 7,
        };
        return host_call_bench::run(guest, name, extent);
    }
    let known = BENCHES.iter().find(|(known, _)| *known == name);
    let Some((_, bench)) = known else {
        let names: Vec<_> = BENCHES.iter().map(|(name, _)| *name).collect();
        return Err(format!("there is no measurement `{name}`: {}", names.join(", ")).into());
    };
    let mut sandbox = guest.bare_sandbox()?;
    let host = Host::new();
    host.register(&mut sandbox)?;
    sandbox.call::<()>("set_period", PERIOD)?;
    bench(&mut sandbox, extent)
}

/// A call of a function that does nothing; of one that calls the host once; and of one that runs
/// the executor, for a future that is ready. They take turns.
fn calls(sandbox: &mut Sandbox, extent: Extent) -> Check {
    let mut round = |counts: bool| -> Check {
        let ((), host_function) = timed(|| sandbox.call("host_calls", 1_u64))?;
        let (_, plain): (i32, _) = timed(|| sandbox.call("plain", ()))?;
        let (_, block_on): (i32, _) = timed(|| sandbox.call("answer", ()))?;
        if counts {
            print("call/plain", plain);
            print("call/host-function", host_function);
            print("call/block_on", block_on);
        }
        Ok(())
    };
    for _ in 0..WARM_UP {
        round(false)?;
    }
    extent.repeat(1, || round(true))
}

/// What each further idle of a call costs: the difference to a call with the first one alone.
fn idle(sandbox: &mut Sandbox, extent: Extent) -> Check {
    if INTERRUPTS {
        return ticks(sandbox, extent);
    }
    let mut round = |counts: bool| -> Check {
        let ((), one) = timed(|| sandbox.call("host_calls", 1_u64))?;
        let ((), more) = timed(|| sandbox.call("host_calls", 1 + IDLES))?;
        let (_, one_sleep): (u64, _) = charged(|| sandbox.call("sleeps", (1_u64, PERIOD)))?;
        let (_, sleeps): (u64, _) = charged(|| sandbox.call("sleeps", (1 + IDLES, PERIOD)))?;
        if counts {
            print("idle/wait-elapsed", more.saturating_sub(one) / IDLES as u32);
            print(
                "idle/wait-processor",
                sleeps.saturating_sub(one_sleep) / IDLES as u32,
            );
        }
        Ok(())
    };
    for _ in 0..WARM_UP {
        round(false)?;
    }
    extent.repeat(1, || round(true))
}

/// What each further tick of a sleep costs.
fn ticks(sandbox: &mut Sandbox, extent: Extent) -> Check {
    let mut round = |counts: bool| -> Check {
        let (few, short): (u64, _) = charged(|| sandbox.call("sleeps", (1_u64, PERIOD)))?;
        let (many, long): (u64, _) = charged(|| sandbox.call("sleeps", (1_u64, PERIOD + HALTS)))?;
        let further = many.checked_sub(few).filter(|further| *further > 0);
        let further = further.ok_or("a long sleep had no more ticks than a short one")?;
        if counts {
            print(
                "idle/tick-processor",
                long.saturating_sub(short) / further as u32,
            );
        }
        Ok(())
    };
    for _ in 0..WARM_UP {
        round(false)?;
    }
    extent.repeat(1, || round(true))
}

/// By how much sleeps are too long: the guest's, by its own clock, and in turns with them this
/// thread's.
fn sleeps(sandbox: &mut Sandbox, extent: Extent) -> Check {
    let mut seed = 1_u64;
    for micros in LENGTHS {
        let asked = Duration::from_micros(micros);
        let mut turn = |counts: bool| -> Check {
            seed += 1;
            let sleeps = (micros, u64::from(TURN), PERIOD, seed);
            let late: Vec<u8> = sandbox.call("oversleeps", sleeps)?;
            let (words, rest) = late.as_chunks::<8>();
            if words.len() != TURN as usize || !rest.is_empty() {
                return Err(format!("{} bytes are no {TURN} sleeps", late.len()).into());
            }
            for word in words {
                let late = Duration::from_nanos(u64::from_le_bytes(*word));
                let host = host_overslept(asked, word);
                if counts {
                    print(&format!("sleep/{}/guest", asked.as_nanos()), late);
                    print(&format!("sleep/{}/host", asked.as_nanos()), host);
                }
            }
            Ok(())
        };
        turn(false)?;
        extent.repeat(TURN, || turn(true))?;
    }
    Ok(())
}

/// Sleeps in this thread; returns by how much the sleep was too long. `random` decides when it
/// begins, so that it is synchronised with nothing.
fn host_overslept(asked: Duration, random: &[u8; 8]) -> Duration {
    let pause = u64::from_le_bytes(*random).wrapping_mul(0x9e37_79b9_7f4a_7c15) % (PERIOD * 1000);
    let begin = Instant::now() + Duration::from_nanos(pause);
    while Instant::now() < begin {
        hint::spin_loop();
    }
    let until = Instant::now() + asked;
    thread::sleep(asked);
    Instant::now().saturating_duration_since(until)
}

/// Returns the result of `call`, and how long it took.
fn timed<T, E>(call: impl FnOnce() -> Result<T, E>) -> Result<(T, Duration), E> {
    let start = Instant::now();
    let value = call()?;
    Ok((value, start.elapsed()))
}

fn print(name: &str, sample: Duration) {
    println!("{name} {}", sample.as_nanos());
}
