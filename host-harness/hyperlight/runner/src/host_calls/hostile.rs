//! Batches that no guest of this library sends: nothing panics, nothing is poisoned, and nothing
//! stays.

use std::{
    error::Error,
    iter, thread,
    time::{Duration, Instant},
};

use dormir_hyperlight_host::{Host, Limits};
use dormir_hyperlight_protocol::{
    Batch, BatchHeader, CallId, Flags, Kind, RecordHeader, Reply, ReplyHeader, ReplyStatus, VERSION,
};
use hyperlight_host::Sandbox;

use super::functions::{Forever, host};
use crate::{
    bad_input::batch_of,
    process::Process,
    sandbox::{Check, MARGIN, SandboxGuest, check, works},
};

/// What the guest's calls may hold.
const LIMITS: Limits = Limits::new().with_calls(50).with_bytes(20_000);

/// The functions of which a batch has calls: most never end.
const FUNCTIONS: &[&str] = &["forever", "forever", "forever", "echo", "large", "nothing"];

/// The slots and the ages of calls: so few that many are used twice.
const SLOTS: u64 = 100;
const AGES: u64 = 3;

struct Hostile<'a> {
    sandbox: &'a mut Sandbox,
    host: &'a Host,
    random: u64,
    /// The generation and the number of the last reply.
    last: (u64, u64),
}

impl Hostile<'_> {
    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        iter::repeat_with(|| self.random(256) as u8)
            .take(length)
            .collect()
    }

    /// Sends a batch, and checks what the host holds afterwards. Returns the reply's header.
    fn send(&mut self, batch: Vec<u8>) -> Result<ReplyHeader, Box<dyn Error>> {
        let reply: Vec<u8> = self.sandbox.call("exchanges", batch)?;
        let usage = self.host.usage();
        let is_within = usage.calls <= LIMITS.calls && usage.bytes <= LIMITS.bytes;
        check(is_within, || format!("{usage:?} is more than {LIMITS:?}"))?;
        Ok(Reply::parse(&reply).ok_or("the reply is not sound")?.header)
    }

    /// Sends any bytes, some with the beginning of a sound header.
    fn send_nonsense(&mut self, round: u64) -> Check {
        let mut batch = self.bytes(round as usize * 6);
        if round.is_multiple_of(2) && batch.len() >= 8 {
            batch[..4].copy_from_slice(&VERSION.to_le_bytes());
            batch[4..8].copy_from_slice(&[round as u8 % 8, 0, 0, 0]);
        }
        let header = self.send(batch)?;
        check(header.status == ReplyStatus::BadBatch, || {
            format!("nonsense was answered by {:?}", header.status)
        })
    }

    /// Sends a batch that follows the last one, or repeats it, with records that the host takes.
    fn send_sound(&mut self) -> Check {
        let header = Batch::parse(&batch_of(0)).ok_or("it is sound")?.header;
        let (generation, number) = self.last;
        let is_repeated = self.random(10) == 0;
        let header = BatchHeader {
            flags: Flags {
                is_first: self.random(2) == 0,
                is_repeated,
                expects: self.random(2) == 0,
                is_early: false,
            },
            generation,
            number: number + u64::from(!is_repeated),
            room: [0, 30, 1000, u32::MAX][self.random(4) as usize],
            ..header
        };
        let mut batch = header.to_bytes().to_vec();
        for _ in 0..self.random(30) {
            let record = self.record();
            batch.extend(record);
        }
        let header = self.send(batch)?;
        check(header.status == ReplyStatus::Done, || {
            format!("a sound batch was answered by {:?}", header.status)
        })?;
        self.last = (header.generation, header.number);
        Ok(())
    }

    fn record(&mut self) -> Vec<u8> {
        let id = CallId::new(self.random(SLOTS) as usize, 1 + self.random(AGES) as u32);
        let (kind, payload) = match self.random(8) {
            0 => (Kind::Cancel, Vec::new()),
            1 => (Kind::More, self.bytes(4)),
            2 => (Kind::Void, self.bytes(10)),
            _ => {
                let name = FUNCTIONS[self.random(FUNCTIONS.len() as u64) as usize];
                let argument = self.random(300).to_le_bytes();
                let payload = [&[name.len() as u8], name.as_bytes(), &argument].concat();
                (Kind::Request, payload)
            }
        };
        let header = RecordHeader {
            kind,
            cid: id.0,
            payload_len: payload.len() as u32,
        };
        [header.to_bytes().as_slice(), &payload].concat()
    }
}

pub(super) fn hostile_batches(guest: &SandboxGuest) -> Check {
    let threads = Process::now()?.threads;
    let forever = Forever::default();
    let host = host(&forever).with_limits(LIMITS);
    let (mut sandbox, host) = guest.sandbox_of(host)?;
    for seed in 1..=2 {
        let mut hostile = Hostile {
            sandbox: &mut sandbox,
            host: &host,
            random: seed,
            last: (0, 0),
        };
        for round in 0..40 {
            hostile.send_nonsense(round)?;
            hostile.send_sound()?;
        }
        let (usage, running) = (host.usage(), forever.running());
        println!("{running} functions run: {usage:?}");
        check(running > 0 && usage.calls >= running, || {
            format!("{running} functions run: {usage:?}")
        })?;
        // Except after the last round, a guest of this library goes on, with a number that does not
        // follow: so all that was in flight ends.
        if seed < 2 {
            works(&mut sandbox)?;
            forever.become_running(0)?;
        }
    }
    drop(sandbox);
    forever.become_running(0)?;
    let start = Instant::now();
    let is_left = || host.usage().calls > 0 || host.usage().bytes > 0;
    while is_left() || Process::now()?.threads > threads {
        check(start.elapsed() < MARGIN, || {
            let threads = Process::now().map_or(0, |now| now.threads);
            format!("{threads} threads and {:?} are left", host.usage())
        })?;
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
