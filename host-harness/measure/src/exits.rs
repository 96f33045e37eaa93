//! What a sleep asks the machine for.

use super::counts::NotACount;
use dormir_harness::vmm::{EventKind, Stretch};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// What `--help` says of these rows.
pub(super) const ABOUT: &str = "The exits: what a sleep asks the machine for, with each timer source. Under \
    KVM our own VMM steps through whole sleeps of one task, from poll to poll, and looks at each instruction: \
    writes to the alarm, hlt, EOIs, and whatever else leaves the processor. Where there is no KVM, these rows \
    are left out. And what TimerQueue::set_slack saves: 10 tasks with 100 sleeps each of up to 10 ms, without \
    slack and with 1 ms, counted by the guest in its alarm, its idle policy and its handler.";

/// One row: so many sleeps, and what they asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exits {
    /// The runtime's name.
    pub runtime: String,
    /// The timer source.
    pub timer: String,
    /// How many tasks slept.
    pub tasks: u64,
    /// The queue's slack.
    pub slack_ns: u64,
    /// How often they slept, together.
    pub sleeps: u64,
    /// Writes to the alarm; the PIT takes two for a count.
    pub alarm_writes: PerSleep,
    /// Executions of `hlt`.
    pub halts: PerSleep,
    /// Acknowledged interrupts.
    pub eois: PerSleep,
    /// What else leaves the processor, where that was looked for: other ports, MSRs, and registers of the
    /// local APIC, read or written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub others: Option<PerSleep>,
}

/// How many there were for each sleep, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PerSleep(pub u64);

impl PerSleep {
    /// The mean, rounded half up.
    fn mean(all: u64, sleeps: u64) -> Self {
        let (all, sleeps) = (u128::from(all), u128::from(sleeps));
        let mean = (all * 1000 + sleeps / 2) / sleeps;
        Self(u64::try_from(mean).unwrap_or(u64::MAX))
    }
}

/// As in `0.383`.
impl fmt::Display for PerSleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{:03}", self.0 / 1000, self.0 % 1000))
    }
}

/// A number with up to three digits behind the point: of all floats, the nearest one is written so.
impl Serialize for PerSleep {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0 as f64 / 1000.0)
    }
}

impl<'de> Deserialize<'de> for PerSleep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A negative number, or none at all, becomes 0.
        Ok(Self(
            (f64::deserialize(deserializer)? * 1000.0).round() as u64
        ))
    }
}

/// Whether a guest's figure of this name belongs to these rows.
pub(super) fn is_one(name: &str) -> bool {
    name.split('/').nth(1) == Some("exits")
}

/// Reads what a guest reported: for each row `RUNTIME/exits/TASKS/SLACK_NS/TIMER/WHAT`, the sleeps first,
/// then each of the others.
pub(super) fn read(stats: &[(String, u64)]) -> Result<Vec<Exits>, NotACount> {
    let rows = stats.chunks(4).map(|row| {
        read_row(row).ok_or_else(|| NotACount {
            name: row[0].0.clone(),
            value: row[0].1,
        })
    });
    rows.collect()
}

fn read_row(row: &[(String, u64)]) -> Option<Exits> {
    let (subject, "sleeps") = row[0].0.rsplit_once('/')? else {
        return None;
    };
    let parts: Vec<&str> = subject.split('/').collect();
    let &[runtime, "exits", tasks, slack_ns, timer] = parts.as_slice() else {
        return None;
    };
    let sleeps = Some(row[0].1).filter(|sleeps| *sleeps > 0)?;
    let figure = |index: usize, what: &str| {
        let (name, value) = row.get(index)?;
        (name.rsplit_once('/') == Some((subject, what))).then(|| PerSleep::mean(*value, sleeps))
    };
    Some(Exits {
        runtime: runtime.to_owned(),
        timer: timer.to_owned(),
        tasks: tasks.parse().ok()?,
        slack_ns: slack_ns.parse().ok()?,
        sleeps,
        alarm_writes: figure(1, "alarm_writes")?,
        halts: figure(2, "halts")?,
        eois: figure(3, "eois")?,
        others: None,
    })
}

/// What sleeps of one task asked for that were stepped through: from its first poll to its last.
pub(super) fn of_stretches(runtime: &str, timer: &str, stretches: &[Stretch]) -> Option<Exits> {
    let (mut sleeps, mut alarm_writes, mut halts, mut eois, mut others) = (0, 0, 0, 0, 0);
    for stretch in stretches {
        let is_mark = |kind: EventKind| kind == EventKind::Mark;
        let first = stretch.events.iter().position(|event| is_mark(event.kind));
        let last = stretch.events.iter().rposition(|event| is_mark(event.kind));
        for event in &stretch.events[first? + 1..=last?] {
            match event.kind {
                EventKind::Mark => sleeps += 1,
                EventKind::Halt => halts += 1,
                EventKind::Interrupt => {}
                kind if is_alarm(kind) => alarm_writes += 1,
                kind if is_eoi(kind) => eois += 1,
                _ => others += 1,
            }
        }
    }
    (sleeps > 0).then(|| Exits {
        runtime: runtime.to_owned(),
        timer: timer.to_owned(),
        tasks: 1,
        slack_ns: 0,
        sleeps,
        alarm_writes: PerSleep::mean(alarm_writes, sleeps),
        halts: PerSleep::mean(halts, sleeps),
        eois: PerSleep::mean(eois, sleeps),
        others: Some(PerSleep::mean(others, sleeps)),
    })
}

