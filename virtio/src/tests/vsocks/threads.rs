//! Two drivers, whose device is a thread between them. Run these under Miri.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst, fence},
    },
    thread::{self, Thread},
};

use embedded_io_async::{Read, Write};

use super::machine::{device, limits};
use crate::{
    tests::{Flag, fake::Shared, park, poll, side::Side},
    vsock::{Listener, Stream, Vsock},
};

/// The CID of the side that listens.
const SERVER: u32 = 7;
const PORT: u32 = 5000;

/// Connections at once, and how often that is done.
const CONNECTIONS: u32 = 3;
const ROUNDS: u32 = if cfg!(miri) { 1 } else { 20 };

#[derive(Clone)]
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) % end
    }
}

/// What the threads of a test tell one another: that all is done, and that one of them has failed.
#[derive(Default)]
struct Threads {
    is_done: AtomicBool,
    has_failed: AtomicBool,
    all: Mutex<Vec<Thread>>,
}

/// One of the threads, for as long as it runs.
struct Member<'a>(&'a Threads);

impl Threads {
    fn join(&self) -> Member<'_> {
        self.all.lock().unwrap().push(thread::current());
        Member(self)
    }

    fn tell(&self, what: &AtomicBool) {
        what.store(true, SeqCst);
        self.all.lock().unwrap().iter().for_each(Thread::unpark);
    }

    fn is_done(&self) -> bool {
        self.is_done.load(SeqCst)
    }

    /// Waits until this thread is unparked.
    fn park(&self) {
        assert!(!self.has_failed.load(SeqCst), "another thread has failed");
        park();
    }
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.tell(&self.0.has_failed);
        }
    }
}

/// What carries packets one way. It does not look into them, and takes one only if it can give it
/// to the other side at once.
struct Way {
    from: Side,
    to: Side,
}

impl Way {
    fn new(from: &Arc<Shared>, to: &Arc<Shared>) -> Self {
        Self {
            from: Side::new(from, 1),
            to: Side::new(to, 0),
        }
    }

    fn has_packet(&self) -> bool {
        self.from.has_request() && self.to.has_request()
    }

    /// Carries some packets.
    fn carry(&mut self, most: u64) {
        let mut any = false;
        for _ in 0..most {
            if !self.has_packet() {
                break;
            }
            let mut packet = Vec::new();
            self.from.serve(|chain| {
                packet = chain.read();
                0
            });
            // The buffers are of 4 KiB, so longer data is cut.
            let most = 4096 + 44;
            assert!(packet.len() <= most, "{}", packet.len());
            self.to.serve(|chain| chain.write(packet));
            self.to.shared.raise(1);
            any = true;
        }
        fence(SeqCst);
        if any && self.from.wants_interrupt() {
            self.from.shared.raise(1);
        }
    }
}

