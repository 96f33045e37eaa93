use super::{bootstrap::Resampled, gate::Percentage, *};
use crate::document::{distribution::Distribution, latency::made_up_cell};

fn spread(from: u64) -> Vec<u64> {
    (0..2000).map(|index| from + index % 500).collect()
}

fn document(values: &[u64]) -> Document {
    let mut cell = made_up_cell("dormir", values, &[("poll", 1)]);
    // Without a floor.
    cell.path = "task".into();
    Document::for_test(vec![cell])
}

fn change_of(before: &[u64], after: &[u64], floors: Option<[&[u64]; 2]>, part: f64) -> Change {
    let of = |values: &[u64]| Distribution::of(values.iter().copied());
    let figures = [of(before), of(after)];
    let floors = floors.map(|floors| floors.map(of));
    let side = |index: usize| Side {
        figures: &figures[index],
        floor: floors.as_ref().map(|floors| &floors[index]),
    };
    let mut random = StdRng::seed_from_u64(SEED);
    change([side(0), side(1)], part, &mut random).expect("there are samples")
}

fn verdicts(before: &[u64], after: &[u64]) -> Vec<&'static str> {
    let verdict = |(_, part)| change_of(before, after, None, part).verdict();
    COMPARED.map(verdict).to_vec()
}

#[test]
fn a_host_that_became_slower_is_no_slower_runtime() {
    let (before, after) = (spread(1000), spread(1200));
    let floors = [spread(500), spread(600 + 100)];
    let floors = [&floors[0][..], &floors[1][..]];
    // Both are slower, and the floor by more.
    let change = change_of(&before, &after, Some(floors), 0.5);
    assert_eq!(change.verdict(), "faster");
    let halved = change_of(&before, &after, Some([&before, &after]), 0.5);
    assert_eq!(halved.verdict(), UNCHANGED);
    assert_eq!(
        halved.after.to_string(),
        format!("{} / 1.00x", halved.after.nanos)
    );
    assert_eq!(change_of(&before, &after, None, 0.5).verdict(), "slower");
}

#[test]
fn what_became_slower_or_faster_is_said() {
    assert_eq!(verdicts(&spread(1000), &spread(1100)), ["slower", "slower"]);
    assert_eq!(verdicts(&spread(1100), &spread(1000)), ["faster", "faster"]);
    assert_eq!(
        verdicts(&spread(1000), &spread(1000)),
        [UNCHANGED, UNCHANGED]
    );
}

#[test]
fn a_worse_tail_alone_is_no_worse_median() {
    let before = spread(1000);
    let mut after = before.clone();
    after
        .iter_mut()
        .step_by(50)
        .for_each(|value| *value += 5000);
    assert_eq!(verdicts(&before, &after), [UNCHANGED, "slower"]);
}

/// Compared with the bootstrap that draws all samples again.
#[test]
fn the_interval_is_that_of_the_bootstrap() {
    use rand::RngExt;

    let values: Vec<u64> = (0..200).map(|index| 1000 + index * index % 997).collect();
    let distribution = Distribution::of(values.iter().copied());
    let mut random = StdRng::seed_from_u64(SEED);
    let short = Resampled::new(&distribution, 0.5).expect("samples");
    let mut shorts: Vec<u64> = (0..4000).map(|_| short.next(&mut random)).collect();
    let mut longs: Vec<u64> = (0..4000)
        .map(|_| {
            let draw = |_| values[random.random_range(0..values.len())];
            let mut drawn: Vec<u64> = (0..values.len()).map(draw).collect();
            drawn.sort_unstable();
            drawn[values.len() / 2 - 1]
        })
        .collect();
    shorts.sort_unstable();
    longs.sort_unstable();
    for part in [0.025, 0.25, 0.5, 0.75, 0.975] {
        let at = |values: &[u64]| values[(part * 4000.0) as usize];
        let (short, long) = (at(&shorts), at(&longs));
        assert!(short.abs_diff(long) <= 40, "{part}: {short} and {long}");
    }
}

