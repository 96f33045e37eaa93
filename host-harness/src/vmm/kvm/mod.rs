//! Our own VMM: one vCPU on `/dev/kvm`, entered in 64-bit mode, with the few devices of
//! [`dormir_abi::port`].
//!
//! Each guest has a process of its own, the `worker`, which can do no more than its guest needs.
//! This process gives it what it prepared (`launch`), reads its guest's console, and ends it at
//! the time limit. It takes nothing for granted of what the worker says: a guest may have broken
//! out into it.

mod boot;
mod bus;
mod conversation;
mod cpu;
mod decode;
mod devices;
mod ending;
mod event;
mod exits;
mod gdb;
mod host_interrupt;
mod launch;
mod machine;
mod message;
mod outlet;
mod probe;
mod registers;
mod requests;
mod serial;
mod stats;
mod steps;
mod thread;
mod virtio;
mod worker;

pub(crate) use bus::fuzz_bus;
pub(crate) use conversation::fuzz_conversation;
pub(crate) use decode::fuzz_decode;
pub(crate) use gdb::fuzz_gdb;
pub use probe::{KvmInfo, probe};
pub(crate) use virtio::fuzz_frames;
pub use virtio::probe_network;
#[doc(hidden)]
pub use virtio::{fuzz_virtio, fuzz_vsock};

use std::{
    cell::Cell,
    io::{self, Write},
    net::Shutdown,
    sync::atomic::{AtomicBool, Ordering},
    thread::{Builder, scope},
    time::{Duration, Instant},
};

use super::{
    attend::{ChildEnd, Limits, attend, joined},
    backtrace,
    config::RunConfig,
    console::Console,
    error::RunError,
    feed,
    gdb::DebuggerPresence,
    image::{Image, ImageFile},
    input::GuestInput,
    limit::{Limit, Unstarted, report_limit},
    outcome::Outcome,
    report::{Report, Warning},
};
use conversation::Conversation;
use ending::WorkerEnd;
use launch::{ForWorker, Launched, last_words, launch};
use message::{GO, GO_WITHOUT_GATE, RunEnd, TIME_IS_UP};

/// How long a worker may take to end that is told to: its devices have a second for what is left.
const GRACE: Duration = Duration::from_secs(2);

/// Runs a guest that was checked, and waits for it to end.
pub(super) fn run(
    image: &Image<ImageFile>,
    entry: u64,
    super::Given { mut line, devices }: super::Given,
    config: &RunConfig,
    limit: &Limit<'_>,
    out: &mut (dyn Write + Send),
) -> Result<Report, Unstarted> {
    let started = Instant::now();
    let kvm = probe::open()?;
    virtio::append_words(&mut line.text, devices.len());
    let given = ForWorker {
        kvm,
        entry,
        contents: boot::prepare(image, config.memory_mib, &line.text, limit)?,
        // A guest without records has no handler that reports anything.
        has_report: line.nonce.is_some(),
        devices,
    };
    let mut launched = launch(given, config, limit)?;
    let leave = AtomicBool::new(false);
    let mut console = Console::new(out, config.console_limit, &leave, line.nonce);
    let attended = attend_worker(&mut launched, &mut console, &leave, config, limit)?;
    let Attended {
        end, words, told, ..
    } = attended;
    let status = launched.child.reap().map_err(|cause| {
        let what = "the exit status of the VM's process";
        RunError::Resource { what, cause }
    })?;
    let mut end_told = told.end;
    let worker_end = WorkerEnd {
        forbidden: launched.gate.forbidden(),
        status,
        words,
        was_ready: told.was_ready,
        refused: told.refused,
        ended: end_told.as_mut().and_then(|end| end.ended.take()),
    };
    let ended = worker_end.outcome(end, config.timeout)?;
    if let (Some(asked), Outcome::TimedOut { .. }) = (attended.asked, &ended) {
        console.set_asked(asked);
    }
    let warnings = warnings(&launched, end_told.as_ref());
    drop(launched);
    let (mut outcome, records) = console.complete(ended);
    let backtrace = backtrace::explain(&mut outcome, &records.trace, records.hang, image);
    let stalls = backtrace::explain_stalls(records.stalls, image);
    let (counters, stretches) = end_told.map(|end| (end.counters, end.stretches)).unzip();
    Ok(Report {
        outcome,
        panic: records.panic,
        stats: records.stats,
        samples: records.samples,
        data: records.data,
        data_dropped: records.data_dropped,
        times: records.times,
        wall: started.elapsed(),
        counters,
        stretches: stretches.unwrap_or_default(),
        backtrace,
        stalls,
        warnings,
    })
}

/// What became of a worker.
struct Attended {
    end: ChildEnd,
    /// What it said on standard error.
    words: String,
    told: Conversation,
    /// When its guest was asked what it was doing.
    asked: Option<Instant>,
}

