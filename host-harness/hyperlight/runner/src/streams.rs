//! Cases of calls whose input and output are streams.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use dormir_hyperlight_host::{CallEndedError, Host, Input, Output};
use hyperlight_host::Sandbox;

use crate::{
    Case,
    sandbox::{Check, MARGIN, SandboxGuest, check, works},
};

pub(crate) const CASES: &[Case] = &[
    ("streams-down-and-up", streams_down_and_up),
    ("streams-end-in-every-way", streams_end_in_every_way),
    ("stream-to-a-slow-reader", stream_to_a_slow_reader),
    ("dropped-streams", dropped_streams),
    ("restored-streams", restored_streams),
];

/// How much a stream has: twice the heap of a sandbox of the default size.
const LENGTH: u64 = 256 << 10;

/// What the streams of one call count for, with its argument.
const STREAMS: usize = 32 * 1024 + 8;

/// How many functions are running.
#[derive(Clone, Default)]
struct Running(Arc<AtomicUsize>);

impl Running {
    fn enter(&self) -> IsRunning {
        self.0.fetch_add(1, Ordering::SeqCst);
        IsRunning(self.clone())
    }

    /// Waits until none is.
    fn become_none(&self) -> Check {
        let start = Instant::now();
        while self.0.load(Ordering::SeqCst) > 0 {
            check(start.elapsed() < MARGIN, || "functions are running".into())?;
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// One that is running: it is dropped with its future.
struct IsRunning(Running);

impl Drop for IsRunning {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The byte at `at` in every stream.
fn byte(at: u64) -> u8 {
    (at / 64) as u8
}

/// The pieces of a stream of `length` bytes, of many lengths.
fn pieces(length: u64) -> impl Iterator<Item = Vec<u8>> + Send {
    let (mut sent, mut piece) = (0, 1);
    std::iter::from_fn(move || {
        let next = (sent + piece).min(length);
        let bytes: Vec<u8> = (sent..next).map(byte).collect();
        sent = next;
        piece = piece * 7 % 70_001;
        (!bytes.is_empty()).then_some(bytes)
    })
}

fn length(argument: &[u8]) -> u64 {
    argument.try_into().map_or(0, u64::from_le_bytes)
}

/// Sends what `argument` asks for.
async fn download(argument: Vec<u8>, mut output: Output) -> Result<(), CallEndedError> {
    for piece in pieces(length(&argument)) {
        output.send(piece).await?;
    }
    Ok(())
}

/// Checks the input, and sends its length.
async fn upload(mut input: Input, mut output: Output) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut length = 0;
    while let Some(piece) = input.next().await {
        for read in piece? {
            if read != byte(length) {
                return Err(format!("byte {length} is {read}").into());
            }
            length += 1;
        }
    }
    output.send(length.to_le_bytes()).await?;
    Ok(())
}

async fn echo(mut input: Input, mut output: Output) -> Result<(), CallEndedError> {
    while let Some(piece) = input.next().await {
        output.send(piece?).await?;
    }
    Ok(())
}

fn host(running: &Running) -> Host {
    let (running, flooding) = (running.clone(), running.clone());
    Host::new()
        .streaming_function("download", |argument, _input, output| {
            download(argument, output)
        })
        .streaming_function("upload", |_argument, input, output| upload(input, output))
        .streaming_function("echo", move |_argument, input, output| {
            let running = running.enter();
            async move {
                let _running = running;
                echo(input, output).await
            }
        })
        .streaming_function("flood", move |_argument, _input, output| {
            let running = flooding.enter();
            async move {
                let _running = running;
                download(u64::MAX.to_le_bytes().into(), output).await
            }
        })
        .streaming_function("fails", |_argument, _input, mut output| async move {
            output.send([byte(0)]).await.map_err(|_| "it ended")?;
            Err::<(), _>("on purpose")
        })
        .streaming_function("panics", |argument, _input, _output| async move {
            assert!(argument.is_empty(), "on purpose");
            Ok::<_, CallEndedError>(())
        })
        .async_function(
            "plain",
            |bytes| async move { Ok::<_, CallEndedError>(bytes) },
        )
}

fn sandbox(guest: &SandboxGuest) -> Result<(Sandbox, Host, Running), Box<dyn Error>> {
    let running = Running::default();
    let (sandbox, host) = guest.roomy_sandbox_of(host(&running))?;
    Ok((sandbox, host, running))
}

/// Calls a guest function that tells how a stream ended.
fn ends(end: Result<String, impl Error + 'static>, expected: &str) -> Check {
    let end = end?;
    check(end == expected, || format!("{end} and not {expected}"))
}

/// How a guest function uses the streams of a call.
enum Way {
    Down,
    Up,
    Both,
}

/// More than the heap in either direction, each in a sandbox of the default size; then in both at
/// once, and each once more, in one whose heap can be written to its end.
fn streams_down_and_up(guest: &SandboxGuest) -> Check {
    for way in [Way::Down, Way::Up] {
        let (mut sandbox, host) = guest.sandbox_of(self::host(&Running::default()))?;
        goes(&mut sandbox, &host, way, LENGTH)?;
        works(&mut sandbox)?;
    }
    let (mut sandbox, host, _) = self::sandbox(guest)?;
    for way in [Way::Both, Way::Down, Way::Up] {
        goes(&mut sandbox, &host, way, LENGTH)?;
    }
    works(&mut sandbox)
}

/// Lets `length` bytes go one way or both, and says how long it takes.
fn goes(sandbox: &mut Sandbox, host: &Host, way: Way, length: u64) -> Check {
    let (before, start) = (host.usage().exchanges, Instant::now());
    let (what, end) = match way {
        Way::Down => {
            let download = ("download".to_owned(), length, 0_u64);
            ("down", sandbox.call("downloads", download))
        }
        Way::Up => ("up", sandbox.call("uploads", ("upload".to_owned(), length))),
        Way::Both => {
            let echo = ("echo".to_owned(), length);
            ("both", sandbox.call("streams_both_ways", echo))
        }
    };
    ends(end, &format!("ok {length}"))?;
    let usage = host.usage();
    let exchanges = usage.exchanges - before;
    println!("{what}: {:?}, {exchanges} exits", start.elapsed());
    check(usage.calls <= 1 && usage.bytes == 0, || {
        format!("{usage:?}")
    })
}

fn streams_end_in_every_way(guest: &SandboxGuest) -> Check {
    let (mut sandbox, _host, _) = sandbox(guest)?;
    for (name, length, expected) in [
        ("download", 0_u64, "ok 0"),
        ("download", 1, "ok 1"),
        ("fails", 0, "Host(\"on purpose\")"),
        ("panics", 0, "Panicked"),
        ("nothing", 0, "Unknown"),
    ] {
        let end = sandbox.call("downloads", (name.to_owned(), length, 0_u64));
        ends(end, expected)?;
    }
    for name in ["fails", "panics", "nothing"] {
        let end: String = sandbox.call("uploads", (name.to_owned(), LENGTH))?;
        check(!end.starts_with("ok"), || format!("{name}: {end}"))?;
    }
    // Each kind of function is called by its own name.
    let end: String = sandbox.call("downloads", ("plain".to_owned(), 0_u64, 0_u64))?;
    check(end.contains("without streams"), || end.clone())?;
    let end: String = sandbox.call("call_ends", ("download".to_owned(), 0_u64))?;
    check(end.contains("call it by `streaming_call`"), || end.clone())?;
    works(&mut sandbox)
}

/// A function that sends faster than its guest reads waits, and holds no more than its streams'
/// bounds.
fn stream_to_a_slow_reader(guest: &SandboxGuest) -> Check {
    let (mut sandbox, host, _) = sandbox(guest)?;
    let is_over = AtomicBool::new(false);
    let most = thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = 0;
            while !is_over.load(Ordering::Relaxed) {
                most = most.max(host.usage().bytes);
                thread::sleep(Duration::from_micros(200));
            }
            most
        });
        let slow = ("download".to_owned(), 200_000_u64, 5000_u64);
        let end = sandbox.call("downloads", slow);
        is_over.store(true, Ordering::Relaxed);
        let most = watcher.join().expect("it does not panic");
        ends(end, "ok 200000").map(|()| most)
    })?;
    check(most == STREAMS, || format!("{most} bytes were held"))
}

