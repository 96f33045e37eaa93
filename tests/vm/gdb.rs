//! Debuggers attach to guests under each VMM (`cargo vm run --gdb`).

pub(crate) mod client;

use std::{
    sync::mpsc::{RecvTimeoutError::Timeout, channel},
    thread::{scope, sleep},
    time::{Duration, Instant},
};

use dormir_harness::vmm::{Accelerator, GdbListener, Outcome, RunConfig, Vmm};
use libtest_mimic::{Failed, Trial};

use crate::{
    guest::{LIMIT, Run, boot, config, image_of, on_every_vmm},
    sweep::Disassembly,
};
use client::{Client, digits};

/// A time limit for guests beside which a debugger takes longer.
const SHORT: Duration = Duration::from_secs(2);

/// Where a processor begins, and so the firmware.
const RESET_VECTOR: u64 = 0xfff0;

const HLT: u8 = 0xf4;
const CTRL_C: u8 = 3;

pub(crate) fn trials() -> Vec<Trial> {
    let trials = [
        on_every_vmm("gdb-stops-the-guest", stops),
        on_every_vmm("gdb-detaches", |vmm| leaves(vmm, true)),
        on_every_vmm("gdb-is-lost", |vmm| leaves(vmm, false)),
        on_every_vmm("gdb-leaves-at-once", leaves_at_once),
        on_every_vmm("gdb-kills", kills),
        on_every_vmm("gdb-interrupts", interrupts),
        on_every_vmm("gdb-never-comes", |vmm| waits(vmm, false)),
        on_every_vmm("gdb-is-silent", |vmm| waits(vmm, true)),
        on_every_vmm("gdb-is-no-gdb", garbage),
    ];
    let mut trials: Vec<Trial> = trials.into_iter().flatten().collect();
    trials.push(Trial::test("kvm::gdb-sees-a-triple-fault", triple_fault));
    trials
}

/// Boots a guest, and debugs it meanwhile. If the debugger fails, or the guest runs far beyond its
/// time limit after it, the guest is stopped.
fn debug(
    image: &str,
    config: RunConfig,
    debugger: impl FnOnce(u16) -> Result<(), Failed> + Send,
) -> Result<Run, Failed> {
    // Their build may take longer than a debugger waits.
    image_of(image)?;
    let listener = GdbListener::bind(0)?;
    let (port, stop) = (listener.port(), config.stop.clone());
    let config = RunConfig {
        gdb: Some(listener),
        ..config
    };
    let far_beyond = config.timeout + LIMIT / 4;
    let (running, has_ended) = channel::<()>();
    scope(|scope| {
        let debugger = scope.spawn(move || {
            let result = debugger(port);
            if result.is_err() || has_ended.recv_timeout(far_beyond) == Err(Timeout) {
                stop.stop();
            }
            result
        });
        let run = boot(image, &config);
        // A debugger that still waits is told by the end of its connection.
        drop((running, config));
        debugger.join().map_err(|_| "the debugger panicked")??;
        run
    })
}

/// Returns the kind of a breakpoint. A KVM that emulates the guest does not stop at an INT3, for
/// which our own VMM makes up and QEMU does not.
fn kind(vmm: Vmm) -> char {
    match vmm {
        Vmm::Qemu(Accelerator::Kvm, _) => '1',
        _ => '0',
    }
}

