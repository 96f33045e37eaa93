//! The host's side of async host calls, whose guest sends anything over its connection.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    future::{pending, ready},
    io::{self, Read, Write},
    mem,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Waker},
    time::Duration,
};

use dormir_hyperlight_host::{
    CallEndedError, Connection, Host, HostTask, Input, Limits, Output, Runtime,
};
use dormir_hyperlight_protocol::{
    Batch, BatchHeader, Flags, FromHost, MAX_MESSAGE, Reply, ReplyHeader, STREAM_WINDOW, Status,
    ToHost, frame,
};

const LIMITS: Limits = Limits::new().with_calls(8).with_bytes(200_000);

/// The functions; there is none of the last name.
const NAMES: [&str; 6] = ["echo", "size", "fail", "pend", "copy", "none"];

/// The first bytes of records, which are their kinds.
const KINDS: [u8; 8] = [0x01, 0x83, 0x03, 0x04, 0x05, 0x80, 0x82, 0x01];

const ROOMS: [u32; 8] = [u32::MAX, 0, 10, 64, 100, 1000, 5000, 20_000];

/// Reads any bytes as what a guest does.
///
/// # Panics
///
/// Panics if a property does not hold: each message has a reply that is sound and within its room,
/// results are those of their calls, calls hold no more than their limits, and nothing at the end.
pub(super) fn host_calls(bytes: &[u8]) {
    let (tasks, wrong) = (Tasks::default(), Arc::<AtomicBool>::default());
    let seen = Arc::clone(&wrong);
    let host = Host::new()
        .with_runtime(tasks.clone())
        .with_limits(LIMITS)
        .with_longest_wait(Duration::ZERO)
        .with_linger(Duration::ZERO)
        .async_function("echo", |bytes| ready(Ok::<_, Infallible>(bytes)))
        .async_function("size", |bytes| {
            ready(Ok::<_, Infallible>(vec![7; size(&bytes)]))
        })
        .async_function("fail", |bytes| ready(Err("x".repeat(size(&bytes)))))
        .async_function("pend", |_| pending::<Result<_, Infallible>>())
        .streaming_function("copy", move |_, input, output| {
            copy(input, output, Arc::clone(&seen))
        });
    let host = Arc::new(host);
    let wire = Wire::new(bytes, &host, &tasks);
    // How it ends depends on the guest.
    let _ = host.serve(wire);
    assert!(!wrong.load(Ordering::Relaxed));
    let usage = host.usage();
    assert_eq!(usage.bytes, 0);
    // Each returns at its next poll.
    tasks.poll(0, usage.calls);
    assert_eq!((tasks.count(), host.usage().calls), (0, 0));
}

/// Sends what it reads twice. A panic would be but another end of a call.
async fn copy(
    mut input: Input,
    mut output: Output,
    is_wrong: Arc<AtomicBool>,
) -> Result<(), CallEndedError> {
    while let Some(piece) = input.next().await {
        let piece = piece?;
        is_wrong.fetch_or(
            piece.is_empty() || piece.len() > STREAM_WINDOW,
            Ordering::Relaxed,
        );
        output.send(&piece).await?;
        output.send(&piece).await?;
    }
    Ok(())
}

/// How long a result is: up to a MiB.
fn size(argument: &[u8]) -> usize {
    let [low, high] = *argument.first_chunk().unwrap_or(&[0; 2]);
    usize::from(u16::from_le_bytes([low, high])) * 16
}

/// The calls that run, which are polled when the guest's bytes say so.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<Vec<HostTask>>>);

impl Tasks {
    fn all(&self) -> MutexGuard<'_, Vec<HostTask>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self) -> usize {
        self.all().len()
    }

    /// Polls as many, from this one on.
    fn poll(&self, first: usize, count: usize) {
        for _ in 0..count {
            let mut all = self.all();
            if all.is_empty() {
                return;
            }
            let index = first % all.len();
            let mut task = all.remove(index);
            drop(all);
            if task
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
            {
                self.all().push(task);
            }
        }
    }
}

impl Runtime for Tasks {
    fn spawn(&self, task: HostTask) {
        self.all().push(task);
    }
}

/// The connection, at whose other end the guest is.
#[derive(Clone)]
struct Wire(Arc<(Mutex<Guest>, Condvar)>);

impl Wire {
    fn new(bytes: &[u8], host: &Arc<Host>, tasks: &Tasks) -> Self {
        let guest = Guest {
            bytes: bytes.to_vec().into(),
            tasks: tasks.clone(),
            host: Arc::clone(host),
            ..Guest::default()
        };
        Self(Arc::new((Mutex::new(guest), Condvar::new())))
    }

    fn guest(&self) -> MutexGuard<'_, Guest> {
        self.0.0.lock().expect("no property has failed")
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut guest = self.guest();
        // Most guests wait for their replies.
        while guest.waits() {
            guest = self.0.1.wait(guest).expect("no property has failed");
        }
        if guest.sent.is_empty() && !guest.is_over {
            guest.act();
        }
        let length = buffer.len().min(guest.sent.len());
        for (byte, sent) in buffer.iter_mut().zip(guest.sent.drain(..length)) {
            *byte = sent;
        }
        Ok(length)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.guest().take(bytes);
        self.0.1.notify_all();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Connection for Wire {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(self.clone())
    }

    fn shutdown(&self) -> io::Result<()> {
        let mut guest = self.guest();
        guest.is_over = true;
        guest.sent.clear();
        drop(guest);
        self.0.1.notify_all();
        Ok(())
    }
}

