//! The measurement of host calls. Each line of output is one figure:
//! `host_call/WHAT/SANDBOXES/IN_FLIGHT/BYTES CALLS NANOSECONDS EXITS P50 P99`, the last two of the
//! times of single calls, in nanoseconds.

use std::{
    convert::Infallible,
    error::Error,
    mem, thread,
    time::{Duration, Instant},
};

use dormir_hyperlight_host::Host;
use dormir_hyperlight_protocol::Reply;
use hyperlight_host::{HyperlightError, Sandbox, func::Registerable};
use tokio::runtime::{Builder, Runtime};

use crate::{
    bad_input::batch_of,
    driven::drive,
    exits,
    sandbox::{Check, SandboxGuest, check},
};

/// The measurements' names: of small results, and of large ones.
pub(crate) const SMALL: &str = "host-calls";
pub(crate) const LARGE: &str = "large-host-calls";

/// How long each function takes.
const SLOW: Duration = Duration::from_millis(50);

/// The bytes of small and of large results.
const FEW: u64 = 8;
const MANY: u64 = 40 << 10;

/// How many calls are in flight. A thousand large results would take minutes.
const IN_FLIGHT: &[u64] = &[1, 10, 100, 1000];
const IN_FLIGHT_LARGE: &[u64] = &[1, 10, 100];

/// The linger that is measured besides the default.
const LINGER: Duration = Duration::from_millis(5);

/// The sandboxes that are polled, on two threads, and the calls in flight in each.
const POLLED: &[(usize, u64)] = &[(1, 1), (1, 10), (1, 100), (20, 10)];

/// The guest's budget for results: a hundred large ones.
const BUDGET: u64 = 100 * MANY;

/// The extent of the measurement: of each figure, how many rounds at most, and the time after which
/// no other round begins.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) rounds: u32,
    pub(crate) limit: Duration,
}

/// One figure: what is measured, in how many sandboxes, the calls in flight in each, and the bytes
/// of a result.
struct Load {
    what: &'static str,
    sandboxes: usize,
    in_flight: u64,
    bytes: u64,
}

impl Load {
    const fn new(what: &'static str, in_flight: u64, bytes: u64) -> Self {
        Self {
            what,
            sandboxes: 1,
            in_flight,
            bytes,
        }
    }

    /// The calls of a round in each sandbox: for each that is in flight some that follow it, unless
    /// that would take too long.
    fn calls(&self) -> u64 {
        let each = match (self.bytes, self.in_flight) {
            (_, 1) => 5,
            (MANY, _) => 1,
            (_, 1000) => 2,
            _ => 5,
        };
        self.in_flight * each
    }
}

/// What the rounds of a figure came to.
#[derive(Default)]
struct Sum {
    calls: u64,
    elapsed: Duration,
    exits: u64,
    /// The times of single calls; of many, some.
    times: Vec<Duration>,
}

impl Sum {
    /// Does `work`, in which there are `calls` calls.
    fn add<T>(
        &mut self,
        calls: u64,
        work: impl FnOnce() -> Result<T, Box<dyn Error>>,
    ) -> Result<T, Box<dyn Error>> {
        let (start, before) = (Instant::now(), exits::so_far());
        let result = work()?;
        self.elapsed += start.elapsed();
        self.exits += exits::so_far() - before;
        self.calls += calls;
        Ok(result)
    }

    /// Does the same by a call of a guest function, whose return is no exit of the calls in it.
    fn add_calls_in(
        &mut self,
        calls: u64,
        call: impl FnOnce() -> Result<(), HyperlightError>,
    ) -> Check {
        self.add(calls, || Ok(call()?))?;
        self.exits -= 1;
        Ok(())
    }

    /// Takes the times that the guest has noted, in ticks of this frequency.
    fn take_times(&mut self, sandbox: &mut Sandbox, tsc_hz: u64) -> Check {
        let words: Vec<u8> = sandbox.call("take_times", ())?;
        let ticks = words.as_chunks::<8>().0.iter().copied();
        let nanos = ticks.map(|word| {
            let nanos = u128::from(u64::from_le_bytes(word)) * 1_000_000_000 / u128::from(tsc_hz);
            Duration::from_nanos(nanos as u64)
        });
        self.times.extend(nanos);
        Ok(())
    }

    fn print(mut self, load: &Load) -> Check {
        self.times.sort_unstable();
        let last = self.times.len().checked_sub(1).ok_or("no call was timed")?;
        let quantile = |percent: usize| self.times[last * percent / 100].as_nanos();
        println!(
            "host_call/{}/{}/{}/{} {} {} {} {} {}",
            load.what,
            load.sandboxes,
            load.in_flight,
            load.bytes,
            self.calls,
            self.elapsed.as_nanos(),
            self.exits,
            quantile(50),
            quantile(99)
        );
        Ok(())
    }
}

/// Runs the measurement of this name.
pub(crate) fn run(guest: &SandboxGuest, name: &str, extent: Extent) -> Check {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()?;
    let bench = Bench {
        guest,
        runtime,
        extent,
        tsc_hz: tsc_hz(guest)?,
    };
    if name == LARGE {
        return bench.waiting(MANY, IN_FLIGHT_LARGE);
    }
    bench.functions()?;
    bench.waiting(FEW, IN_FLIGHT)?;
    bench.lingering()?;
    bench.polled()
}

