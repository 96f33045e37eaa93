//! The board: every wait that is open, and how many wakes there were of each kind.
//!
//! Each wait has a kind and a number. It is for one wake, which something else issues by a known
//! time, and its task waits for nothing else: if the wake were lost, the wait would stay open, and
//! [`check`] finds it.

use alloc::vec::Vec;
use core::{
    cell::RefCell,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use critical_section::Mutex;
use dormir::time::Instant;

macro_rules! kinds {
    ($($(#[$about:meta])* $kind:ident $name:literal)*) => {
        /// What issues a wake.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Kind {
            $($(#[$about])* $kind,)*
        }

        impl Kind {
            pub(crate) const ALL: &[(Self, &str)] = &[$((Self::$kind, $name),)*];
        }
    };
}

kinds! {
    /// The deadline of a timer, up to a second away.
    Timers "timers"
    /// The same, from a second to minutes away.
    LongTimers "long_timers"
    /// A ticker's tick.
    Ticks "ticks"
    /// The limit of a timeout.
    Timeouts "timeouts"
    /// A timer of embassy-time.
    Embassy "embassy"
    /// Another task, which has left a number.
    Tasks "tasks"
    /// The task itself, when it yields.
    Yields "yields"
    /// The spawn of a task.
    Spawns "spawns"
    /// The end of a task that is joined.
    Joins "joins"
    /// The abort of a task that is joined.
    Aborts "aborts"
    /// An interrupt handler.
    Interrupts "interrupts"
    /// The spawn of a task by an interrupt handler.
    Handlers "handlers"
    /// The interrupt of a second timer, the PIT.
    Pit "pit"
    /// An interrupt that the host injects.
    Host "host"
    /// A device of random numbers.
    Rng "rng"
    /// A disk.
    Disk "disk"
    /// An async function of the host, over a console.
    Calls "calls"
}

const KINDS: usize = Kind::ALL.len();

/// What became of the waits of a kind.
#[derive(Clone, Copy)]
pub(crate) struct Counts {
    /// How many began; the number of the last one.
    begun: u64,
    /// The wakes: polls of tasks that had waited.
    pub(crate) woken: u64,
    /// What they waited for was there at their first poll.
    at_once: u64,
    /// They were dropped before the wake, or before the task was polled after it.
    pub(crate) dropped: u64,
}

/// A wait that has not ended.
struct Open {
    kind: Kind,
    number: u64,
    /// When the wake was, or will have been, issued. `None`: what issues it has not said yet.
    due: Option<Instant>,
    /// The last look found it overdue.
    is_suspected: bool,
}

struct Board {
    counts: [Counts; KINDS],
    open: Vec<Option<Open>>,
    free: Vec<usize>,
}

static BOARD: Mutex<RefCell<Board>> = Mutex::new(RefCell::new(Board {
    counts: [Counts {
        begun: 0,
        woken: 0,
        at_once: 0,
        dropped: 0,
    }; KINDS],
    open: Vec::new(),
    free: Vec::new(),
}));

/// How long after it is due a wake is waited for, in nanoseconds.
static PATIENCE: AtomicU64 = AtomicU64::new(0);

fn with<T>(work: impl FnOnce(&mut Board) -> T) -> T {
    critical_section::with(|cs| work(&mut BOARD.borrow_ref_mut(cs)))
}

/// Makes room for this many waits at once.
pub(crate) fn set_up(most: usize, patience: Duration) {
    PATIENCE.store(patience.as_nanos() as u64, Ordering::Relaxed);
    let (mut open, mut free) = (Vec::new(), Vec::new());
    open.resize_with(most, || None);
    free.extend((0..most).rev());
    with(|board| (board.open, board.free) = (open, free));
}

/// A wait. When it is dropped before its end, it counts as dropped.
#[derive(Debug)]
pub(crate) struct Wait {
    pub(crate) kind: Kind,
    place: usize,
}

impl Wait {
    /// Begins a wait whose wake is issued by `due`, or says so by [`issue`].
    pub(crate) fn begin(kind: Kind, due: Option<Instant>) -> Self {
        let place = with(|board| {
            let place = board.free.pop()?;
            let counts = &mut board.counts[kind as usize];
            counts.begun += 1;
            let number = counts.begun;
            board.open[place] = Some(Open {
                kind,
                number,
                due,
                is_suspected: false,
            });
            Some(place)
        });
        let place = place.expect("the board has room for the waits of all tasks");
        Self { kind, place }
    }

    /// Where it is on the board, for [`issue`].
    pub(crate) fn place(&self) -> usize {
        self.place
    }

    /// Ends the wait: its task was polled, after a wake or at once.
    pub(crate) fn end(self, was_woken: bool) {
        self.close(|counts| {
            if was_woken {
                counts.woken += 1;
            } else {
                counts.at_once += 1;
            }
        });
        core::mem::forget(self);
    }

    fn close(&self, count: impl FnOnce(&mut Counts)) {
        with(|board| {
            board.open[self.place] = None;
            board.free.push(self.place);
            count(&mut board.counts[self.kind as usize]);
        });
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.close(|counts| counts.dropped += 1);
    }
}

/// Notes that the wake of the wait at `place` is issued now.
pub(crate) fn issue(place: usize) {
    let now = Instant::now();
    with(|board| {
        if let Some(open) = &mut board.open[place] {
            open.due.get_or_insert(now);
        }
    });
}

/// Looks for a wake that was issued long ago and has not led to a poll, not even since the last
/// look. (After a pause of the whole machine, each deadline was long ago. But from one look to the
/// next, each task that was ready is polled.)
///
/// # Panics
///
/// If there is one: the sentence names its kind and number.
pub(crate) fn check() {
    let now = Instant::now();
    let patience = Duration::from_nanos(PATIENCE.load(Ordering::Relaxed));
    // The earliest is the cause, and the others are what follows from it.
    let lost = with(|board| {
        let due = board.open.iter_mut().flatten().filter_map(|open| {
            let since = now.saturating_duration_since(open.due?);
            let is_overdue = since > patience;
            let was_suspected = core::mem::replace(&mut open.is_suspected, is_overdue);
            (is_overdue && was_suspected).then_some((since, open.kind, open.number))
        });
        due.max_by_key(|(since, ..)| *since)
    });
    if let Some((since, kind, number)) = lost {
        panic!(
            "a wake was lost: number {number} of the kind `{}` was due {since:?} ago, and its task \
             has not been polled",
            Kind::ALL[kind as usize].1
        );
    }
}

/// What became of all waits so far, by kind.
pub(crate) fn counts() -> [Counts; KINDS] {
    with(|board| board.counts)
}

/// The number of all wakes so far.
pub(crate) fn wakes() -> u64 {
    counts().iter().map(|counts| counts.woken).sum()
}

/// Checks that no wait is open, and that each that began has ended or was dropped.
///
/// # Errors
///
/// The kind of which that is not so.
pub(crate) fn settle() -> Result<(), &'static str> {
    let open = with(|board| board.open.iter().flatten().map(|open| open.kind).next());
    if let Some(kind) = open {
        return Err(Kind::ALL[kind as usize].1);
    }
    let is_settled =
        |counts: &Counts| counts.begun == counts.woken + counts.at_once + counts.dropped;
    let counts = counts();
    let kinds = Kind::ALL.iter().zip(&counts);
    let mut unsettled = kinds.filter(|(_, counts)| !is_settled(counts));
    unsettled.next().map_or(Ok(()), |((_, name), _)| Err(name))
}
