//! Cases of errors: each reports what is wrong, and the next call in a restored or new sandbox
//! works.

use std::{
    error::Error,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::{Duration, Instant},
};

use dormir_hyperlight_host::{Host, Mode, RegisterError};
use dormir_hyperlight_protocol::{Batch, BatchHeader, Flags, Reply, ReplyHeader, ReplyStatus};
use hyperlight_host::{
    HostFunctions, HyperlightError, Sandbox, SandboxBuilder, func::Registerable,
};

use crate::{
    Case,
    sandbox::{
        CANCELLED_WITHIN, Check, INTERRUPTS, MARGIN, SandboxGuest, cancelled_after, check, says,
        works,
    },
};

pub(crate) const CASES: &[Case] = &[
    ("cancelled-wait", cancelled_wait),
    ("cancelled-before-its-call", cancelled_before_its_call),
    ("cancelled-at-any-time", cancelled_at_any_time),
    ("never-returns", never_returns),
    ("guest-panics", guest_panics),
    ("deadline-too-far", deadline_too_far),
    ("untrusted-waits", untrusted_waits),
    ("nothing-to-wait-for", nothing_to_wait_for),
    ("runs-tasks-in-a-task", runs_tasks_in_a_task),
    ("registered-twice", registered_twice),
    ("not-registered", not_registered),
    ("answers-nonsense", answers_nonsense),
    ("no-interrupts", no_interrupts),
    ("too-many-boxed-tasks", too_many_boxed_tasks),
    ("host-function-panics", host_function_panics),
];

/// Checks that `call` poisons the sandbox with an error that contains `words`, and that a restore
/// repairs it.
fn poisons(
    sandbox: &mut Sandbox,
    words: &[&str],
    call: impl FnOnce(&mut Sandbox) -> Result<i32, HyperlightError>,
) -> Check {
    let snapshot = sandbox.snapshot()?;
    let result = call(sandbox);
    says(result, words)?;
    check(sandbox.status().is_poisoned(), || {
        "it is not poisoned".into()
    })?;
    sandbox.restore(snapshot)?;
    works(sandbox)
}

/// Waits of 10 s that are cancelled after 100 ms: each ends early, and the fastest within the
/// limit.
fn cancelled_wait(guest: &SandboxGuest) -> Check {
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        let took = cancel_a_wait(guest)?;
        println!("a call ended {took:?} after it was cancelled");
        check(took < LONG_WAIT / 2, || format!("it went on for {took:?}"))?;
        fastest = fastest.min(took);
    }
    check(fastest < CANCELLED_WITHIN, || {
        format!("the fastest ended {fastest:?} after it was cancelled")
    })
}

const LONG_WAIT: Duration = Duration::from_secs(10);

/// Returns how long after its cancellation the call ended.
fn cancel_a_wait(guest: &SandboxGuest) -> Result<Duration, Box<dyn Error>> {
    let (mut sandbox, host) = guest.sandbox()?;
    works(&mut sandbox)?;
    let snapshot = sandbox.snapshot()?;
    let canceller = host.canceller(&sandbox);
    let long = || sandbox.call::<u64>("overslept", LONG_WAIT.as_micros() as u64);
    let (result, took) = cancelled_after(canceller, Duration::from_millis(100), long);
    says(result, &["cancelled"])?;
    check(sandbox.status().is_poisoned(), || {
        "it is not poisoned".into()
    })?;
    if INTERRUPTS {
        // After a restore Hyperlight 0.18 leaves the processor halted, with interrupts masked.
        let mut functions = HostFunctions::default();
        let host = Host::new();
        host.register(&mut functions)?;
        let builder = SandboxBuilder::from_snapshot(snapshot).host_functions(functions);
        works(&mut builder.build()?)?;
        return Ok(took);
    }
    sandbox.restore(snapshot)?;
    works(&mut sandbox)?;
    Ok(took)
}