/// What the figures have in common.
struct Bench<'a> {
    guest: &'a SandboxGuest,
    /// Of the host's functions, and of guests that are polled.
    runtime: Runtime,
    extent: Extent,
    tsc_hz: u64,
}

/// Returns the frequency of the time-stamp counter, from a reply to a sandbox of its own: the next
/// batch of the guest's library does not follow this one.
fn tsc_hz(guest: &SandboxGuest) -> Result<u64, Box<dyn Error>> {
    let (mut sandbox, _host) = guest.sandbox()?;
    let reply: Vec<u8> = sandbox.call("exchanges", batch_of(0))?;
    Ok(Reply::parse(&reply).ok_or("no reply")?.header.tsc_hz)
}

impl Bench<'_> {
    /// Measures one figure by rounds that add to the sum.
    fn measure(&self, load: &Load, mut round: impl FnMut(&mut Sum) -> Check) -> Check {
        // Rounds of large results take so long that what is first in them does not count. And who
        // asks for a single round wants to know whether all works.
        if load.bytes != MANY && self.extent.rounds > 1 {
            round(&mut Sum::default())?;
        }
        let (start, mut sum) = (Instant::now(), Sum::default());
        for _ in 0..self.extent.rounds {
            round(&mut sum)?;
            if start.elapsed() >= self.extent.limit {
                break;
            }
        }
        sum.print(load)
    }

    /// A host whose function `slow` returns as many bytes as its argument says.
    fn host(&self) -> Host {
        Host::new()
            .with_runtime(self.runtime.handle().clone())
            .async_function("slow", |length| async move {
                tokio::time::sleep(SLOW).await;
                let length = length.try_into().map_or(0, u64::from_le_bytes);
                Ok::<_, Infallible>(vec![7; length as usize])
            })
    }

    /// A sandbox with memory for a thousand calls in flight and for large results, and its host.
    fn sandbox(&self, host: Host) -> Result<(Sandbox, Host), Box<dyn Error>> {
        let builder = self.guest.builder();
        let mut sandbox = builder.scratch_size(32 << 20).heap_size(16 << 20).build()?;
        host.register(&mut sandbox)?;
        sandbox.call::<String>("large_result", (BUDGET, 0_u64))?;
        Ok((sandbox, host))
    }

    /// Calls of guest functions that use neither time nor the host, without the executor and with.
    fn functions(&self) -> Check {
        let (mut sandbox, _host) = self.sandbox(self.host())?;
        for (what, function) in [("function", "plain"), ("function-block_on", "answer")] {
            self.measure(&Load::new(what, 0, 0), |sum| {
                for _ in 0..10 {
                    let before = sum.elapsed;
                    sum.add(1, || Ok(sandbox.call::<i32>(function, ())?))?;
                    sum.times.push(sum.elapsed - before);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Calls of a guest whose thread waits for them: of a plain host function, and of an async one.
    fn waiting(&self, bytes: u64, in_flight: &[u64]) -> Check {
        let (mut sandbox, _host) = self.sandbox(self.host())?;
        sandbox.register_host_function("plain_slow", |length: u64| {
            thread::sleep(SLOW);
            vec![7_u8; length as usize]
        })?;
        let load = Load::new("plain", 1, bytes);
        let arguments = (load.calls(), bytes);
        self.measure(&load, |sum| {
            sum.add_calls_in(load.calls(), || {
                sandbox.call("timed_plain_calls", arguments)
            })?;
            sum.take_times(&mut sandbox, self.tsc_hz)
        })?;
        in_flight.iter().try_for_each(|in_flight| {
            self.in_flight(&mut sandbox, &Load::new("async", *in_flight, bytes))
        })
    }

    fn in_flight(&self, sandbox: &mut Sandbox, load: &Load) -> Check {
        let arguments = (load.calls(), load.in_flight, load.bytes);
        self.measure(load, |sum| {
            sum.add_calls_in(load.calls(), || sandbox.call("timed_calls", arguments))?;
            sum.take_times(sandbox, self.tsc_hz)
        })
    }

    fn lingering(&self) -> Check {
        let host = self.host().with_linger(LINGER);
        let (mut sandbox, _host) = self.sandbox(host)?;
        self.in_flight(&mut sandbox, &Load::new("async-linger-5ms", 10, FEW))
    }

    /// Calls of guests that are polled when there is something for them, and hold no thread
    /// meanwhile: of one, and of many.
    fn polled(&self) -> Check {
        for (count, in_flight) in POLLED {
            let load = Load {
                sandboxes: *count,
                ..Load::new("poll_once", *in_flight, FEW)
            };
            let sandboxes = (0..*count).map(|_| self.sandbox(self.host()));
            let mut sandboxes: Vec<_> = sandboxes.collect::<Result<_, _>>()?;
            let tasks = (load.in_flight, load.calls() / load.in_flight, load.bytes);
            let calls = load.calls() * *count as u64;
            self.measure(&load, |sum| {
                for (sandbox, _) in &mut sandboxes {
                    let spawned: bool = sandbox.call("spawn_timed_calls", tasks)?;
                    check(spawned, || "there is no room for the tasks".into())?;
                }
                let waiting = mem::take(&mut sandboxes);
                sandboxes = sum.add(calls, || drive(&self.runtime, waiting))?;
                let mut each = sandboxes.iter_mut();
                each.try_for_each(|(sandbox, _)| sum.take_times(sandbox, self.tsc_hz))
            })?;
        }
        Ok(())
    }
}
