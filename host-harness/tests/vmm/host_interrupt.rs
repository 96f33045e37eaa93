//! Requests for interrupts from the host: valid ones are answered.

use dormir_harness::vmm::Outcome;

use crate::{
    KVM,
    guests::{REQUEST, ask_for_interrupt},
    outcome,
};

#[test]
fn kvm_reports_the_tsc_at_once() {
    let guest = ask_for_interrupt(REQUEST, 0, 0);
    assert_eq!(outcome(&guest, KVM), Outcome::Exited(0));
}

#[test]
fn kvm_refuses_requests_that_it_cannot_answer() {
    for (address, vector, message) in [
        (REQUEST + 4, 0, "not aligned"),
        (0xffff_fff0, 0, "outside its memory"),
        (REQUEST, 31, "31 is not the vector"),
        (REQUEST, 256, "256 is not the vector"),
        (REQUEST, u64::MAX, "is not the vector"),
    ] {
        match outcome(&ask_for_interrupt(address, vector, 0), KVM) {
            Outcome::Died(reason) => assert!(reason.contains(message), "{reason}"),
            other => panic!("{message}: {other:?}"),
        }
    }
}
