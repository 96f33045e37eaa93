//! Every promise of `cargo vm promises` that tests in VMs hold has such tests.

use dormir_harness::cli::filters_in_vms;
use libtest_mimic::Trial;

/// A trial that fails if these have none for a promise.
pub(crate) fn trial(trials: &[Trial]) -> Trial {
    let is_held = |name: &str, ignored: bool| {
        trials
            .iter()
            .any(|trial| trial.name().contains(name) && trial.has_ignored_flag() == ignored)
    };
    let without: Vec<&str> = filters_in_vms()
        .filter(|(_, name, ignored)| !is_held(name, *ignored))
        .map(|(promise, _, _)| promise)
        .collect();
    Trial::test("no-promise-is-without-tests", move || {
        match without.as_slice() {
            [] => Ok(()),
            _ => Err(format!("promises without tests: {without:?}").into()),
        }
    })
}