/// A cancellation before or after a call does not affect it.
fn cancelled_before_its_call(guest: &SandboxGuest) -> Check {
    let (mut sandbox, host) = guest.sandbox()?;
    let canceller = host.canceller(&sandbox);
    for _ in 0..3 {
        canceller.cancel();
        works(&mut sandbox)?;
    }
    Ok(())
}

/// Whenever the cancellation comes, in the guest, in its wait, in between or too late, the call
/// ends in one of two ways, and the next one works.
fn cancelled_at_any_time(guest: &SandboxGuest) -> Check {
    // (With interrupts, a restore may leave the processor halted: see `cancelled_wait`.)
    let host = Host::new().with_mode(Mode::HostWait)?;
    let (mut sandbox, host) = guest.sandbox_of(host)?;
    works(&mut sandbox)?;
    let snapshot = sandbox.snapshot()?;
    let (mut cancelled, mut ended) = (0, 0);
    for round in 0..60 {
        let canceller = host.canceller(&sandbox);
        let delay = Duration::from_micros(round * 1500);
        let nap = || sandbox.call::<u64>("overslept", 20_000_u64);
        match cancelled_after(canceller, delay, nap).0 {
            Err(HyperlightError::ExecutionCanceledByHost()) => {
                cancelled += 1;
                sandbox.restore(snapshot.clone())?;
            }
            Ok(_) => ended += 1,
            Err(error) => return Err(format!("cancelled after {delay:?}: {error}").into()),
        }
        works(&mut sandbox)?;
    }
    println!("{cancelled} calls were cancelled, {ended} completed");
    check(cancelled > 0, || "no call was cancelled".into())
}

/// A call that never returns is cancelled.
fn never_returns(guest: &SandboxGuest) -> Check {
    let (mut sandbox, host) = guest.sandbox()?;
    let canceller = host.canceller(&sandbox);
    poisons(&mut sandbox, &["cancelled"], |sandbox| {
        let spin = || sandbox.call::<i32>("spin", ());
        cancelled_after(canceller, Duration::from_millis(100), spin).0
    })
}

fn guest_panics(guest: &SandboxGuest) -> Check {
    let (mut sandbox, _host) = guest.sandbox()?;
    poisons(&mut sandbox, &["on purpose"], |sandbox| {
        sandbox.call("panics", ())
    })
}

fn deadline_too_far(guest: &SandboxGuest) -> Check {
    let host = Host::new().with_longest_wait(Duration::from_secs(5));
    let (mut sandbox, _host) = guest.sandbox_of(host)?;
    // The last value is not a deadline: it never comes.
    for (nanos, words) in [
        (u64::MAX - 1, ["5s", "with_longest_wait"]),
        (10_000_000_000, ["5s", "with_longest_wait"]),
        (u64::MAX, ["no timer is set", "never end"]),
    ] {
        let start = Instant::now();
        says(sandbox.call::<i32>("sleeps_for_ever", nanos), &words)?;
        check(start.elapsed() < MARGIN, || "it waited".into())?;
        works(&mut sandbox)?;
    }
    Ok(())
}

/// A batch without records, in a form that the guest's library does not write.
pub(crate) fn batch_of(wait: u64) -> Vec<u8> {
    let header = BatchHeader {
        flags: Flags::default(),
        generation: 0,
        number: 1,
        wait,
        room: 0,
        digest: 0,
    };
    header.to_bytes().to_vec()
}

/// The host enforces its limit itself.
fn untrusted_waits(guest: &SandboxGuest) -> Check {
    let host = Host::new().with_longest_wait(Duration::from_secs(5));
    let (mut sandbox, _host) = guest.sandbox_of(host)?;
    for nanos in [u64::MAX, u64::MAX - 1, 1 << 63, 5_000_000_001] {
        let start = Instant::now();
        let reply: Vec<u8> = sandbox.call("exchanges", batch_of(nanos))?;
        check(start.elapsed() < MARGIN, || "it waited".into())?;
        let status = Reply::parse(&reply).map(|reply| reply.header.status);
        check(status == Some(ReplyStatus::TooLong), || {
            format!("{nanos} ns were answered by {status:?}")
        })?;
    }
    works(&mut sandbox)
}

