//! The programs whose sizes are compared do their work: they boot, sleep and end.

use dormir_measure::document::sizes::PROGRAMS;
use libtest_mimic::Trial;

use crate::guest::{boot, config, on_every_vmm};

pub(crate) fn trials() -> Vec<Trial> {
    let of_program = |name: &'static str| {
        on_every_vmm(name, move |vmm| {
            boot(name, &config(vmm, ""))?.succeeded()?;
            Ok(())
        })
    };
    PROGRAMS
        .iter()
        .flat_map(|program| of_program(program.name))
        .collect()
}