/// The host drops the functions of streams that the guest drops.
fn dropped_streams(guest: &SandboxGuest) -> Check {
    let (mut sandbox, host, running) = sandbox(guest)?;
    let lost: u64 = sandbox.call("drops_streams", ("flood".to_owned(), 20_u64))?;
    check(lost == 10, || format!("{lost} were lost"))?;
    works(&mut sandbox)?;
    running.become_none()?;
    // With the sandbox too.
    sandbox.call::<bool>("spawn_stream", ("flood".to_owned(), 0_u64))?;
    sandbox.call::<bool>("poll_calls", ())?;
    check(host.usage().calls == 1, || format!("{:?}", host.usage()))?;
    drop(sandbox);
    running.become_none()?;
    check(host.usage().bytes == 0, || format!("{:?}", host.usage()))
}

/// Polls `polls` times at most, until two streams have ended. Returns how they did.
fn poll(sandbox: &mut Sandbox, polls: u32) -> Result<String, Box<dyn Error>> {
    let mut ends = String::new();
    for _ in 0..polls {
        sandbox.call::<bool>("poll_calls", ())?;
        ends = sandbox.call("stream_ends_so_far", ())?;
        if ends.contains(", ") {
            break;
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(ends)
}

/// A stream that was under way when a snapshot was taken is lost after a restore; one that was not
/// sent is whole.
fn restored_streams(guest: &SandboxGuest) -> Check {
    const SOME: u64 = 60_000;
    let (mut sandbox, _host, running) = sandbox(guest)?;
    sandbox.call::<bool>("spawn_stream", ("echo".to_owned(), SOME))?;
    let none = poll(&mut sandbox, 1)?;
    check(none.is_empty(), || none.clone())?;
    sandbox.call::<bool>("spawn_stream", ("download".to_owned(), SOME))?;
    let snapshot = sandbox.snapshot()?;
    for goes_on in [0, 1, 10_000] {
        println!("after {goes_on}: {}", poll(&mut sandbox, goes_on)?);
        sandbox.restore(snapshot.clone())?;
    }
    let ends = poll(&mut sandbox, 10_000)?;
    let has = |end: &str| ends.contains(end);
    check(
        has("echo Lost") && has(&format!("download ok {SOME}")),
        || ends.clone(),
    )?;
    running.become_none()?;
    works(&mut sandbox)
}
