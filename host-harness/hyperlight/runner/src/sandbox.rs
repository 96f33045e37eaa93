//! Sandboxes with the guest in them.

use std::{
    error::Error,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use dormir_hyperlight_host::{Canceller, Host};
use hyperlight_host::{HyperlightError, Sandbox, SandboxBuilder};

/// Which of the two runners this is.
pub(crate) const MODE: &str = if cfg!(feature = "hw-interrupts") {
    "hyperlight-interrupts"
} else {
    "hyperlight"
};

/// Whether sandboxes have interrupts.
pub(crate) const INTERRUPTS: bool = cfg!(feature = "hw-interrupts");

/// How much later than asked for something may come before a test calls it late: a machine that does other
/// things has guests stand still for the better part of a second.
pub(crate) const MARGIN: Duration = Duration::from_secs(5);

/// How soon a cancelled call ends: ten times what is promised.
pub(crate) const CANCELLED_WITHIN: Duration = Duration::from_millis(500);

/// By how much the guest's clock may differ from the host's in a few seconds: by what its frequency is measured
/// to.
pub(crate) const DRIFT: Duration = Duration::from_millis(1);

/// How a case ended; a failure says what is wrong.
pub(crate) type Check = Result<(), Box<dyn Error>>;

/// The guest program.
pub(crate) struct Guest {
    elf: PathBuf,
}

impl Guest {
    pub(crate) fn new(elf: PathBuf) -> Self {
        Self { elf }
    }

    pub(crate) fn builder(&self) -> SandboxBuilder {
        SandboxBuilder::from_file(&self.elf)
    }

    /// A sandbox without dormir's functions.
    pub(crate) fn bare_sandbox(&self) -> Result<Sandbox, HyperlightError> {
        self.builder().build()
    }

    /// A sandbox with them.
    pub(crate) fn sandbox(&self) -> Result<(Sandbox, Host), Box<dyn Error>> {
        self.sandbox_of(Host::new())
    }

    pub(crate) fn sandbox_of(&self, host: Host) -> Result<(Sandbox, Host), Box<dyn Error>> {
        let mut sandbox = self.bare_sandbox()?;
        host.register(&mut sandbox)?;
        Ok((sandbox, host))
    }
}

/// That `is` holds.
pub(crate) fn check(is: bool, complaint: impl FnOnce() -> String) -> Check {
    if is { Ok(()) } else { Err(complaint().into()) }
}

/// That `result` is an error that says `words`.
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

/// How long the longest task of [`works`] sleeps. Where KVM emulates instructions, spawning takes
/// milliseconds: they would else be over before anyone waits.
const NAP: Duration = Duration::from_millis(20);

/// That tasks sleep and wake in this sandbox, as if nothing had been.
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

/// Runs `call` while the canceller is used after `delay`: what the call gave, and how long after the
/// cancelling it ended.
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