/// What a guest does, by bytes, and what it knows.
#[derive(Default)]
struct Guest {
    bytes: VecDeque<u8>,
    tasks: Tasks,
    host: Arc<Host>,
    /// On the way to the host.
    sent: Vec<u8>,
    /// The beginning of a reply.
    received: Vec<u8>,
    /// The room of each batch that has no reply yet.
    unanswered: VecDeque<usize>,
    /// How many batches may be without a reply before the next is sent.
    early: usize,
    is_over: bool,
    /// What it sends last may contain batches that are not known here.
    is_cut: bool,
    generation: u64,
    number: u64,
    /// The argument of each call of `echo`; `None` if its number was used twice.
    echoes: HashMap<u32, Option<Vec<u8>>>,
}

impl Guest {
    fn byte(&mut self) -> Option<u8> {
        self.bytes.pop_front()
    }

    fn some(&mut self, length: usize) -> Vec<u8> {
        self.bytes.drain(..length.min(self.bytes.len())).collect()
    }

    /// Whether it sends nothing before a reply has come.
    fn waits(&self) -> bool {
        let is_early = self.is_cut || self.unanswered.len() <= self.early;
        self.sent.is_empty() && !is_early && !self.is_over
    }

    /// Sends something, or nothing at its end.
    fn act(&mut self) {
        let sent = self.next().unwrap_or_default();
        self.is_over |= sent.is_empty();
        self.sent = sent;
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        let (how, polls) = (self.byte()?, self.byte()?);
        self.tasks
            .poll(usize::from(polls >> 4), usize::from(polls & 15));
        self.early = usize::from(how >> 6 & 1);
        if how & 0x80 != 0 {
            let length = usize::from(self.byte()?);
            let message = self.some(length);
            if how & 1 != 0 {
                // Any message.
                let message = [&frame::prefix(message.len())[..], &message].concat();
                self.expect(&message);
                return Some(message);
            }
            // Any bytes, behind which the host cannot know where a message begins: the last ones.
            self.is_cut = true;
            self.bytes.clear();
            return Some(message);
        }
        let room = ROOMS[usize::from(self.byte()? & 7)];
        self.number = self.number.wrapping_add(u64::from(how & 0x20 == 0));
        let header = BatchHeader {
            flags: Flags {
                is_first: how & 1 != 0,
                is_repeated: how & 2 != 0,
                expects: how & 4 != 0,
                is_early: how & 8 != 0,
            },
            generation: if how & 0x10 == 0 { self.generation } else { 0 },
            number: self.number,
            wait: u64::from(how & 0x20),
            room,
            digest: u64::from(how & 0x10),
        };
        let mut batch = header.to_bytes().to_vec();
        for _ in 0..self.byte()? & 15 {
            let record = self.record()?;
            if batch.len() + record.len() > MAX_MESSAGE {
                break;
            }
            batch.extend(record);
        }
        let message = [&frame::prefix(batch.len())[..], &batch].concat();
        self.expect(&message);
        Some(message)
    }

    fn record(&mut self) -> Option<Vec<u8>> {
        let (kind, id, shape) = (self.byte()?, self.byte()?, self.byte()?);
        let kind = KINDS[usize::from(kind & 7)];
        let name = NAMES[usize::from(shape) % NAMES.len()];
        let length = usize::from(shape >> 3);
        let payload = match kind {
            0x01 | 0x83 => {
                let argument = self.some(length);
                [&[name.len() as u8], name.as_bytes(), &argument].concat()
            }
            0x03 => {
                let offset = self.some(2);
                let offset = u32::from(u16::from_le_bytes(*offset.first_chunk()?));
                [
                    &offset.to_le_bytes()[..],
                    &self.some(length).repeat(1 + length * 40),
                ]
                .concat()
            }
            0x80 => u32::from(u16::from_le_bytes(*self.some(2).first_chunk()?))
                .to_le_bytes()
                .into(),
            _ => Vec::new(),
        };
        // Most names and numbers are right.
        let mut header = [kind, 0, 0, 0, id & 15, id >> 4, 0, 0, 0, 0, 0, 0];
        header[8..].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        Some([&header[..], &payload].concat())
    }

    /// Notes what a message is to the host.
    fn expect(&mut self, message: &[u8]) {
        let Some(batch) = message.get(4..).and_then(Batch::parse) else {
            return;
        };
        self.unanswered.push_back(batch.header.room as usize);
        for record in batch.records() {
            if let ToHost::Call {
                id,
                name,
                argument,
                has_streams,
            } = record
            {
                let argument = (name == "echo" && !has_streams).then(|| argument.to_vec());
                let once = !self.echoes.contains_key(&id.0);
                self.echoes.insert(id.0, argument.filter(|_| once));
            }
        }
    }

    /// Takes what comes from the host.
    fn take(&mut self, bytes: &[u8]) {
        self.received.extend(bytes);
        while let Some((prefix, rest)) = self.received.split_first_chunk() {
            let length = frame::length(*prefix).expect("a message is not too long");
            let Some(message) = rest.get(..length) else {
                return;
            };
            let reply = Reply::parse(message).expect("a reply is sound");
            let room = self
                .unanswered
                .pop_front()
                .expect("there is a batch for it");
            assert!(message.len() - ReplyHeader::LEN <= room);
            self.generation = reply.header.generation;
            let usage = self.host.usage();
            assert!(usage.calls <= LIMITS.calls && usage.bytes <= LIMITS.bytes);
            assert!(self.tasks.count() <= usage.calls);
            for record in reply.records() {
                if let FromHost::Result(result, piece) = record
                    && result.status == Status::Done
                    && let Some(Some(argument)) = self.echoes.get(&result.id.0)
                {
                    let from = result.offset as usize;
                    assert_eq!(result.total as usize, argument.len());
                    assert_eq!(&argument[from..from + piece.len()], piece);
                }
            }
            let whole = mem::size_of::<frame::Prefix>() + length;
            self.received.drain(..whole);
        }
    }
}
