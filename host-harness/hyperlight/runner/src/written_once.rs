//! The case of what a guest without Hyperlight does too, by the same code on both sides.

use dormir_hyperlight_host::Host;

use crate::{
    Case,
    sandbox::{Check, SandboxGuest, check},
};

#[path = "../../../../tests/vm/host_calls/functions.rs"]
mod functions;

pub(crate) const CASES: &[Case] = &[("written-once", written_once)];

fn written_once(guest: &SandboxGuest) -> Check {
    let host = functions::add(Host::new());
    // The streams of the default size leave no memory for the rest.
    let builder = guest.builder().heap_size(1 << 20).scratch_size(2 << 20);
    let mut sandbox = builder.build()?;
    host.register(&mut sandbox)?;
    let came: String = sandbox.call("written_once", ())?;
    check(came == functions::EXPECTED, || came)
}
