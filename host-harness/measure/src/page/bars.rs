//! Counts and sizes as bars, each a row of a table.

use crate::{
    document::{
        counts::Count,
        sizes::{self, ImageSize},
    },
    report::numbers,
};
use maud::{Markup, html};

/// Rows that are compared with one another.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Group {
    pub(super) title: String,
    pub(super) bars: Vec<Bar>,
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bar {
    pub(super) name: String,
    /// The runtime whose colour it has.
    pub(super) runtime: &'static str,
    pub(super) length: f64,
    /// The number, as it is written.
    pub(super) text: String,
}

/// What is shown of the counts: a case, how many tasks or timers, and what that is.
const SHOWN: &[(&str, u64, &str)] = &[
    ("wake_first", 64, "wake a task"),
    ("wake_dup", 64, "wake it once more"),
    ("wake_poll", 64, "wake and poll one task"),
    ("wake_all_poll_all", 64, "wake and poll all 64, per task"),
    ("ping_pong", 64, "switch between two of 64 tasks"),
    ("spawn", 64, "spawn one task of 64"),
    ("timer_arm", 1, "arm the only timer"),
    ("timer_fire", 1, "fire the only timer"),
    ("timer_cancel", 1, "cancel the only timer"),
    ("timer_arm", 1000, "arm one of 1,000 timers"),
    ("timer_fire", 1000, "fire one of 1,000"),
    ("timer_cancel", 1000, "cancel one of 1,000"),
];

/// The capacity of the executor whose counts are shown.
const CAPACITY: u64 = 64;

/// Dormir's bars and embassy's, as far as they were counted.
pub(super) fn of_counts(counts: &[Count]) -> Vec<Group> {
    let group = |&(case, n, title): &(&str, u64, &str)| {
        let find = |runtime: &str, cpus: Option<&str>| {
            let is_it = |count: &&Count| {
                (&*count.case, count.n, &*count.runtime) == (case, n, runtime)
                    && count.cpus.as_deref() == cpus
                    && (cpus.is_none() || count.capacity == Some(CAPACITY))
            };
            counts.iter().find(is_it)
        };
        let bars = [
            ("dormir", "dormir", Some("shared")),
            ("dormir, SingleVcpu", "dormir", Some("single")),
            ("embassy", "embassy", None),
        ];
        let bar = |(name, runtime, cpus): (&str, &'static str, Option<&str>)| {
            Some(Bar {
                name: name.to_owned(),
                runtime,
                length: find(runtime, cpus)?.instructions,
                text: String::new(),
            })
        };
        let mut bars: Vec<Bar> = bars.into_iter().filter_map(bar).collect();
        let is_whole = bars.iter().all(|bar| bar.length.fract() == 0.0);
        for bar in &mut bars {
            bar.text = numbers::instructions(bar.length, is_whole);
        }
        Group {
            title: title.to_owned(),
            bars,
        }
    };
    let groups = SHOWN.iter().map(group);
    groups.filter(|group| !group.bars.is_empty()).collect()
}

/// What each program has to have in its file.
pub(super) fn of_images(images: &[ImageSize]) -> Group {
    let bar = |image: &ImageSize| Bar {
        name: image.program.clone(),
        runtime: sizes::runtime_of(&image.program),
        length: image.loaded() as f64,
        text: format!("{} bytes", numbers::grouped(image.loaded())),
    };
    Group {
        title: "code, constants and data".into(),
        bars: images.iter().map(bar).collect(),
    }
}

/// A table whose rows have bars. `what` is what their lengths are.
pub(super) fn draw(group: &Group, what: &str) -> Markup {
    let longest = group.bars.iter().map(|bar| bar.length).fold(0.0, f64::max);
    html! {
        table.bars {
            caption { (group.title) }
            thead.aside { tr {
                th scope="col" { "runtime" }
                th aria-hidden="true" {}
                th scope="col" { (what) }
            } }
            tbody {
                @for bar in &group.bars {
                    tr {
                        th scope="row" { (bar.name) }
                        td.length aria-hidden="true" {
                            @let width = percent(bar.length, longest);
                            span class={ "bar " (bar.runtime) } style={ "width:" (width) "%" } {}
                        }
                        td.number { (bar.text) }
                    }
                }
            }
        }
    }
}

/// The width of a bar, which is never zero, so that each bar is visible.
fn percent(length: f64, longest: f64) -> f64 {
    if longest == 0.0 {
        return 0.5;
    }
    let percent = length / longest * 100.0;
    (percent * 10.0).round().max(5.0) / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::counts::CASES;

    fn groups(figures: &[(&str, u64)]) -> Vec<Group> {
        let count = |(name, tenths): &(&str, u64)| Count::of(name, *tenths as f64 / 10.0);
        let counts: Option<Vec<Count>> = figures.iter().map(count).collect();
        of_counts(&counts.expect("figures"))
    }

    #[test]
    fn runtimes_stand_together_and_other_capacities_are_left_out() {
        let groups = groups(&[
            ("embassy/spawn/64/64/-", 1451),
            ("dormir/spawn/64/4096/shared", 611),
            ("dormir/spawn/64/64/single", 571),
            ("dormir/spawn/64/64/shared", 591),
            ("edge/spawn/64/64/-", 9999),
            ("dormir/empty_pass/64/64/shared", 70),
        ]);
        let [group] = groups.as_slice() else {
            panic!("one group: {groups:?}");
        };
        let rows: Vec<_> = group
            .bars
            .iter()
            .map(|bar| (&*bar.name, &*bar.text))
            .collect();
        let expected = [
            ("dormir", "59.1"),
            ("dormir, SingleVcpu", "57.1"),
            ("embassy", "145.1"),
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn every_case_that_is_shown_is_one_that_is_counted() {
        for (case, ..) in SHOWN {
            assert!(CASES.iter().any(|one| one.name == *case), "{case}");
        }
    }

    #[test]
    fn bars_are_as_long_as_their_numbers_and_never_nothing() {
        let groups = groups(&[
            ("embassy/timer_arm/1000/-/-", 121_060),
            ("dormir/timer_arm/1000/64/shared", 2195),
        ]);
        let drawn = draw(&groups[0], "instructions").into_string();
        assert!(
            drawn.contains("bar embassy\" style=\"width:100%\""),
            "{drawn}"
        );
        assert!(
            drawn.contains("bar dormir\" style=\"width:1.8%\""),
            "{drawn}"
        );
        assert!(
            drawn.contains(">12,106.0<") && drawn.contains(">219.5<"),
            "{drawn}"
        );
        assert_eq!(percent(1.0, 1e6), 0.5);
        assert_eq!(percent(0.0, 0.0), 0.5);
    }
}
