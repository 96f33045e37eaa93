//! Many calls that end in every way, with restores and cancellations in between.

use std::{
    error::Error,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use dormir_hyperlight_host::Host;
use hyperlight_host::{HostFunctions, HyperlightError, Sandbox, SandboxBuilder};
use tokio::runtime::{Builder, Handle};

use crate::{
    Case,
    sandbox::{Check, MARGIN, SandboxGuest, cancelled_after, check},
};

pub(crate) const CASES: &[Case] = &[("random-calls", |guest| {
    random_calls(guest, 1000, 0).map(|_| ())
})];

/// How many calls a guest makes in each round.
const CALLS: u64 = 200;

/// The tasks that have calls in flight when a snapshot is taken, and how many of these calls do not
/// end before it is restored.
const TASKS: u64 = 20;
const HELD: u64 = 3;

/// How many calls a guest begins that is cancelled meanwhile.
const CANCELLED: u64 = 400;

/// What the host's functions share with the case.
#[derive(Clone, Default)]
struct Functions(Arc<FunctionsState>);

#[derive(Default)]
struct FunctionsState {
    /// Whether the function `held` may end.
    are_released: AtomicBool,
    /// The functions' futures that exist.
    running: AtomicUsize,
}

/// Counts a future, with which it is dropped.
struct Counted(Functions);

impl Functions {
    fn counted(&self) -> Counted {
        self.0.running.fetch_add(1, Ordering::SeqCst);
        Counted(self.clone())
    }

    /// Makes a host whose function `random` ends as the number in its argument says, after a random
    /// while.
    fn host(&self, handle: Handle) -> Host {
        let (random, held) = (self.clone(), self.clone());
        Host::new()
            .with_runtime(handle)
            .async_function("random", move |argument| {
                let counted = random.counted();
                async move {
                    let _counted = counted;
                    ends_as_its_number_says(argument).await
                }
            })
            .async_function("held", move |argument| {
                let counted = held.counted();
                async move {
                    while !counted.0.0.are_released.load(Ordering::SeqCst) {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    Ok::<_, &str>(argument)
                }
            })
    }

    /// Waits until no function's future exists: the runtime drops what it runs when it is polled
    /// next.
    fn have_ended(&self) -> Check {
        let start = Instant::now();
        while self.0.running.load(Ordering::SeqCst) > 0 {
            let running = &self.0.running;
            check(start.elapsed() < MARGIN, || format!("{running:?} run"))?;
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Drops the sandbox, and waits until its host holds nothing.
    fn are_gone_with(&self, sandbox: Sandbox, host: &Host) -> Check {
        drop(sandbox);
        self.have_ended()?;
        let start = Instant::now();
        while host.usage().calls > 0 || host.usage().bytes > 0 {
            let usage = host.usage();
            check(start.elapsed() < MARGIN, || format!("{usage:?} is left"))?;
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn ends_as_its_number_says(argument: Vec<u8>) -> Result<Vec<u8>, &'static str> {
    let number: [u8; 8] = argument.try_into().map_err(|_| "that is no number")?;
    let number = u64::from_le_bytes(number);
    if !number.is_multiple_of(3) {
        let micros = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
        tokio::time::sleep(Duration::from_micros(micros % 20_000)).await;
    }
    match number % 16 {
        0 => Err("on purpose"),
        1 => std::panic::resume_unwind(Box::new("on purpose")),
        3 => pending().await,
        _ if number % 61 == 60 => Ok(vec![number as u8; 50_000]),
        _ => Ok(vec![number as u8; (number % 50) as usize]),
    }
}

/// How the calls of the guest's tasks ended.
#[derive(Default)]
struct Ends {
    lost: u64,
    own: u64,
}

impl Ends {
    /// Those of the tasks since the last time.
    fn of(sandbox: &mut Sandbox) -> Result<Self, HyperlightError> {
        let word: u64 = sandbox.call("random_ends", ())?;
        Ok(Self {
            lost: word >> 32,
            own: word & u64::from(u32::MAX),
        })
    }
}

/// Polls until no task waits for the host.
fn poll_to_the_end(sandbox: &mut Sandbox) -> Check {
    let start = Instant::now();
    while sandbox.call::<bool>("poll_calls", ())? {
        check(start.elapsed() < MARGIN, || "the calls do not end".into())?;
    }
    Ok(())
}

/// Restores a snapshot of a guest whose tasks have calls in flight. If `goes_on`, the guest goes on
/// before that, so that they are lost; else it is restored as it is, and none is.
fn restored(
    sandbox: &mut Sandbox,
    functions: &Functions,
    (seed, first): (u64, u64),
    goes_on: bool,
) -> Result<Ends, Box<dyn Error>> {
    functions.0.are_released.store(false, Ordering::SeqCst);
    let tasks: u64 = sandbox.call("spawn_random_calls", (seed, first, TASKS, HELD))?;
    check(tasks == TASKS + HELD, || format!("{tasks} tasks"))?;
    sandbox.call::<bool>("poll_calls", ())?;
    let snapshot = sandbox.snapshot()?;
    if goes_on {
        sandbox.call::<bool>("poll_calls", ())?;
    }
    sandbox.restore(snapshot)?;
    functions.0.are_released.store(true, Ordering::SeqCst);
    poll_to_the_end(sandbox)?;
    let ends = Ends::of(sandbox)?;
    check(ends.own + ends.lost == tasks, || {
        format!("of {tasks} calls {} ended, {} lost", ends.own, ends.lost)
    })?;
    let is_right = if goes_on {
        ends.lost >= HELD
    } else {
        ends.lost == 0
    };
    check(is_right, || {
        format!("{} calls were lost, restored: {goes_on}", ends.lost)
    })?;
    Ok(ends)
}

/// Cancels a guest at a random instant while it makes calls. Returns whether it was still making
/// them.
fn cancelled(
    (sandbox, host): (&mut Sandbox, &Host),
    functions: &Functions,
    (seed, first): (u64, u64),
) -> Result<bool, Box<dyn Error>> {
    let random = (seed ^ first)
        .wrapping_add(1)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        >> 32;
    let delay = Duration::from_micros(random % 500_000);
    let canceller = host.canceller(sandbox);
    let calls = || sandbox.call::<u64>("random_calls", (seed, first, CANCELLED));
    match cancelled_after(canceller, delay, calls).0 {
        Err(HyperlightError::ExecutionCanceledByHost()) => {}
        Err(error) => return Err(format!("cancelled after {delay:?}: {error}").into()),
        Ok(good) => {
            check(good == CANCELLED, || format!("{good} of {CANCELLED}"))?;
            return Ok(false);
        }
    }
    functions.have_ended()?;
    Ok(true)
}

/// Makes `calls` calls that `seed` selects. Each ends once, with its own result, or as lost by a
/// restore or a cancellation that was real. Returns how many were made.
pub(crate) fn random_calls(
    guest: &SandboxGuest,
    calls: u64,
    seed: u64,
) -> Result<u64, Box<dyn Error>> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()?;
    let functions = Functions::default();
    let mut host = functions.host(runtime.handle().clone());
    let builder = guest.builder().scratch_size(32 << 20).heap_size(8 << 20);
    let mut sandbox = builder.build()?;
    host.register(&mut sandbox)?;
    let start = Instant::now();
    let (mut first, mut ended, mut cancellations) = (0, Ends::default(), 0);
    for round in 0.. {
        let count = CALLS.min(calls - first);
        let good: u64 = sandbox.call("random_calls", (seed, first, count))?;
        check(good == count, || format!("{good} of {count} were good"))?;
        let ends = restored(&mut sandbox, &functions, (seed, first), round % 2 == 0)?;
        ended.own += ends.own;
        ended.lost += ends.lost;
        let snapshot = sandbox.snapshot()?;
        if cancelled((&mut sandbox, &host), &functions, (seed, first))? {
            cancellations += 1;
            // A restore does not revive a sandbox with interrupts whose guest halted.
            functions.are_gone_with(sandbox, &host)?;
            host = functions.host(runtime.handle().clone());
            let mut of_host = HostFunctions::default();
            host.register(&mut of_host)?;
            let builder = SandboxBuilder::from_snapshot(snapshot).host_functions(of_host);
            sandbox = builder.build()?;
        }
        first += count;
        if round % 10 == 9 || first == calls {
            let elapsed = start.elapsed().as_secs();
            println!(
                "{first} calls ended as they should in {elapsed} s; beside them {} by tasks, {} \
                 lost by restores; {cancellations} cancellations",
                ended.own, ended.lost
            );
        }
        if first == calls {
            break;
        }
    }
    check(cancellations > 0, || "no call was cancelled".into())?;
    functions.are_gone_with(sandbox, &host)?;
    Ok(first)
}
