//! Tests of wakes from an NMI's handler, which nothing masks.

use alloc::boxed::Box;
use core::{
    future::poll_fn,
    ptr,
    sync::atomic::{AtomicPtr, AtomicU32, Ordering},
    task::{Poll, Waker},
};

use dormir::{
    arch::x86_64::interrupt::InterruptFrame,
    executor::{Cpus, Executor, Up64},
    idle::{Halt, Idle, IdleContext},
    platform::bare,
    tasks,
};
use dormir_guest::set_nmi_handler;
use x86_64::registers::model_specific::Msr;

/// The waker that the handler wakes. A pointer, since the handler must not use a critical section.
static WAKER: AtomicPtr<Waker> = AtomicPtr::new(ptr::null_mut());
static NMIS: AtomicU32 = AtomicU32::new(0);

fn on_nmi(_frame: &InterruptFrame) {
    NMIS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: it is null, or points to a leaked waker.
    if let Some(waker) = unsafe { WAKER.load(Ordering::Acquire).as_ref() } {
        waker.wake_by_ref();
    }
}

/// Sends an NMI to this vCPU. It cannot be masked, so it comes at once.
///
/// (SDM vol. 3, 12.6.1: addressed by APIC ID, since the shorthand "self" does not support NMIs.)
fn send_nmi() {
    const DELIVERY_NMI: u32 = 0b100 << 8;
    const ASSERT: u32 = 1 << 14;
    /// That of the only vCPU.
    const APIC_ID: u32 = 0;
    let apic = bare::machine().and_then(|machine| machine.apic);
    if apic
        .expect("every machine here has a local APIC")
        .is_x2apic()
    {
        let command = u64::from(APIC_ID) << 32 | u64::from(ASSERT | DELIVERY_NMI);
        // SAFETY: the command register exists in x2APIC mode, and NMIs have a handler.
        unsafe { Msr::new(0x830).write(command) };
    } else {
        const COMMAND: *mut u32 = 0xfee0_0300 as *mut u32;
        const DESTINATION: *mut u32 = 0xfee0_0310 as *mut u32;
        // SAFETY: the guest has mapped the local APIC's page.
        unsafe { DESTINATION.write_volatile(APIC_ID << 24) };
        // SAFETY: the same, and NMIs have a handler.
        unsafe { COMMAND.write_volatile(ASSERT | DELIVERY_NMI) };
    }
}

/// Sends an NMI after the last check for ready tasks, which is then out of date.
struct NmiAfterCheck;

impl Idle for NmiAfterCheck {
    fn wait(&mut self, cx: &IdleContext<'_>) {
        let is_idle = || {
            let is_idle = cx.is_idle();
            if is_idle {
                send_nmi();
            }
            is_idle
        };
        Halt.wait(&IdleContext::new(cx.timers(), cx.deadline(), &is_idle));
    }
}

const TIMES: u32 = 100;

tasks! {
    /// Is woken by NMIs: by one during each poll, or, without `amid_polls`, by those that come
    /// while it waits.
    async fn wait_for_nmis(amid_polls: bool), pool = 1 {
        for _ in 0..TIMES {
            let before = NMIS.load(Ordering::Relaxed);
            poll_fn(|cx| {
                if NMIS.load(Ordering::Relaxed) > before {
                    return Poll::Ready(());
                }
                let waker = Box::leak(Box::new(cx.waker().clone()));
                WAKER.store(waker, Ordering::Release);
                if amid_polls {
                    send_nmi();
                }
                Poll::Pending
            })
            .await;
        }
        WAKER.store(ptr::null_mut(), Ordering::Release);
    }
}

/// An NMI's handler wakes a task during its poll, and a task that waits while the vCPU is about to
/// halt, a hundred times each.
pub(super) fn wakes<M: Cpus>(executor: &'static Executor<Up64, M>) {
    // SAFETY: the handler only wakes and counts.
    unsafe { set_nmi_handler(on_nmi) };
    let mut runner = executor.enter().expect("there is no other runner");
    for amid_polls in [true, false] {
        let before = NMIS.load(Ordering::Relaxed);
        let spawned = runner.spawner().spawn_detached(wait_for_nmis(amid_polls));
        spawned.expect("there is room");
        runner.run(NmiAfterCheck);
        // A KVM that emulates instructions sometimes delivers one so late that a second is sent.
        assert!(NMIS.load(Ordering::Relaxed) - before >= TIMES);
    }
}