fn stops(vmm: Vmm) -> Result<(), Failed> {
    let image = Disassembly::read(image_of("demo")?)?;
    let halt = image.symbol("dormir_halt_instruction")?;
    let is_ours = vmm == Vmm::Kvm;
    let entry = image.symbol(match is_ours {
        true => "dormir_direct_entry",
        false => "dormir_pvh_entry",
    })?;
    let kind = kind(vmm);
    let run = debug("demo", config(vmm, "demo=basic"), |port| {
        let mut gdb = Client::attach(port)?;
        // Before the first instruction, under QEMU that of its firmware.
        if is_ours {
            gdb.is_at(entry)?;
        } else {
            gdb.order(&format!("Z{kind},{entry:x},1"))?;
            gdb.resume('c')?;
            gdb.is_at(entry)?;
            gdb.order(&format!("z{kind},{entry:x},1"))?;
        }
        let stop = gdb.resume('s')?;
        let rip = gdb.rip()?;
        if !stop.contains("05") || !(entry + 1..=entry + 15).contains(&rip) {
            return Err(format!("a step from {entry:#x} led to {rip:#x}: {stop}").into());
        }
        for kind in [kind, '1'] {
            gdb.order(&format!("Z{kind},{halt:x},1"))?;
            gdb.resume('c')?;
            gdb.is_at(halt)?;
            // The breakpoint itself is not seen.
            if gdb.read(halt, 1)? != [HLT] {
                return Err("the code is another while a breakpoint is there".into());
            }
            gdb.order(&format!("z{kind},{halt:x},1"))?;
            // Now it sleeps, and after that once more.
            gdb.resume('s')?;
            check_registers_and_memory(&mut gdb)?;
            if kind == '1' {
                break;
            }
        }
        gdb.request("vCont;c")?;
        if is_ours {
            let end = gdb.answer()?;
            return if end == "W00" {
                Ok(())
            } else {
                Err(end.into())
            };
        }
        assert!(gdb.is_closed());
        Ok(())
    })?;
    let run = run.succeeded()?;
    run.check(
        run.console.contains("good morning"),
        "the console is incomplete",
    )
}

/// Writes what was read of registers and memory, each with a change, and takes that back.
fn check_registers_and_memory(gdb: &mut Client) -> Result<(), Failed> {
    let before = gdb.registers()?;
    // R15 is the sixteenth.
    let r15 = 15 * 8;
    let mut changed = before.clone();
    changed[r15] ^= 0xff;
    gdb.order(&format!("G{}", digits(&changed)))?;
    if gdb.registers()?[r15] != changed[r15] {
        return Err("a register was not written".into());
    }
    gdb.order(&format!("G{}", digits(&before)))?;
    // RSP is the eighth.
    let rsp = before[7 * 8..].first_chunk().copied();
    let below = rsp.map_or(0, u64::from_le_bytes) - 0x100;
    gdb.order(&format!("M{below:x},3:a1b2c3"))?;
    if gdb.read(below, 3)? != [0xa1, 0xb2, 0xc3] {
        return Err("memory was not written".into());
    }
    match gdb.ask("mffff900000000000,1")? {
        answer if answer.starts_with('E') => Ok(()),
        answer => Err(format!("memory that does not exist is {answer}").into()),
    }
}

/// After a debugger with a breakpoint at each sleep, the guest goes on and no breakpoint is left.
fn leaves(vmm: Vmm, detaches: bool) -> Result<(), Failed> {
    let image = Disassembly::read(image_of("hello")?)?;
    let halt = image.symbol("dormir_halt_instruction")?;
    let kind = kind(vmm);
    let run = debug("hello", config(vmm, ""), |port| {
        let mut gdb = Client::attach(port)?;
        gdb.order(&format!("Z{kind},{halt:x},1"))?;
        gdb.resume('c')?;
        gdb.is_at(halt)?;
        if detaches { gdb.order("D;1") } else { Ok(()) }
    })?;
    run.succeeded().map(drop)
}

/// A debugger that leaves at once starts the time limit, and another one starts it anew.
fn leaves_at_once(vmm: Vmm) -> Result<(), Failed> {
    for case in ["end-hang-asleep", "end-hang-spinning"] {
        let mut config = config(vmm, format!("case={case}"));
        config.timeout = SHORT;
        let mut left = None;
        let run = debug("endings", config, |port| {
            for pause in [SHORT / 2, Duration::ZERO] {
                let mut gdb = Client::connect(port)?;
                left = Some(Instant::now());
                gdb.send(b"$D;1#b0")?;
                if !gdb.is_closed() {
                    return Err("it was not detached".into());
                }
                sleep(pause);
            }
            Ok(())
        })?;
        run.check(
            matches!(run.report.outcome, Outcome::TimedOut { limit, .. } if limit == SHORT),
            "its time was not limited",
        )?;
        let since = left.map_or(Duration::ZERO, |left| left.elapsed());
        run.check(since >= SHORT, "its time had begun before")?;
    }
    Ok(())
}

fn kills(vmm: Vmm) -> Result<(), Failed> {
    let run = debug("hello", config(vmm, ""), |port| {
        let mut gdb = Client::attach(port)?;
        gdb.request("k")?;
        assert!(gdb.is_closed());
        Ok(())
    })?;
    run.check(
        run.report.outcome == Outcome::Stopped && run.console.is_empty(),
        "the guest was not stopped",
    )
}