fn nothing_to_wait_for(guest: &SandboxGuest) -> Check {
    let (mut sandbox, _host) = guest.sandbox()?;
    let result = sandbox.call::<i32>("waits_for_nothing", ());
    says(result, &["never end", "poll_once"])?;
    works(&mut sandbox)
}

fn runs_tasks_in_a_task(guest: &SandboxGuest) -> Check {
    let (mut sandbox, _host) = guest.sandbox()?;
    for nested in ["nested", "nested_poll"] {
        says(sandbox.call::<i32>(nested, ()), &["already runs tasks"])?;
        works(&mut sandbox)?;
    }
    Ok(())
}

fn registered_twice(guest: &SandboxGuest) -> Check {
    // The wait shows whose functions the sandbox has.
    let host = Host::new().with_mode(Mode::HostWait)?;
    let (mut sandbox, host) = guest.sandbox_of(host)?;
    let again = host.register(&mut sandbox);
    check(matches!(again, Err(RegisterError::InUse)), || {
        format!("the same Host once more: {again:?}")
    })?;
    let another = Host::new().register(&mut sandbox);
    check(
        matches!(another, Err(RegisterError::AlreadyRegistered)),
        || format!("another Host: {another:?}"),
    )?;
    works(&mut sandbox)?;
    // It waits in the first one's mode, not in that of the other, which may have interrupts.
    sandbox.call::<u64>("overslept", 1_000_000_u64)?;
    let ticks: u64 = sandbox.call("ticks", ())?;
    check(ticks == 0, || format!("{ticks} ticks"))?;
    // The first one's canceller still works.
    let canceller = host.canceller(&sandbox);
    let long = || sandbox.call::<u64>("overslept", 10_000_000_u64);
    let (result, took) = cancelled_after(canceller, Duration::from_millis(100), long);
    says(result, &["cancelled"])?;
    check(took < MARGIN, || format!("it ended {took:?} later"))
}

fn not_registered(guest: &SandboxGuest) -> Check {
    let mut sandbox = guest.bare_sandbox()?;
    let words = ["dormir_wait", "dormir-hyperlight-host", "register"];
    // A call that uses no time needs no host.
    let answer: i32 = sandbox.call("answer", ())?;
    check(answer == 42, || format!("the answer is {answer}"))?;
    check(sandbox.call::<bool>("spawn_nap", 1_u64)?, || {
        "no room".into()
    })?;
    for function in ["clock", "poll"] {
        says(sandbox.call::<u64>(function, ()), &words)?;
        check(sandbox.status().is_ready(), || "it is poisoned".into())?;
    }
    Host::new().register(&mut sandbox)?;
    works(&mut sandbox)
}

/// Host functions that are not from this version of dormir-hyperlight-host.
fn answers_nonsense(guest: &SandboxGuest) -> Check {
    for nonsense in [vec![], vec![0; 64], vec![0xff; 64], vec![1; 65]] {
        let mut sandbox = guest.bare_sandbox()?;
        let answer = move |_: Vec<u8>| nonsense.clone();
        sandbox.register_host_function("dormir_wait", answer)?;
        let words = ["dormir_wait", "same version"];
        says(sandbox.call::<u64>("clock", ()), &words)?;
        check(sandbox.status().is_ready(), || "it is poisoned".into())?;
        Host::new().register(&mut sandbox)?;
        works(&mut sandbox)?;
    }
    Ok(())
}

