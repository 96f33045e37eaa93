//! Tests of the executor in both its forms: woken from one vCPU, and from any.

mod handlers;
mod loops;
mod nmi;
mod sleepers;

/// Runs a test with one executor of each form.
macro_rules! in_both_forms {
    ($capacity:ident, $test:path) => {{
        use ::dormir::executor::{Executor, Shared, SingleVcpu, $capacity};

        // SAFETY: this guest has one vCPU.
        static ONE: Executor<$capacity, SingleVcpu> = Executor::new(unsafe { SingleVcpu::new() });
        static ANY: Executor<$capacity> = Executor::new(Shared);
        ::dormir_guest::println!("woken from one vCPU");
        $test(&ONE);
        ::dormir_guest::println!("woken from anywhere");
        $test(&ANY);
    }};
}

#[dormir_guest::test]
fn a_handler_spawns() {
    in_both_forms!(Up64, handlers::spawn);
}

#[dormir_guest::test]
fn a_handler_aborts() {
    in_both_forms!(Up64, handlers::abort);
}

#[dormir_guest::test]
fn a_handler_drops_join_handles() {
    in_both_forms!(Up64, handlers::drop_handles);
}

#[dormir_guest::test]
fn run_leaves_all_as_it_was() {
    in_both_forms!(Up64, loops::run_leaves_all_as_it_was);
}

#[dormir_guest::test]
fn in_a_loop_of_ones_own() {
    in_both_forms!(Up64, loops::own_loop);
}

#[dormir_guest::test]
fn no_timer_starves() {
    in_both_forms!(Up4096, loops::self_waking_and_a_sleeper);
}

#[dormir_guest::test]
fn nmis_wake() {
    in_both_forms!(Up64, nmi::wakes);
}