/// A guest that hangs is interrupted. Its time begins when the debugger has left.
fn interrupts(vmm: Vmm) -> Result<(), Failed> {
    let mut config = config(vmm, "case=end-hang-asleep");
    config.timeout = SHORT;
    let mut left = None;
    let run = debug("endings", config, |port| {
        let mut gdb = Client::attach(port)?;
        gdb.request("vCont;c")?;
        sleep(SHORT + SHORT);
        gdb.send(&[CTRL_C])?;
        let stop = gdb.answer()?;
        if !stop.starts_with("S02") && !stop.starts_with("T02") {
            return Err(format!("Ctrl-C led to {stop}").into());
        }
        gdb.order("D;1")?;
        drop(gdb);
        // Another one.
        let mut gdb = Client::attach(port)?;
        sleep(SHORT + SHORT);
        left = Some(Instant::now());
        gdb.order("D;1")
    })?;
    run.check(
        matches!(run.report.outcome, Outcome::TimedOut { limit, .. } if limit == SHORT),
        "its time was not limited",
    )?;
    run.check(
        run.console.contains("now hanging"),
        "it ended before it hung",
    )?;
    let since = left.map_or(Duration::ZERO, |left| left.elapsed());
    run.check(since >= SHORT, "its time had begun before")
}

/// The guest waits longer than its time limit, with or without a connection, and can be stopped.
fn waits(vmm: Vmm, connects: bool) -> Result<(), Failed> {
    let mut config = config(vmm, "");
    config.timeout = SHORT;
    let stop = config.stop.clone();
    let run = debug("hello", config, |port| {
        let _silent = connects.then(|| Client::connect(port)).transpose()?;
        sleep(SHORT + SHORT);
        stop.stop();
        Ok(())
    })?;
    run.check(
        run.report.outcome == Outcome::Stopped && run.console.is_empty(),
        "the guest did not wait",
    )
}

/// Whatever else connects first does no harm, and does not start the guest.
fn garbage(vmm: Vmm) -> Result<(), Failed> {
    let first_instruction = match vmm {
        Vmm::Kvm => Disassembly::read(image_of("hello")?)?.symbol("dormir_direct_entry")?,
        Vmm::Qemu(..) => RESET_VECTOR,
    };
    let run = debug("hello", config(vmm, ""), |port| {
        let long = [b"$", [b'm'; 1 << 16].as_slice()].concat();
        let all: Vec<u8> = (0..=u8::MAX).cycle().take(4096).collect();
        for bytes in [
            &b""[..],
            b"GET / HTTP/1.0\r\n\r\n",
            // As a web page can send it.
            b"POST / HTTP/1.1\r\nContent-Length: 7\r\n\r\n$D;1#b0",
            b"$",
            b"$#",
            b"$g#00$g#zz",
            b"----",
            &all,
            &long,
        ] {
            let mut other = Client::connect(port)?;
            // The connection may be closed before all was sent.
            let _ = other.send(bytes);
        }
        let mut gdb = Client::attach(port)?;
        gdb.is_at(first_instruction)?;
        for request in [
            "m",
            "mffffffffffffffff,ffffffffffffffff",
            "Z9,0,0",
            "zz",
            "qRcmd,71756974",
            "vNoSuchRequest",
        ] {
            // Some end the session, by which the guest would go on: so at once another one.
            let Ok(answer) = gdb.ask(request) else {
                gdb = Client::attach(port)?;
                continue;
            };
            if answer == "OK" {
                return Err(format!("{request} was granted").into());
            }
        }
        gdb.order("D;1")
    })?;
    run.succeeded().map(drop)
}

/// A guest that has no handler left can be looked at before its end.
fn triple_fault() -> Result<(), Failed> {
    let run = debug(
        "endings",
        config(Vmm::Kvm, "case=end-triple-fault"),
        |port| {
            let mut gdb = Client::attach(port)?;
            let stop = gdb.resume('c')?;
            if stop != "S0b" {
                return Err(format!("it stopped with {stop}").into());
            }
            gdb.rip()?;
            match &*gdb.resume('c')? {
                "W78" => Ok(()),
                end => Err(format!("it ended with {end}").into()),
            }
        },
    )?;
    run.check(
        matches!(run.report.outcome, Outcome::TripleFault { .. }),
        "the end is another",
    )
}
