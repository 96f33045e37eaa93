//! Long checks, whose extent the caller chooses.

use std::error::Error;

use crate::{
    driven::driven_sandboxes,
    random_calls::random_calls,
    sandbox::{Check, SandboxGuest},
};

/// A check of so many calls or sandboxes, with a seed for what is random. Returns how many there
/// were.
type Soak = fn(&SandboxGuest, u64, u64) -> Result<u64, Box<dyn Error>>;

const SOAKS: &[(&str, Soak)] = &[
    ("random-calls", random_calls),
    ("driven-sandboxes", |guest, count, _| {
        driven_sandboxes(guest, count)
    }),
];

/// Runs the check that `line` names: `NAME:COUNT:SEED`.
pub(crate) fn run(guest: &SandboxGuest, line: &str) -> Check {
    let parts: Vec<&str> = line.split(':').collect();
    let &[name, count, seed] = parts.as_slice() else {
        return Err(format!("`{line}` is no long check: NAME:COUNT:SEED").into());
    };
    let count: u64 = count.parse()?;
    if count == 0 {
        return Err("a count of 0 checks nothing".into());
    }
    let known = SOAKS.iter().find(|(known, _)| *known == name);
    let Some((_, soak)) = known else {
        let names: Vec<_> = SOAKS.iter().map(|(name, _)| *name).collect();
        return Err(format!("there is no long check `{name}`: {}", names.join(", ")).into());
    };
    let done = soak(guest, count, seed.parse()?)?;
    // The harness compares it with what it has asked for.
    println!("done={done}");
    Ok(())
}
