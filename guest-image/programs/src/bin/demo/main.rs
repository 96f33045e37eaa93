//! The demos; `demo=NAME` chooses one, `demo=list` prints the names.
#![no_std]
#![no_main]

extern crate alloc;

mod advanced;
mod basic;
mod measure;
mod reactor;
mod roles;
mod sleepers;
mod tasks;

use alloc::boxed::Box;
use core::error::Error;

use dormir_guest::{args, println};

dormir_guest::entry!(main);

type DemoResult = Result<(), Box<dyn Error>>;

type Demo = (&'static str, fn() -> DemoResult);

const DEMOS: &[Demo] = &[
    ("basic", basic::napping),
    ("basic-busy", basic::busy),
    ("advanced", advanced::run),
    ("sleepers", sleepers::run),
    ("tasks", tasks::run),
    ("roles", roles::run),
    ("reactor", reactor::run),
];

fn main() -> DemoResult {
    let wanted = args::value("demo").ok_or("missing demo=NAME, or demo=list")?;
    if wanted == "list" {
        DEMOS.iter().for_each(|(name, _)| println!("{name}"));
        return Ok(());
    }
    let found = DEMOS.iter().find(|(name, _)| *name == wanted);
    let (_, demo) = found.ok_or("no such demo; demo=list prints the names")?;
    demo()
}
