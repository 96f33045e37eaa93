//! Mistakes of a driver that the sweep must catch, made from the outside: at what the driver calls.
//!
//! A fence that is left out cannot be caught here: a vCPU sees its own handlers' stores in order. It
//! takes a device on another processor.

use spin::Once;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// The interrupt is acknowledged at the device after the look into the ring. An answer in
    /// between does not raise the line, which is still high.
    AcknowledgesAfterTheLook,
    /// The look that follows listening is left out: what comes between an earlier look and
    /// listening was neither seen nor heard.
    NoLookAfterListening,
}

static MUTANT: Once<Option<Mutant>> = Once::new();

/// Stores which mistake is made.
pub(crate) fn choose(name: Option<&str>) -> Result<(), &'static str> {
    let mutant = match name {
        None => None,
        Some("acknowledges-after-the-look") => Some(Mutant::AcknowledgesAfterTheLook),
        Some("no-look-after-listening") => Some(Mutant::NoLookAfterListening),
        Some(_) => return Err("no such mutant"),
    };
    MUTANT.call_once(|| mutant);
    Ok(())
}

pub(crate) fn is(mutant: Mutant) -> bool {
    MUTANT.get() == Some(&Some(mutant))
}