/// The mode with interrupts is refused if there are none. A guest that is misinformed about it
/// poisons its sandbox, with an error that names the cause, but not permanently.
fn no_interrupts(guest: &SandboxGuest) -> Check {
    let asked = Host::new().with_mode(Mode::Interrupts);
    if INTERRUPTS {
        let (mut sandbox, _host) = guest.sandbox_of(asked?)?;
        return works(&mut sandbox);
    }
    let refused = asked
        .err()
        .ok_or("a mode that the build lacks was accepted")?;
    check(refused.to_string().contains("hw-interrupts"), || {
        format!("the error does not name the feature: {refused}")
    })?;

    let mut sandbox = guest.bare_sandbox()?;
    let lies = |batch: Vec<u8>| {
        let number = Batch::parse(&batch).map_or(0, |batch| batch.header.number);
        let header = ReplyHeader {
            status: ReplyStatus::Done,
            interrupts: true,
            generation: 5,
            number,
            now: 0,
            tsc_hz: 1_000_000_000,
            longest_wait: u64::MAX,
        };
        header.to_bytes().to_vec()
    };
    sandbox.register_host_function("dormir_wait", lies)?;
    let snapshot = sandbox.snapshot()?;
    // Long enough that the guest waits, however slow it is.
    let lied_to = sandbox.call::<u64>("overslept", 60_000_000_u64);
    says(lied_to, &["port"])?;
    check(sandbox.status().is_poisoned(), || {
        "it is not poisoned".into()
    })?;
    sandbox.restore(snapshot)?;
    thread::sleep(Duration::from_millis(1));
    Host::new().register(&mut sandbox)?;
    works(&mut sandbox)
}

/// What docs/hyperlight.md says about memory: how many tasks fit, the error if more do not, and
/// what helps.
fn too_many_boxed_tasks(guest: &SandboxGuest) -> Check {
    let boxed = |builder: SandboxBuilder, tasks: u64| -> Result<(), Box<dyn Error>> {
        let mut sandbox = builder.build()?;
        Host::new().register(&mut sandbox)?;
        let kept: u64 = sandbox.call("boxed_sleepers", (tasks, 20_000_u64))?;
        check(kept == tasks, || {
            format!("{kept} of {tasks} kept their bytes")
        })
    };
    // Not as many as fit: the guest's data may lie in one page more or less.
    boxed(guest.builder(), 48)?;
    let too_many = boxed(guest.builder(), 100).map_err(|error| error.to_string());
    let sentence = too_many.err().ok_or("100 fit too")?;
    check(sentence.contains("Out of physical memory"), || sentence)?;
    boxed(
        guest.builder().scratch_size(4 << 20).heap_size(2 << 20),
        1000,
    )
}

/// A host function that panics leaves Hyperlight's lock poisoned: a restore does not help, a new
/// sandbox does. One that returns an error poisons nothing.
fn host_function_panics(guest: &SandboxGuest) -> Check {
    let (mut sandbox, _host) = guest.sandbox()?;
    let snapshot = sandbox.snapshot()?;
    let fails = || -> Result<u64, HyperlightError> { Err(HyperlightError::Error("no".into())) };
    sandbox.register_host_function("of_the_user", fails)?;
    says(sandbox.call::<u64>("calls_the_host", ()), &["no"])?;
    works(&mut sandbox)?;

    let panics = || -> Result<u64, HyperlightError> { panic!("on purpose") };
    let (mut sandbox, _host) = guest.sandbox()?;
    sandbox.register_host_function("of_the_user", panics)?;
    let call = AssertUnwindSafe(|| sandbox.call::<u64>("calls_the_host", ()));
    check(catch_unwind(call).is_err(), || "the panic was kept".into())?;
    says(sandbox.restore(snapshot.clone()), &["poisoned lock"])?;

    let mut functions = HostFunctions::default();
    let host = Host::new();
    host.register(&mut functions)?;
    let builder = SandboxBuilder::from_snapshot(snapshot).host_functions(functions);
    works(&mut builder.build()?)
}
