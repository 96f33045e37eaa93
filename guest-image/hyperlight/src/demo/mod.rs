//! The demos as guest functions: counterparts of those in `guest-image/programs`.

mod advanced;
mod basic;
mod fetch;
mod roles;
mod sleepers;
mod tasks;

use alloc::{string::String, vec::Vec};

use hyperlight_guest::{
    bail,
    error::{HyperlightGuestError, Result},
};
use hyperlight_guest_bin::guest_function;

/// Prints a line on the host's standard output.
macro_rules! println {
    ($($words:tt)*) => {{
        let line = alloc::format!("{}\n", format_args!($($words)*));
        hyperlight_guest_bin::host_comm::call_host::<i32>("HostPrint", (line,))
            .expect("a sandbox has HostPrint unless the host takes it away");
    }};
}
use println;

type Demo = (&'static str, fn() -> Result<()>);

const DEMOS: &[Demo] = &[
    ("basic", basic::run),
    ("advanced", advanced::run),
    ("sleepers", sleepers::run),
    ("tasks", tasks::run),
    ("roles", roles::run),
    ("fetch", fetch::run),
];

/// Returns the names of the demos, separated by spaces.
#[guest_function]
fn demos() -> String {
    let names: Vec<_> = DEMOS.iter().map(|(name, _)| *name).collect();
    names.join(" ")
}

/// Runs the demo `name`.
#[guest_function]
fn demo(name: String) -> core::result::Result<(), HyperlightGuestError> {
    match DEMOS.iter().find(|(demo, _)| *demo == name) {
        Some((_, run)) => run(),
        None => bail!("there is no demo `{name}`: `demos` names them"),
    }
}