#[test]
fn the_text_names_the_cell_the_method_and_the_same_change_each_time() {
    let (before, after) = (document(&spread(1000)), document(&spread(1100)));
    let text = text(&before, &after);
    for said in [
        "tsc-deadline",
        "dormir",
        "slower",
        "bootstrap",
        "2 of 2 changed",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(!text.contains("machines differ"), "{text}");
    assert_eq!(self::text(&before, &after), text);
}

#[test]
fn another_machine_is_said_and_files_without_a_common_cell_are_refused() {
    let before = document(&spread(1000));
    let mut after = before.clone();
    after.host.cpu = Some("Another processor".into());
    let text = text(&before, &after);
    assert!(
        text.contains("machines differ") && text.contains("Another"),
        "{text}"
    );
    after.cells[0].vmm = "qemu-tcg/q35".into();
    assert_eq!(
        Comparison::of(&before, &after).map(|_| ()),
        Err(NothingInCommonError)
    );
}

fn text(before: &Document, after: &Document) -> String {
    let comparison = Comparison::of(before, after).expect("a cell in common");
    comparison.text()
}

/// A floor and the runtimes, whose polls take these multiples of the floor's.
fn run(dormir: u64, embassy: u64) -> Document {
    let values = spread(1000);
    Document::for_test(vec![
        made_up_cell("floor", &values, &[("poll", 1)]),
        made_up_cell("dormir", &values, &[("poll", dormir)]),
        made_up_cell("embassy", &values, &[("poll", embassy)]),
    ])
}

fn failures(before: &Document, after: &Document, allowed: &str) -> Option<String> {
    let comparison = Comparison::of(before, after).expect("a cell in common");
    comparison.failures(allowed.parse().expect("a percentage"))
}

#[test]
fn only_what_is_slower_than_allowed_in_the_whole_interval_fails() {
    let (before, after) = (run(4, 4), run(5, 4));
    assert_eq!(failures(&before, &before, "0"), None);
    assert_eq!(failures(&after, &before, "0"), None, "it became faster");
    assert_eq!(failures(&before, &after, "30"), None, "25 % are within");
    // 25 % are above, but some of the interval is below.
    assert_eq!(failures(&before, &after, "24.9"), None);
    let failures = failures(&before, &after, "10").expect("25 % are above");
    assert!(
        failures.contains("deadline, poll, dormir, p50: slower by +2"),
        "{failures}"
    );
    assert!(failures.contains("10 % are allowed"), "{failures}");
}

#[test]
fn a_worse_tail_is_no_failure() {
    let before = run(4, 4);
    let mut after = before.clone();
    let mut values: Vec<u64> = spread(1000).iter().map(|value| value * 4).collect();
    values
        .iter_mut()
        .step_by(50)
        .for_each(|value| *value += 50_000);
    after.cells[1].spans = made_up_cell("dormir", &values, &[("poll", 1)]).spans;
    assert!(text(&before, &after).contains("slower"));
    assert_eq!(failures(&before, &after, "0"), None);
}

/// An alarm that often came early has a handler whose median is 0.
#[test]
fn what_took_no_time_can_become_slower_too() {
    let with_median = |median: u64| {
        let values = [vec![median; 1500], vec![5000; 500]].concat();
        let mut document = run(4, 4);
        document.cells[1].spans = made_up_cell("dormir", &values, &[("poll", 1)]).spans;
        document
    };
    let (none, some) = (with_median(0), with_median(4000));
    assert_eq!(failures(&none, &none, "0"), None);
    assert_eq!(failures(&some, &none, "0"), None);
    assert!(failures(&none, &some, "50").is_some());
}

#[test]
fn what_others_take_is_no_failure() {
    assert_eq!(failures(&run(4, 4), &run(4, 9), "0"), None);
}

#[test]
fn a_figure_that_is_gone_is_said_and_is_a_failure() {
    let before = run(4, 4);
    let mut after = before.clone();
    after.cells.retain(|cell| cell.runtime != "dormir");
    let text = text(&before, &after);
    assert!(
        text.contains("not in both files: kvm, tsc-deadline, halt, none, deadline, poll, dormir."),
        "{text}"
    );
    let failures = failures(&before, &after, "50").expect("a failure");
    assert!(failures.contains("could not be compared"), "{failures}");
    assert!(failures.contains("nothing of dormir's"), "{failures}");
}

#[test]
fn a_figure_without_its_floor_is_not_held_against_one_with_it() {
    let before = run(4, 4);
    let mut after = before.clone();
    after.cells.retain(|cell| cell.runtime != "floor");
    let comparison = Comparison::of(&before, &after);
    assert_eq!(comparison.map(|_| ()), Err(NothingInCommonError));
}

#[test]
fn a_wake_by_a_task_is_compared_as_it_is() {
    let of = |floor: u64| {
        let mut document = run(4, 4);
        for cell in &mut document.cells {
            cell.path = "task".into();
        }
        let values = spread(floor);
        document.cells[0].spans = made_up_cell("floor", &values, &[("poll", 1)]).spans;
        document
    };
    assert_eq!(failures(&of(1000), &of(10), "0"), None);
}

#[test]
fn a_percentage_is_a_number_from_zero_on() {
    assert!("0".parse::<Percentage>().is_ok() && "2.5".parse::<Percentage>().is_ok());
    for bad in ["-1", "five", "NaN", "inf", ""] {
        let error = bad.parse::<Percentage>().expect_err(bad).to_string();
        assert!(error.contains("--fail-above"), "{error}");
    }
}

/// As many as a file may have: to look for each among all would take hours.
#[test]
fn cells_are_not_searched_for_one_by_one() {
    let mut cell = made_up_cell("dormir", &[], &[]);
    let cells = |from: usize| {
        let cells = (from..from + 50_000).map(|number| {
            cell.vmm = format!("machine {number}");
            cell.clone()
        });
        cells.collect::<Vec<_>>()
    };
    let mut cells = cells;
    let (before, after) = (
        Document::for_test(cells(0)),
        Document::for_test(cells(50_000)),
    );
    let started = std::time::Instant::now();
    assert!(Comparison::of(&before, &after).is_err());
    assert!(started.elapsed() < std::time::Duration::from_secs(10));
}
