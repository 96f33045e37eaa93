//! Sandboxes that run the guest, and checks of them.

use std::{
    error::Error,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use dormir_hyperlight_host::{Canceller, Host};
use hyperlight_host::{HyperlightError, Sandbox, SandboxBuilder};

/// The mode of this runner.
pub(crate) const MODE: &str = if cfg!(feature = "hw-interrupts") {
    "hyperlight-interrupts"
} else {
    "hyperlight"
};

/// Whether sandboxes have interrupts.
pub(crate) const INTERRUPTS: bool = cfg!(feature = "hw-interrupts");

/// How late something may be before a test fails: on a busy machine guests may stand still for most
/// of a second.
pub(crate) const MARGIN: Duration = Duration::from_secs(5);

/// How soon a cancelled call must end: ten times what is promised.
pub(crate) const CANCELLED_WITHIN: Duration = Duration::from_millis(500);

/// How far the guest's clock may drift from the host's in a few seconds: the accuracy of its
/// measured frequency.
pub(crate) const DRIFT: Duration = Duration::from_millis(1);

/// The result of a case; a failure says what is wrong.
pub(crate) type Check = Result<(), Box<dyn Error>>;

/// The guest program.
pub(crate) struct SandboxGuest {
    elf: PathBuf,
}

impl SandboxGuest {
    pub(crate) fn new(elf: PathBuf) -> Self {
        Self { elf }
    }

    pub(crate) fn builder(&self) -> SandboxBuilder {
        SandboxBuilder::from_file(&self.elf)
    }

    /// Reads the guest's file.
    pub(crate) fn file(&self) -> std::io::Result<Vec<u8>> {
        std::fs::read(&self.elf)
    }

    /// Makes a sandbox without dormir's functions.
    pub(crate) fn bare_sandbox(&self) -> Result<Sandbox, HyperlightError> {
        self.builder().build()
    }

    /// Makes a sandbox with dormir's functions.
    pub(crate) fn sandbox(&self) -> Result<(Sandbox, Host), Box<dyn Error>> {
        self.sandbox_of(Host::new())
    }

    pub(crate) fn sandbox_of(&self, host: Host) -> Result<(Sandbox, Host), Box<dyn Error>> {
        let mut sandbox = self.bare_sandbox()?;
        host.register(&mut sandbox)?;
        Ok((sandbox, host))
    }

    /// Makes a sandbox whose heap can be written to its end (docs/hyperlight.md, "Memory"): for
    /// cases in which it is chance how much of it is.
    pub(crate) fn roomy_sandbox_of(&self, host: Host) -> Result<(Sandbox, Host), Box<dyn Error>> {
        let mut sandbox = self.builder().scratch_size(512 << 10).build()?;
        host.register(&mut sandbox)?;
        Ok((sandbox, host))
    }
}

/// Fails with `message` unless `holds`.
pub(crate) fn check(holds: bool, message: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(message().into()) }
}

/// Checks that `result` is an error whose message contains `words`.
pub(crate) fn says<T: std::fmt::Debug>(
    result: Result<T, HyperlightError>,
    words: &[&str],
) -> Check {
    match result {
        Ok(value) => Err(format!("there was no error but {value:?}").into()),
        Err(error) => {
            let sentence = error.to_string();
            let missing = words.iter().find(|word| !sentence.contains(*word));
            check(missing.is_none(), || {
                format!("the error does not say {missing:?}: {sentence}")
            })
        }
    }
}

/// How long the longest task of [`works`] sleeps. If KVM emulates instructions, spawning takes
/// milliseconds: shorter naps would be over before the guest waits.
const NAP: Duration = Duration::from_millis(20);

/// Checks that tasks sleep and wake in this sandbox as usual.
pub(crate) fn works(sandbox: &mut Sandbox) -> Check {
    let start = Instant::now();
    let elapsed: u64 = sandbox.call("sleepers", (3_u64, NAP.as_micros() as u64))?;
    let (elapsed, by_host) = (Duration::from_nanos(elapsed), start.elapsed());
    check(elapsed >= NAP, || {
        format!("{NAP:?} took {elapsed:?} by the guest's clock")
    })?;
    check((NAP..NAP + MARGIN).contains(&by_host), || {
        format!("{NAP:?} took {by_host:?}")
    })
}

/// Runs `call` and cancels it after `delay`; returns the call's result, and how long after the
/// cancellation it ended.
pub(crate) fn cancelled_after<T>(
    canceller: Canceller,
    delay: Duration,
    call: impl FnOnce() -> T,
) -> (T, Duration) {
    let killer = thread::spawn(move || {
        thread::sleep(delay);
        let cancelled = Instant::now();
        canceller.cancel();
        cancelled
    });
    let result = call();
    let end = Instant::now();
    let cancelled = killer.join().expect("it does not panic");
    (result, end.saturating_duration_since(cancelled))
}
