//! Cases of the executor in both its forms: woken from one vCPU, and from any.

mod handlers;
mod loops;
mod nmi;
mod sleepers;

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("executor-10000-asleep", sleepers::woken_from_anywhere),
    (
        "executor-10000-asleep-on-one-vcpu",
        sleepers::woken_from_one_vcpu,
    ),
    ("executor-spawn-in-handler", || {
        in_both_forms!(Up64, handlers::spawn);
    }),
    ("executor-abort-in-handler", || {
        in_both_forms!(Up64, handlers::abort);
    }),
    ("executor-handle-dropped-in-handler", || {
        in_both_forms!(Up64, handlers::drop_handles);
    }),
    ("executor-run-leaves-all-as-it-was", || {
        in_both_forms!(Up64, loops::run_leaves_all_as_it_was);
    }),
    ("executor-in-a-loop-of-ones-own", || {
        in_both_forms!(Up64, loops::own_loop);
    }),
    ("executor-starves-no-timer", || {
        in_both_forms!(Up4096, loops::self_waking_and_a_sleeper);
    }),
    ("executor-nmi-wakes", || {
        in_both_forms!(Up64, nmi::wakes);
    }),
];

/// Runs a case with one executor of each form.
macro_rules! in_both_forms {
    ($capacity:ident, $case:path) => {{
        use ::dormir::executor::{Executor, Shared, SingleVcpu, $capacity};

        // SAFETY: this guest has one vCPU.
        static ONE: Executor<$capacity, SingleVcpu> = Executor::new(unsafe { SingleVcpu::new() });
        static ANY: Executor<$capacity> = Executor::new(Shared);
        ::dormir_guest::println!("woken from one vCPU");
        $case(&ONE);
        ::dormir_guest::println!("woken from anywhere");
        $case(&ANY);
    }};
}
use in_both_forms;
