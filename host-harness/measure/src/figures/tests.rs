//! What is put into a text.

use super::*;
use crate::document::{
    Host,
    counts::{Count, CountsDocument, Exits},
    versions_for_test,
};

fn records() -> Records {
    let count = |(subject, instructions, worst)| Count {
        worst,
        ..Count::of(subject, instructions).expect("a figure")
    };
    let counts = [
        ("dormir/ping_pong/64/64/shared", 52.0, None),
        ("dormir/ping_pong/64/4096/single", 59.5, None),
        ("embassy/ping_pong/64/64/-", 55.0, None),
        ("dormir/timer_arm/1000/64/shared", 219.4, Some(352)),
        ("embassy/timer_arm/1000/-/-", 12_106.0, None),
        ("dormir/isr_to_poll/1/64/shared/pit", 136.0, Some(136)),
    ]
    .map(count);
    let exits = Exits {
        runtime: "dormir".into(),
        timer: "pit".into(),
        tasks: 1,
        slack_ns: 0,
        sleeps: 3,
        alarm_writes: 2.0,
        halts: 1.0,
        eois: 1.0,
        others: Some(0.0),
    };
    let with_slack = Exits {
        tasks: 10,
        slack_ns: 1_000_000,
        alarm_writes: 0.383,
        others: None,
        ..exits.clone()
    };
    let document = CountsDocument {
        date: Some("2026-01-02T03:04:05Z".into()),
        counts: counts.into(),
        exits: vec![exits, with_slack],
        ..CountsDocument::new(Host::for_test(), versions_for_test())
    };
    Records {
        counts: Some(document),
        ..Records::default()
    }
}

fn table(name: &str) -> Vec<Vec<String>> {
    let Ok(Figure::Table(table)) = records().figure(name) else {
        panic!("a table");
    };
    let cells = |line: &str| -> Vec<String> {
        let cells = line.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().to_owned()).collect()
    };
    table.lines().map(cells).collect()
}

#[test]
fn tables_have_whole_numbers_and_say_what_is_missing() {
    let tasks = table("counts-tasks");
    let switch = [
        "two of 64 tasks wake each other, per switch",
        "52",
        "not measured",
        "not measured",
        "60",
        "55",
    ];
    assert!(tasks.iter().any(|row| row == &switch), "{tasks:?}");
    let timers = table("counts-timers");
    let thousand = [
        "1,000",
        "219 (352)",
        "not measured",
        "not measured",
        "12,106",
        "not measured",
        "not measured",
    ];
    assert!(timers.iter().any(|row| row == &thousand), "{timers:?}");
    let sleeps = table("counts-sleeps");
    assert_eq!(
        sleeps[2..],
        [["PIT", "1 (two bytes)", "1", "1", "0", "136"]]
    );
}

#[test]
fn values_stand_within_lines() {
    let text = "It takes <!-- figures: count dormir/ping_pong/64/4096/single -->?<!-- /figures \
                -->, at most <!-- figures: worst dormir/timer_arm/1000/64/shared -->352<!-- \
                /figures -->, and <!-- figures: slack --><!-- /figures --> (<!-- figures: \
                counts-record -->x<!-- /figures -->).\n";
    let spliced = splice(text, &records()).expect("all are there");
    let shown: String = spliced
        .text
        .split("<!--")
        .map(|part| part.split_once("-->").map_or(part, |(_, shown)| shown))
        .collect();
    assert_eq!(
        shown,
        "It takes 60, at most 352, and 0.38 (2026-01-02, rustc 9.8.7).\n"
    );
    let changed = [
        "count dormir/ping_pong/64/4096/single",
        "slack",
        "counts-record",
    ];
    assert_eq!(spliced.changed, changed);
    let again = splice(&spliced.text, &records()).expect("all are there");
    assert_eq!((&again.text, again.changed.len()), (&spliced.text, 0));
}

#[test]
fn a_table_stands_between_its_comments_and_all_else_stays() {
    let text = "# A\n\n<!-- figures: counts-sleeps -->\nold\n<!-- /figures -->\n\nend\n";
    let spliced = splice(text, &records()).expect("it is there").text;
    assert!(
        spliced.starts_with("# A\n\n<!-- figures: counts-sleeps -->\n| timer "),
        "{spliced}"
    );
    assert!(
        spliced.ends_with(" |\n<!-- /figures -->\n\nend\n"),
        "{spliced}"
    );
    assert_eq!(
        splice("none\n", &records()).expect("nothing to do").text,
        "none\n"
    );
}

#[test]
fn what_cannot_be_put_in_is_refused_with_a_sentence() {
    for (text, reason) in [
        (
            "<!-- figures: counts-tasks\n-->",
            "has no ` -->` in its line",
        ),
        (
            "<!-- figures: counts-tasks -->\n|",
            "no `<!-- /figures -->`",
        ),
        (
            "<!-- figures: counts-tasks -->\n<!-- figures: slack -->1<!-- /figures -->",
            "no `<!-- /figures -->`",
        ),
        (
            "a\n<!-- figures: slack -->1<!-- /figures -->",
            "begins a line",
        ),
        (
            "<!-- figures: counts-moons -->\n<!-- /figures -->",
            "no figure named `counts-moons`",
        ),
        (
            "a <!-- figures: moon -->\n<!-- /figures -->",
            "no figure named `moon`",
        ),
        (
            "a <!-- figures: count dormir/spawn/64/64/shared -->1<!-- /figures -->",
            "is not in docs/figures/counts.json",
        ),
        (
            "<!-- figures: latency -->\n<!-- /figures -->",
            "--vmm qemu-tcg --json docs/figures/latency.json` records it",
        ),
    ] {
        let error = splice(text, &records()).expect_err(reason).to_string();
        assert!(error.contains(reason), "{error}");
    }
}
