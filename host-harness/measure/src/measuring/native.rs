//! Runs `host-harness/bench`, which compares executors natively, and reads its table.

use super::{
    machine,
    versions::{self, VersionsError},
};
use crate::document::native::{NativeDocument, Ratio};
use dormir_harness::{vmm::StopToken, workspace::Workspace};
use std::{
    env,
    io::{self, BufRead, BufReader, Write},
    process::{Command, ExitStatus, Stdio},
};

/// Why there are no ratios.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NativeError {
    #[error("cargo cannot be run ({0}): check that it is installed and in PATH")]
    Cargo(#[from] io::Error),
    #[error("`cargo bench --package dormir-bench` failed ({0}) and says above why")]
    Bench(ExitStatus),
    #[error(
        "the bench's table cannot be read: build this command and the bench from the same sources"
    )]
    Table,
    #[error(transparent)]
    Versions(#[from] VersionsError),
}

/// Runs the bench, which takes some minutes, and shows what it prints as it comes.
pub(crate) fn measure(
    workspace: &Workspace,
    stop: &StopToken,
) -> Result<NativeDocument, NativeError> {
    let versions = versions::of_native(workspace, stop)?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut bench = Command::new(cargo)
        .args(["bench", "--locked", "--package", "dormir-bench"])
        .current_dir(workspace.root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut printed = String::new();
    if let Some(stdout) = bench.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            // Whether or not anything reads it.
            let _ = writeln!(io::stdout(), "{line}");
            printed += &line;
            printed.push('\n');
        }
    }
    let status = bench.wait()?;
    if !status.success() {
        return Err(NativeError::Bench(status));
    }
    let ratios = read(&printed).ok_or(NativeError::Table)?;
    Ok(NativeDocument::new(machine::look(), versions, ratios))
}

/// Reads the table among what the bench printed: a row for each case and number of tasks, a column
/// for each runtime, and in the base's cell its time.
fn read(printed: &str) -> Option<Vec<Ratio>> {
    let mut rows = printed
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let header = rows.find(|row| row.starts_with(&["case", "n"]))?;
    let mut ratios = Vec::new();
    for row in rows {
        let (&[case, n], cells) = row.split_first_chunk()?;
        for (runtime, cell) in header[2..].iter().zip(cells) {
            if *cell == "-" {
                continue;
            }
            let (ratio, spread, nanoseconds) = match cell.split_once(" = ") {
                Some((_, time)) => (1.0, None, Some(time.strip_suffix(" ns")?.parse().ok()?)),
                None => {
                    let (ratio, spread) = cell.split_once(" ±")?;
                    (ratio.parse().ok()?, Some(spread.parse().ok()?), None)
                }
            };
            ratios.push(Ratio {
                case: case.to_owned(),
                n: n.parse().ok()?,
                runtime: (*runtime).to_owned(),
                ratio,
                spread,
                nanoseconds,
            });
        }
    }
    (!ratios.is_empty()).then_some(ratios)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "\
ping_pong/embassy/64    time:   [10.1 ns 10.2 ns 10.3 ns]

Ratios of median times to the first runtime in the row, 101 rounds in turn:

| case              |    n |        embassy |         dormir |      LocalPool |
|-------------------|-----:|---------------:|---------------:|---------------:|
| ping_pong         |   64 |    1 = 10.3 ns |     0.53 ±0.01 |     2.30 ±0.10 |
| join              | 4096 |              - |    1 = 20.0 ns |              - |

Alone: a poll with its counting 1.0 ns.
";

    #[test]
    fn the_table_is_found_and_read() {
        let ratios = read(PRINTED).expect("a table");
        let found: Vec<_> = ratios
            .iter()
            .map(|one| (&*one.case, one.n, &*one.runtime, one.ratio))
            .collect();
        let expected = [
            ("ping_pong", 64, "embassy", 1.0),
            ("ping_pong", 64, "dormir", 0.53),
            ("ping_pong", 64, "LocalPool", 2.3),
            ("join", 4096, "dormir", 1.0),
        ];
        assert_eq!(found, expected);
        assert_eq!(
            (ratios[0].nanoseconds, ratios[1].spread),
            (Some(10.3), Some(0.01))
        );
    }

    #[test]
    fn what_is_no_table_is_refused() {
        for (from, to) in [
            ("| case ", "| cases"),
            ("±0.01", "0.01"),
            ("10.3 ns |", "10.3 |"),
        ] {
            assert_eq!(read(&PRINTED.replace(from, to)), None, "{from}");
        }
    }
}