/// Starts the guest once its worker is ready, and reads what comes of both until they have ended.
fn attend_worker(
    launched: &mut Launched,
    console: &mut Console<'_>,
    leave: &AtomicBool,
    config: &RunConfig,
    limit: &Limit<'_>,
) -> Result<Attended, RunError> {
    let thread_failed = |cause| RunError::Resource {
        what: "a thread that serves the VM's process",
        cause,
    };
    let Launched {
        child,
        gate,
        control,
        input,
        host_side,
        has_report,
    } = launched;
    let is_escaped = *has_report && !config.has_virtio_console();
    let control = &*control;
    // It ends with the run if the worker is gone.
    let say = |order: u8| drop(io::Write::write_all(&mut &*control, &[order]));
    let report = report_limit(*has_report);
    let (is_ready, is_heard) = (AtomicBool::new(false), AtomicBool::new(true));
    let (asked, presence) = (Cell::new(None), DebuggerPresence::default());
    let ask = || {
        asked.set(Some(Instant::now()));
        say(TIME_IS_UP);
        match is_ready.load(Ordering::SeqCst) {
            true => report + GRACE,
            // It takes no orders yet.
            false => Duration::ZERO,
        }
    };
    // It takes the end of its orders for a stop.
    let ask_to_end = || {
        drop(control.shutdown(Shutdown::Write));
        match is_ready.load(Ordering::SeqCst) {
            true => GRACE,
            false => Duration::ZERO,
        }
    };
    let limits = Limits {
        timeout: config.timeout,
        stop: &config.stop,
        ask: Some(&ask),
        ask_to_end: Some(&ask_to_end),
        deadline: &|| {
            let waits_for_debugger = config.gdb.is_some()
                && is_ready.load(Ordering::SeqCst)
                && is_heard.load(Ordering::SeqCst);
            match waits_for_debugger {
                true => presence.deadline(config.timeout),
                false => limit.deadline(),
            }
        },
    };
    let (input_of_guest, is_open) = (config.input.as_ref(), console.input_is_open());
    // A console keeps what comes before the guest reads.
    is_open.fetch_or(config.has_virtio_console(), Ordering::SeqCst);
    // Nothing more is opened from here on, and the guest does not run yet.
    let on_ready = || {
        gate.close();
        is_ready.store(true, Ordering::SeqCst);
        say(match gate.is_installed() {
            true => GO,
            false => GO_WITHOUT_GATE,
        });
    };
    let ((end, words), told) = scope(|scope| {
        let serve = || {
            if let Some((listener, dial)) = &host_side.sockets {
                let sockets = Builder::new().name("sockets".into());
                sockets.spawn_scoped(scope, || listener.serve(dial))?;
            }
            let talks = Builder::new().name("control".into());
            talks.spawn_scoped(scope, || {
                let told = Conversation::read(control, config.steps, &presence, on_ready);
                is_heard.store(false, Ordering::SeqCst);
                // It may wait until the rest is read.
                let _ = io::copy(&mut &*control, &mut io::sink());
                told
            })
        };
        let attended = serve().map_err(thread_failed).and_then(|told| {
            // Before, it may be no worker that reads it.
            let send = |bytes: &[u8]| match is_ready.load(Ordering::SeqCst) {
                true => feed::send(input.as_mut(), bytes),
                false => Ok(0),
            };
            GuestInput::feeding(input_of_guest, is_escaped, &is_open, send, || {
                attend(child, console, &limits, leave, |stderr, _| {
                    last_words(stderr)
                })
            })
            .map(|attended| (attended, told))
        });
        if attended.is_err() {
            // The threads wait for its end.
            child.kill();
        }
        // They see it by this, also where it has left the other ends behind.
        drop(control.shutdown(Shutdown::Both));
        if let Some((_, dial)) = &host_side.sockets {
            drop(dial.shutdown(Shutdown::Both));
        }
        attended.map(|(attended, told)| (attended, joined(told)))
    })?;
    Ok(Attended {
        end,
        words,
        told,
        asked: asked.get(),
    })
}

/// What is to be said of the run's surroundings.
fn warnings(launched: &Launched, end: Option<&RunEnd>) -> Vec<Warning> {
    // A guest that does not drive the device has not looked at the link.
    let link_is_down = end.is_some_and(|end| end.link_is_down);
    let ended = link_is_down || launched.host_side.network_has_ended();
    let held_back = end.map_or(0, |end| end.held_back);
    [
        ended.then_some(Warning::NetworkEnded),
        (held_back > 0).then_some(Warning::HeldBack(held_back)),
    ]
    .into_iter()
    .flatten()
    .collect()
}
