//! Measures how late a task is polled: the time from a deadline, from an interrupt that the host
//! injects, or from another task's wake, to the poll. It does so under dormir, under
//! embassy-executor and, as the floor for both, with nothing but `sti; hlt`.
//!
//! | argument | meaning |
//! | --- | --- |
//! | `timer=` | the timer, as in every guest |
//! | `paths=deadline,host,task` | what wakes tasks (default: `deadline,task`) |
//! | `samples=N`, `limit_ms=N` | how many samples each measurement takes, and its time limit |
//! | `interval_us=N` | the least time to a deadline |
//! | `idle=halt\|adaptive\|spin` | how dormir waits |
//! | `load=none\|sleepers-N\|busy-N` | other tasks of dormir and embassy |
//!
//! The runtimes take turns, a block of rounds each, so changes in the host affect all of them
//! alike. For what they report, see [`samples`].
#![no_std]
#![no_main]

extern crate alloc;

mod dormir;
mod embassy;
mod floor;
mod host;
mod load;
mod machine;
mod ping_pong;
mod rounds;
mod samples;
mod stamps;
mod turn;

use alloc::{boxed::Box, format, string::String, vec::Vec};

use self::dormir::{IdlePolicy, Setting};
use ::dormir::platform::bare;
use dormir_guest::{args, console::report};
use load::Load;
use samples::{Measurement, Points, WakePath};

dormir_guest::entry!(main);

fn main() -> Result<(), String> {
    let samples = number("samples", 2000)? as usize;
    let limit_ms = number("limit_ms", 10_000)?;
    let paths = paths()?;
    let policy = args::value("idle").unwrap_or("halt");
    let policy = IdlePolicy::named(policy).ok_or("idle= is one of halt, adaptive, spin")?;
    let load = Load::named(args::value("load").unwrap_or("none"))?;
    machine::start(number("interval_us", 1000)?)?;
    let machine = bare::machine().ok_or("the machine is not set up")?;
    report(&format!("source/{}", machine.timer), 1);
    report("tsc_hz", machine.tsc_hz);

    let by_host = paths.contains(&WakePath::Host);
    let uncertainty = if by_host { host::uncertainty()? } else { 0 };
    let plain = embassy::EmbassyExecutor::new(load);
    let hooked = plain.beside();
    dormir::init();
    let setting = Setting {
        policy,
        load,
        stamps_wakes: false,
    };
    let mut measurements = measurements([&plain, &hooked], setting);
    measurements.retain(|measurement| paths.contains(&measurement.path()));
    measurements.iter_mut().for_each(Measurement::warm_up);
    let block = block(load);
    for turn in 0.. {
        let mut is_done = true;
        for measurement in &mut measurements {
            let remaining = measurement.remaining(samples, limit_ms);
            is_done &= remaining == 0;
            if remaining > 0 && measurement.has_turn(turn) {
                measurement.go_on(block.min(remaining));
            }
        }
        if is_done {
            break;
        }
    }
    if by_host {
        // The offset between the counters may have changed meanwhile.
        let ticks = uncertainty.max(host::uncertainty()?);
        let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(machine.tsc_hz);
        report("host/uncertainty_ns", nanos as u64);
    }
    measurements.iter().for_each(Measurement::report);
    Ok(())
}

/// Returns how many rounds a runtime runs before the next one has its turn. dormir's sleepers are
/// spawned again in each turn, so with them a block is longer.
fn block(load: Load) -> usize {
    match load {
        Load::None | Load::Busy(_) => 50,
        Load::Sleepers(_) => 500,
    }
}

/// Makes a measurement for each runtime and path, the floor first. Stamping wakes delays the polls,
/// so those are separate measurements.
fn measurements<'a>(
    embassy: [&'a embassy::EmbassyExecutor; 2],
    setting: Setting,
) -> Vec<Measurement<'a>> {
    type Block<'a> = Box<dyn FnMut(usize) + 'a>;
    type Floor = fn(usize);
    type Dormir = fn(usize, Setting);
    type Embassy = fn(&embassy::EmbassyExecutor, usize);
    // Busy tasks wake themselves, so the last wake is not that of the measured task.
    let can_stamp_wakes = !setting.load.keeps_awake();
    let mut measurements = Vec::new();
    let mut add = |path, floor: Floor, dormir: Dormir, of_embassy: Embassy| {
        let measurement = |runtime, has_handler, has_wake, block: Block<'a>| {
            let points = Points {
                handler: has_handler && path != WakePath::Task,
                wake: has_wake,
            };
            Measurement::new(path, runtime, points, block)
        };
        let sees_by_itself = path == WakePath::Deadline && !setting.needs_interrupt();
        measurements.push(measurement("floor", true, false, Box::new(floor)));
        for (stamps_wakes, executor) in [false, true].into_iter().zip(embassy) {
            if stamps_wakes && !can_stamp_wakes {
                continue;
            }
            let setting = Setting {
                stamps_wakes,
                ..setting
            };
            let names = match stamps_wakes {
                false => ["dormir", "embassy"],
                true => ["dormir+wake", "embassy+wake"],
            };
            measurements.push(measurement(
                names[0],
                !sees_by_itself,
                stamps_wakes,
                Box::new(move |rounds| dormir(rounds, setting)),
            ));
            measurements.push(measurement(
                names[1],
                true,
                stamps_wakes,
                Box::new(move |rounds| of_embassy(executor, rounds)),
            ));
        }
    };
    add(
        WakePath::Deadline,
        floor::sleep,
        dormir::sleep,
        embassy::EmbassyExecutor::sleep,
    );
    add(
        WakePath::Host,
        floor::sleep_until_host,
        dormir::sleep_until_host,
        embassy::EmbassyExecutor::sleep_until_host,
    );
    add(
        WakePath::Task,
        floor::stamp_twice,
        dormir::ping_pong,
        embassy::EmbassyExecutor::ping_pong,
    );
    measurements
}

/// Returns the paths that the arguments name.
fn paths() -> Result<Vec<WakePath>, String> {
    let names = args::value("paths").unwrap_or("deadline,task").split(',');
    let paths: Option<Vec<WakePath>> = names.map(WakePath::named).collect();
    paths.ok_or_else(|| "paths= is one or more of deadline, host, task, with commas between".into())
}

/// Returns the number after `name=`.
fn number(name: &str, default: u64) -> Result<u64, String> {
    let given = args::value(name).map_or(Ok(default), str::parse);
    given
        .ok()
        .filter(|&number| number > 0)
        .ok_or_else(|| format!("{name}= takes a whole number from 1 on"))
}