/// Carries packets both ways, until all is done. It sleeps between the notifications.
fn carry(sides: [Arc<Shared>; 2], threads: &Threads, mut random: Random) {
    let [one, other] = &sides;
    for side in &sides {
        *side.device.lock().unwrap() = Some(thread::current());
    }
    let mut ways = [Way::new(one, other), Way::new(other, one)];
    while !threads.is_done() {
        for way in &mut ways {
            way.carry(random.below(8));
        }
        if !ways.iter().any(Way::has_packet) {
            threads.park();
        }
    }
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Polls each task only when it is woken, until all but the first have ended, and this holds.
fn run_all(tasks: Vec<Task>, threads: &Threads, is_over: impl Fn() -> bool) {
    let mut tasks: Vec<_> = tasks
        .into_iter()
        .map(|task| Some((task, Flag::new())))
        .collect();
    while tasks[1..].iter().any(Option::is_some) || !is_over() {
        let mut any = false;
        for slot in &mut tasks {
            if let Some((task, flag)) = slot
                && flag.take()
            {
                any = true;
                if poll(task.as_mut(), flag).is_ready() {
                    *slot = None;
                }
            }
        }
        if !any {
            threads.park();
        }
    }
}

/// The byte at this place of what is sent on a connection.
fn byte(seed: u64, place: u64) -> u8 {
    (place.wrapping_mul(31) ^ place >> 8 ^ seed) as u8
}

/// Sends so many bytes in random pieces, ends this half, and reads in random pieces to the end.
async fn exchange(mut stream: Stream, mut random: Random, seed: u64, total: u64, expected: u64) {
    let mut other = random.clone();
    let (mut reader, mut writer) = stream.split();
    let send = async {
        let mut sent = 0;
        while sent < total {
            let length = (1 + random.below(100)).min(total - sent);
            let bytes: Vec<_> = (sent..sent + length)
                .map(|place| byte(seed, place))
                .collect();
            let written = writer.write(&bytes).await.expect("it is open") as u64;
            assert!((1..=length).contains(&written));
            sent += written;
            if random.below(10) == 0 {
                writer.flush().await.expect("it is open");
            }
        }
        writer.shutdown();
        writer.flush().await.expect("it is open");
    };
    let receive = async {
        let mut received = 0;
        let mut buffer = [0; 100];
        loop {
            let length = 1 + other.below(100) as usize;
            let read = reader.read(&mut buffer[..length]).await;
            let read = read.expect("it is open");
            if read == 0 {
                break;
            }
            for read in &buffer[..read] {
                assert_eq!(*read, byte(!seed, received));
                received += 1;
            }
        }
        assert_eq!(received, expected);
    };
    join(send, receive).await;
}

async fn join(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    let (mut one, mut other) = (Box::pin(one), Box::pin(other));
    let mut are_done = [false; 2];
    std::future::poll_fn(|cx| {
        are_done[0] = are_done[0] || one.as_mut().poll(cx).is_ready();
        are_done[1] = are_done[1] || other.as_mut().poll(cx).is_ready();
        match are_done {
            [true, true] => std::task::Poll::Ready(()),
            _ => std::task::Poll::Pending,
        }
    })
    .await;
}

/// How much is sent on this connection: from who connects, and to it. The seed's lowest bits are
/// the room of a connection, which takes as many bytes at once.
fn amounts(seed: u64) -> (u64, u64) {
    let mut random = Random(seed);
    let most = (seed & 0xffff) * if cfg!(miri) { 20 } else { 200 };
    let most = most.min(if cfg!(miri) { 200 } else { 50_000 });
    (random.below(most), random.below(most))
}

async fn client(vsock: Vsock, seed: u64) {
    let mut stream = vsock.connect(SERVER, PORT).await.expect("it listens");
    stream
        .write_all(&seed.to_le_bytes())
        .await
        .expect("it is open");
    let (sent, received) = amounts(seed);
    exchange(stream, Random(seed ^ 1), seed, sent, received).await;
}

async fn server(listener: Arc<Listener>) {
    let mut stream = listener.accept().await.expect("the runner runs");
    let mut seed = [0; 8];
    stream.read_exact(&mut seed).await.expect("it is open");
    let seed = u64::from_le_bytes(seed);
    let (received, sent) = amounts(seed);
    exchange(stream, Random(seed ^ 2), !seed, sent, received).await;
}

/// Random amounts both ways, with this room for each connection: nothing is lost, changes its order
/// or hangs.
fn everything_arrives(room: u32) {
    let cids = [3, SERVER];
    let sides = cids.map(|cid| device(cid.into()));
    let limits = limits(2 * CONNECTIONS as usize, room, CONNECTIONS as usize);
    let threads = &Threads::default();
    thread::scope(|scope| {
        let random = Random(room.into());
        let carried = sides.clone();
        scope.spawn(move || {
            let _member = threads.join();
            carry(carried, threads, random);
        });
        let [client_side, server_side] = sides;
        scope.spawn(move || {
            let _member = threads.join();
            let (vsock, mut runner) =
                Vsock::with_limits(server_side.attach(), limits).expect("a good device");
            let listener = Arc::new(vsock.listen(PORT).expect("nobody has it"));
            let mut tasks: Vec<Task> = vec![Box::pin(async move {
                panic!("the device failed: {}", runner.run().await);
            })];
            for _ in 0..CONNECTIONS * ROUNDS {
                tasks.push(Box::pin(server(Arc::clone(&listener))));
            }
            drop(listener);
            run_all(tasks, threads, || threads.is_done());
        });
        let _member = threads.join();
        let (vsock, mut runner) =
            Vsock::with_limits(client_side.attach(), limits).expect("a good device");
        let mut tasks: Vec<Task> = vec![Box::pin(async move {
            panic!("the device failed: {}", runner.run().await);
        })];
        for lane in 0..u64::from(CONNECTIONS) {
            let vsock = vsock.clone();
            tasks.push(Box::pin(async move {
                for round in 0..u64::from(ROUNDS) {
                    client(vsock.clone(), lane << 48 | round << 16 | u64::from(room)).await;
                }
            }));
        }
        run_all(tasks, threads, || true);
        threads.tell(&threads.is_done);
    });
}

#[test]
fn everything_arrives_with_room_for_a_byte() {
    everything_arrives(1);
}

#[test]
fn everything_arrives_with_little_room() {
    everything_arrives(13);
}

#[test]
fn everything_arrives_with_much_room() {
    everything_arrives(4096);
}