/// `IA32_TSC_DEADLINE`; the local APIC's initial count, as an MSR and in its page; the PIT's ports.
fn is_alarm(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::MsrWrite(0x6e0 | 0x838)
            | EventKind::ApicWrite(0x380)
            | EventKind::PortWrite(0x40..=0x43)
    )
}

/// The local APIC's EOI register, as an MSR and in its page; the PICs' command ports.
fn is_eoi(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::MsrWrite(0x80b) | EventKind::ApicWrite(0xb0) | EventKind::PortWrite(0x20 | 0xa0)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormir_abi::port;
    use dormir_harness::vmm::Event;

    fn stretch(kinds: &[EventKind]) -> Stretch {
        let events = kinds.iter().enumerate();
        Stretch {
            addresses: Vec::new(),
            events: events.map(|(at, &kind)| Event { at, kind }).collect(),
        }
    }

    #[test]
    fn any_figures_have_a_mean() {
        assert_eq!(PerSleep::mean(u64::MAX, u64::MAX), PerSleep(1000));
        assert_eq!(PerSleep::mean(u64::MAX, 1), PerSleep(u64::MAX));
        assert_eq!(PerSleep::mean(1, u64::MAX), PerSleep(0));
    }

    #[test]
    fn what_lies_between_the_first_poll_and_the_last_is_counted() {
        use EventKind::*;
        let sleep = [MsrWrite(0x6e0), Halt, Interrupt, MsrWrite(0x80b), Mark];
        let ends = [PortWrite(0x80), Halt, Mark];
        let two = [&ends[..], &sleep, &sleep, &[PortWrite(port::STEPS)]].concat();
        let exits = of_stretches("dormir", "tsc-deadline", &[stretch(&two)]).expect("two sleeps");
        assert_eq!((exits.sleeps, exits.others), (2, Some(PerSleep(0))));
        let once = PerSleep(1000);
        assert_eq!(
            (exits.alarm_writes, exits.halts, exits.eois),
            (once, once, once)
        );
    }

    #[test]
    fn every_timer_has_its_registers_and_what_is_none_of_them_is_seen() {
        use EventKind::*;
        let all = [
            Mark,
            ApicWrite(0x380),
            MsrWrite(0x838),
            PortWrite(0x40),
            ApicWrite(0xb0),
            PortWrite(0x20),
            ApicRead(0x390),
            MsrRead(0x1b),
            PortRead(0x61),
            Mark,
        ];
        let exits = of_stretches("dormir", "all", &[stretch(&all)]).expect("a sleep");
        assert_eq!(
            (exits.alarm_writes, exits.eois),
            (PerSleep(3000), PerSleep(2000))
        );
        assert_eq!(
            (exits.halts, exits.others),
            (PerSleep(0), Some(PerSleep(3000)))
        );
    }

    #[test]
    fn without_a_sleep_there_is_no_row() {
        for kinds in [&[][..], &[EventKind::Mark], &[EventKind::Halt]] {
            assert_eq!(of_stretches("dormir", "pit", &[stretch(kinds)]), None);
        }
    }

    fn stats(figures: &[(&str, u64)]) -> Vec<(String, u64)> {
        let own = |(name, value): &(&str, u64)| (format!("dormir/exits/{name}"), *value);
        figures.iter().map(own).collect()
    }

    #[test]
    fn a_guests_figures_become_rows() {
        let row = [
            ("10/1000000/xapic/sleeps", 1000),
            ("10/1000000/xapic/alarm_writes", 383),
            ("10/1000000/xapic/halts", 1),
            ("10/1000000/xapic/eois", 2000),
        ];
        let read_one = read(&stats(&row)).expect("a row");
        let [exits] = &read_one[..] else {
            panic!("one row: {read_one:?}");
        };
        assert_eq!(
            (exits.tasks, exits.slack_ns, exits.sleeps),
            (10, 1_000_000, 1000)
        );
        let texts = [exits.alarm_writes, exits.halts, exits.eois].map(|each| each.to_string());
        assert_eq!(texts, ["0.383", "0.001", "2.000"]);
        assert_eq!(exits.others, None);
        let json = serde_json::to_value(exits).expect("JSON");
        assert_eq!(json["alarm_writes"], 0.383);
        assert!(json.get("others").is_none());
    }

    #[test]
    fn a_row_that_is_not_whole_is_named() {
        type Row = Vec<(String, u64)>;
        let row = |change: &dyn Fn(&mut Row)| {
            let mut row = stats(&[
                ("10/0/xapic/sleeps", 1000),
                ("10/0/xapic/alarm_writes", 1),
                ("10/0/xapic/halts", 1),
                ("10/0/xapic/eois", 1),
            ]);
            change(&mut row);
            read(&row)
        };
        row(&|_| {}).expect("it is whole");
        row(&|row| row[0].1 = 0).expect_err("no sleeps");
        row(&|row| row.swap(1, 2)).expect_err("another order");
        row(&|row| drop(row.pop())).expect_err("one is missing");
        row(&|row| row[2].0.replace_range(13..14, "2")).expect_err("of another row");
    }
}
