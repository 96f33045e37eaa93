//! A network: the guest `http` serves pages through a port of this host.

mod connection;
mod reach;

use std::{
    fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use dormir_harness::vmm::{
    Device, MachineType, Outcome, PortForward, Report, RunConfig, StopToken, Vmm, Warning,
    free_port,
};
use libtest_mimic::{Failed, Trial};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    beside::{self, Beside},
    guest::{LIMIT, boot, config},
};
use connection::{Connection, is_page};

type Case = (&'static str, fn(Vmm) -> Result<(), Failed>);

const CASES: [Case; 8] = [
    ("pages", |vmm| serving(vmm, pages)),
    ("much-comes", |vmm| serving(vmm, much_comes)),
    ("connections", |vmm| serving(vmm, connections)),
    ("half-a-request", |vmm| serving(vmm, half_a_request)),
    ("idle", |vmm| serving(vmm, idle)),
    ("none", none),
    ("restricted", reach::restricted),
    ("open", reach::open),
];

pub(crate) fn trials() -> Vec<Trial> {
    let on = |vmm| {
        CASES
            .into_iter()
            .map(move |(name, case)| Trial::test(format!("{vmm}::net:{name}"), move || case(vmm)))
    };
    let passt_ends = Trial::test(format!("{}::net:passt-ends", Vmm::Kvm), passt_ends);
    // The page's program looks for devices on virtio-mmio.
    let on_mmio = |vmm: &Vmm| !matches!(vmm, Vmm::Qemu(_, MachineType::Q35));
    let pages = Vmm::ALL.into_iter().filter(on_mmio);
    let pages = pages.map(|vmm| Trial::test(format!("{vmm}::net:page"), move || page(vmm)));
    let all = Vmm::ALL.into_iter().flat_map(on);
    all.chain(pages).chain([passt_ends]).collect()
}

/// Runs `client` with the port once the guest has said that it serves.
fn beside(
    vmm: Vmm,
    (image, text): (&str, &str),
    client: impl FnOnce(u16, &StopToken) -> Result<(), Failed>,
) -> Result<Beside, Failed> {
    run_beside(config(vmm, ""), true, (image, text), client)
}

fn run_beside(
    mut config: RunConfig,
    restrict: bool,
    (image, text): (&str, &str),
    client: impl FnOnce(u16, &StopToken) -> Result<(), Failed>,
) -> Result<Beside, Failed> {
    let (host, guest) = (free_port()?, 80);
    config.devices = vec![
        Device::Rng,
        Device::Net {
            forwards: vec![PortForward { host, guest }],
            restrict,
        },
    ];
    let stop = config.stop.clone();
    beside::beside(image, &config, text, || client(host, &stop))
}

/// The guest `http`, and what it says.
const HTTP: (&str, &str) = ("http", "serves http://10.0.2.15:80\n");

/// The program of docs/io.md, which runs without an end.
fn page(vmm: Vmm) -> Result<(), Failed> {
    let serves = ("hello-net", "serves on port 80\n");
    let ended = beside(vmm, serves, |port, stop| {
        let end = Instant::now() + LIMIT;
        // It serves once it has its address, which it does not say.
        let page = loop {
            let page = Connection::new(port).and_then(|mut connection| {
                let stream = connection.0.get_mut();
                stream.set_read_timeout(Some(Duration::from_secs(2)))?;
                connection.get("/")
            });
            match page {
                Err(_) if Instant::now() < end => {}
                page => break page?,
            }
        };
        check(page == (200, b"hello\n".to_vec()), "another page")?;
        stop.stop();
        Ok(())
    })?;
    let outcome = ended.report.outcome;
    check(outcome == Outcome::Stopped, &format!("{outcome}"))
}

/// Runs `client`, and lets the guest end.
fn serving(vmm: Vmm, client: fn(u16) -> Result<(), Failed>) -> Result<(), Failed> {
    let ended = beside(vmm, HTTP, |port, _| {
        client(port)?;
        quit(port)
    })?;
    ended.is_quiet_success()
}

fn quit(port: u16) -> Result<(), Failed> {
    let (status, body) = Connection::new(port)?.get("/quit")?;
    let is_last = status == 200 && body == b"the guest ends\n";
    check(is_last, "it does not end")
}

impl Beside {
    /// Nothing was held back, and the network has not ended.
    fn is_quiet_success(&self) -> Result<(), Failed> {
        let Report {
            outcome, warnings, ..
        } = &self.report;
        let is_quiet = outcome.is_success() && warnings.is_empty();
        check(is_quiet, &format!("{outcome}, {warnings:?}: {}", self.rest))
    }
}

fn check(expected: bool, message: &str) -> Result<(), Failed> {
    match expected {
        true => Ok(()),
        false => Err(message.into()),
    }
}

/// One after another: a page, one that does not exist, and one of many packets.
fn pages(port: u16) -> Result<(), Failed> {
    let mut connection = Connection::new(port)?;
    for _ in 0..3 {
        connection.page()?;
    }
    let (status, _) = connection.get("/no-such-page")?;
    check(
        status == 404,
        &format!("{status} for a page that does not exist"),
    )?;
    let (status, body) = Connection::new(port)?.get("/large")?;
    let is_whole = body.len() == 200_000 && body.iter().all(|byte| *byte == b'x');
    check(status == 200 && is_whole, "the large page is not whole")
}

/// Long requests, all of them sent before the first answer is read.
fn much_comes(port: u16) -> Result<(), Failed> {
    const REQUESTS: usize = 100;
    let mut connection = Connection::new(port)?;
    let filler = "x".repeat(1000);
    let request = format!("GET / HTTP/1.1\r\nHost: guest\r\nX-Filler: {filler}\r\n\r\n");
    let mut stream = connection.0.get_ref().try_clone()?;
    let sends = thread::spawn(move || stream.write_all(request.repeat(REQUESTS).as_bytes()));
    for _ in 0..REQUESTS {
        is_page(connection.answer()?)?;
    }
    Ok(sends.join().expect("it does not panic")?)
}

/// Eight connections at once, twice, and one that is kept between requests.
fn connections(port: u16) -> Result<(), Failed> {
    let fetch = move || -> Result<(), String> {
        let pages = || -> Result<(), Failed> {
            let mut connection = Connection::new(port)?;
            (0..5).try_for_each(|_| connection.page())
        };
        pages().map_err(|failed| failed.message().unwrap_or_default().to_owned())
    };
    for _ in 0..2 {
        let clients: Vec<_> = (0..8).map(|_| thread::spawn(fetch)).collect();
        for client in clients {
            client.join().expect("it does not panic")?;
        }
    }
    let mut kept = Connection::new(port)?;
    kept.page()?;
    thread::sleep(Duration::from_secs(2));
    kept.page()
}

/// Peers that send half a request and wait do not keep others from being served.
fn half_a_request(port: u16) -> Result<(), Failed> {
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHo")?;
        slow.push(stream);
    }
    for _ in 0..3 {
        Connection::new(port)?.page()?;
    }
    // The guest gives them up.
    for mut stream in slow {
        stream.set_read_timeout(Some(LIMIT))?;
        match stream.read_to_end(&mut Vec::new()) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// How often a guest may be woken in ten seconds in which nobody asks for anything.
const MOST_HALTS: u64 = 20;

/// How often ten seconds are measured in which the guest is not woken too often.
const IDLE_TRIES: usize = 3;

/// While nobody asks for anything, the vCPU is halted for 99 % of ten seconds.
///
/// A guest that has halted as seldom as it should is measured again if it was awake for longer than
/// 1 %: on a busy host its vCPU waits for a processor, and the guest counts that as awake. This
/// hides no fault: the claim must hold for ten whole seconds, and a guest that does not sleep, or
/// works for too long at each wake, fails each time.
fn idle(port: u16) -> Result<(), Failed> {
    let mut sentences = Vec::new();
    for _ in 0..IDLE_TRIES {
        let Halted { halted, all, halts } = Halted::measure(port)?;
        let sentence = format!("halted for {halted} of {all} ms, {halts} times");
        println!("{sentence}");
        sentences.push(sentence);
        check(all >= 10_000 && halts <= MOST_HALTS, &sentences.join("; "))?;
        if halted * 100 >= all * 99 {
            return Ok(());
        }
    }
    Err(sentences.join("; ").into())
}

/// What the guest tells of some seconds in which nobody asked for anything.
struct Halted {
    /// In milliseconds.
    halted: u64,
    all: u64,
    halts: u64,
}

impl Halted {
    fn measure(port: u16) -> Result<Self, Failed> {
        let (_, body) = Connection::new(port)?.get("/idle")?;
        let body = String::from_utf8_lossy(&body);
        let numbers: Result<Vec<u64>, _> = body.split_whitespace().map(str::parse).collect();
        match numbers?[..] {
            [halted, all, halts] => Ok(Self { halted, all, halts }),
            _ => Err(format!("not three numbers: {body}").into()),
        }
    }
}

/// Without a network the guest says so.
fn none(vmm: Vmm) -> Result<(), Failed> {
    let run = boot("http", &config(vmm, ""))?;
    run.check(
        run.console == "there is no network: pass --net user\n",
        "it does not miss the network",
    )
}

/// The program that connects the network ends: the guest's link is down.
fn passt_ends() -> Result<(), Failed> {
    let ended = beside(Vmm::Kvm, HTTP, |port, _| {
        Connection::new(port)?.page()?;
        let passt = find(&format!("127.0.0.1/{port}:80")).ok_or("there is no passt")?;
        Ok(kill_process(passt, Signal::KILL)?)
    })?;
    let Report {
        outcome, warnings, ..
    } = ended.report;
    let is_told = outcome == Outcome::Exited(1) && ended.rest == "the network has gone\n";
    check(is_told, &format!("{outcome}: {}", ended.rest))?;
    let is_warned = warnings == [Warning::NetworkEnded];
    check(is_warned, &format!("{warnings:?}"))
}

/// The process with this argument.
fn find(argument: &str) -> Option<Pid> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut found = processes.filter(|process| {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0);
        words
            .next()
            .is_some_and(|program| program.ends_with(b"passt"))
            && words.any(|word| word == argument.as_bytes())
    });
    let process = found.next()?.file_name();
    Pid::from_raw(process.to_str()?.parse().ok()?)
}
