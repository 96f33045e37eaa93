use super::*;
use clap::Parser;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

fn arguments(words: &[&str]) -> Arguments {
    let line = Line::try_parse_from([&["mutants"], words].concat());
    line.expect("it is right").arguments
}

fn some_mutants() -> Vec<Mutant> {
    let mutant = |(index, file): (usize, &&str)| Mutant {
        file: (*file).into(),
        place: format!("{index}:1: delete !"),
        change: "delete !".into(),
        line: String::new(),
    };
    let files = [
        "src/event.rs",
        "src/time/tree.rs",
        "src/time/tree/search.rs",
        "src/event.rs",
    ];
    files.iter().enumerate().map(mutant).collect()
}

fn chosen(words: &[&str]) -> Vec<String> {
    let all = some_mutants();
    let chosen = arguments(words).chosen(&all);
    chosen
        .iter()
        .map(|mutant| mutant.place[..1].to_owned())
        .collect()
}

#[test]
fn a_hang_counts_if_there_is_a_second_one() {
    let all: Vec<_> = (0..5)
        .map(|index| Mutant {
            file: "src/event.rs".into(),
            place: format!("{index}:1: delete !"),
            change: "delete !".into(),
            line: String::new(),
        })
        .collect();
    let due: Vec<&Mutant> = all.iter().collect();
    let run = |second_ends: Result<(), ToolError>| {
        let hang = |index| (index, Fate::HungOnce);
        let first = vec![(0, Fate::Caught), hang(1), hang(2), hang(3), hang(4)];
        let second = vec![hang(1), (3, Fate::Survived)];
        let mut runs = [(first, Ok(())), (second, second_ends)].into_iter();
        let mut asked = Vec::new();
        let hung_before = |mutant: &Mutant| *mutant == all[4];
        let tried = with_hangs_confirmed(&due, hung_before, |mutants| {
            asked.push(mutants.len());
            let (fates, end) = runs.next().expect("there are two");
            let fates = fates.into_iter();
            let fates = fates.map(|(index, fate)| (all[index].name(), fate));
            Ok(Tried {
                fates: fates.collect(),
                end,
            })
        });
        assert_eq!(asked, [5, 3]);
        let fates = all.iter().map(|mutant| tried.fates[&mutant.name()]);
        (fates.collect::<Vec<_>>(), tried.end.is_ok())
    };
    let fates = vec![
        Fate::Caught,
        Fate::Hung,
        // The second time did not reach it.
        Fate::HungOnce,
        Fate::Survived,
        // In an earlier run, too.
        Fate::Hung,
    ];
    assert_eq!(run(Ok(())), (fates.clone(), true));
    assert_eq!(run(Err(ProcessError::Stopped.into())), (fates, false));
}

#[test]
fn an_error_of_the_second_time_loses_nothing() {
    let mutant = Mutant {
        file: "src/event.rs".into(),
        place: "1:1: delete !".into(),
        change: "delete !".into(),
        line: String::new(),
    };
    let mut runs = [Ok(()), Err(ToolError::List)].into_iter();
    let tried = with_hangs_confirmed(
        &[&mutant],
        |_| false,
        |_| {
            let end = runs.next().expect("there are two");
            end.map(|()| Tried {
                fates: [(mutant.name(), Fate::HungOnce)].into(),
                end: Ok(()),
            })
        },
    );
    assert_eq!(tried.fates[&mutant.name()], Fate::HungOnce);
    assert!(tried.end.is_err());
}

#[test]
fn files_and_parts_are_chosen() {
    assert_eq!(chosen(&[]), ["0", "1", "2", "3"]);
    assert_eq!(chosen(&["--file", "src/time"]), ["1", "2"]);
    assert_eq!(
        chosen(&["--file", "src/event.rs", "--file", "src/time/tree/"]),
        ["0", "2", "3"]
    );
    assert_eq!(chosen(&["--shard", "1/2"]), ["1", "3"]);
    assert_eq!(chosen(&["--file", "src/event.rs", "--shard", "1/2"]), ["3"]);
}

#[test]
fn a_path_without_mutants_is_refused() {
    let check = |words: &[&str]| arguments(words).check_files(&some_mutants());
    assert!(check(&[]).is_ok());
    assert!(check(&["--file", "src/time", "--file", "src/event.rs"]).is_ok());
    let mistyped = check(&["--file", "src/time", "--file", "src/evnt.rs"]);
    let error = mistyped.expect_err("there are none").to_string();
    assert!(error.contains("`src/evnt.rs`"), "{error}");
}

#[test]
fn a_wrong_part_is_refused() {
    for text in ["", "1", "2/2", "0/0", "-1/2", "a/b"] {
        let error = text.parse::<Shard>().expect_err(text).to_string();
        assert!(error.contains(&format!("`{text}`")), "{error}");
    }
}
