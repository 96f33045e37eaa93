//! What a sleep asks the machine for: what the guest program `sleeps` reports, or its steps show.

use super::counts::CountError;
use crate::document::counts::Exits;
use dormir_harness::vmm::{EventKind, Stretch};

/// How many there were for each sleep, to a thousandth.
fn per_sleep(all: u64, sleeps: u64) -> f64 {
    (all as f64 / sleeps as f64 * 1000.0).round() / 1000.0
}

/// Whether a guest's figure of this name is about exits.
pub(crate) fn is_one(name: &str) -> bool {
    name.split('/').nth(1) == Some("exits")
}

/// Reads what a guest reported: for each row `RUNTIME/exits/TASKS/SLACK_NS/TIMER/WHAT`, the sleeps
/// first, then each of the others.
pub(crate) fn read(stats: &[(String, u64)]) -> Result<Vec<Exits>, CountError> {
    let rows = stats.chunks(4).map(|row| {
        read_row(row).ok_or_else(|| CountError {
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
        (name.rsplit_once('/') == Some((subject, what))).then(|| per_sleep(*value, sleeps))
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

/// What the stepped sleeps of one task asked for: from its first poll to its last.
pub(crate) fn of_stretches(runtime: &str, timer: &str, stretches: &[Stretch]) -> Option<Exits> {
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
        alarm_writes: per_sleep(alarm_writes, sleeps),
        halts: per_sleep(halts, sleeps),
        eois: per_sleep(eois, sleeps),
        others: Some(per_sleep(others, sleeps)),
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
    use dormir_harness::vmm::StepEvent;

    fn stretch(kinds: &[EventKind]) -> Stretch {
        let events = kinds.iter().enumerate();
        Stretch {
            addresses: Vec::new(),
            events: events.map(|(at, &kind)| StepEvent { at, kind }).collect(),
        }
    }

    #[test]
    fn what_lies_between_the_first_poll_and_the_last_is_counted() {
        use EventKind::*;
        let sleep = [MsrWrite(0x6e0), Halt, Interrupt, MsrWrite(0x80b), Mark];
        let ends = [PortWrite(0x80), Halt, Mark];
        let two = [&ends[..], &sleep, &sleep, &[PortWrite(port::STEPS)]].concat();
        let exits = of_stretches("dormir", "tsc-deadline", &[stretch(&two)]).expect("two sleeps");
        assert_eq!((exits.sleeps, exits.others), (2, Some(0.0)));
        let once = 1.0;
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
        assert_eq!((exits.alarm_writes, exits.eois), (3.0, 2.0));
        assert_eq!((exits.halts, exits.others), (0.0, Some(3.0)));
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
        let figures = [exits.alarm_writes, exits.halts, exits.eois];
        assert_eq!(figures, [0.383, 0.001, 2.0]);
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
