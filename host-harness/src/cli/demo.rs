//! `cargo vm demo`: runs the demos and reports what they cost.

mod http;
mod hyperlight;

use super::{
    Ended, FAILURE, Installing,
    choose::{Choice, Under},
    complain, ended, note,
    output::ConsoleOutput,
    table,
};
use crate::{
    guest,
    setup::{self, Needs},
    stop::StopToken,
    vmm::{self, Accelerator, Device, Outcome, Report, RunConfig, Vmm, kvm},
    workspace::Workspace,
};
use std::{
    error::Error,
    io::{self, Write},
    time::Duration,
};

/// Runs the demos, shows their output as it comes, and then what they cost
///
/// Installs first what it needs and this machine lacks: the compiler's library for guests and, to
/// run them under QEMU, QEMU. The first lines say what that is, and about how long it takes.
#[derive(Debug, clap::Args)]
pub(super) struct DemoArguments {
    /// The demos to run [default: all but http]
    names: Vec<String>,
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    installing: Installing,
    /// Lists the demos and runs none
    #[arg(long)]
    list: bool,
}

/// A demo: one run of a guest program.
#[derive(Debug)]
struct Demo {
    name: &'static str,
    about: &'static str,
}

/// The guest program with the demos; the argument `demo=NAME` selects one.
const PROGRAM: &str = "demo";

const DEMOS: &[Demo] = &[
    Demo {
        name: "basic",
        about: "two futures sleep and print one after another, and the vCPU halts between",
    },
    Demo {
        name: "basic-busy",
        about: "the same program in a loop that polls without rest",
    },
    Demo {
        name: "advanced",
        about: "many futures sleep and print at once, combined by the crate futures-util",
    },
    Demo {
        name: "sleepers",
        about: "4,000 tasks asleep at once, on one timer",
    },
    Demo {
        name: "tasks",
        about: "spawned, joined, aborted, taking turns, 12,000 at once, and what one of them costs",
    },
    Demo {
        name: "roles",
        about: "future, task, waker and executor: hello, and two seconds later hello again",
    },
    Demo {
        name: "reactor",
        about: "interrupts of timer and serial line wake the tasks that wait for them",
    },
    DISK,
    HTTP,
];

/// The demo of a virtio disk, which the guest program [`DEVICES`] has.
const DISK: Demo = Demo {
    name: "disk",
    about: "blocks of a virtio disk in a second, read and written one by one, and 32 at once",
};

/// The demo of a network, which is a guest program of its own. It is run only if it is named: not
/// every machine has the program that connects it.
const HTTP: Demo = Demo {
    name: "http",
    about: "a guest serves pages, which 1, 8 and 100 connections fetch",
};

const DEVICES: &str = "devices";

/// The size of the disk, in bytes.
const DISK_SIZE: u64 = 16 << 20;

/// The demos that only Hyperlight guests have.
const HYPERLIGHT_DEMOS: &[Demo] = &[Demo {
    name: "fetch",
    about: "with --vmm hyperlight: 100 pages of a server by host calls, ten at a time and one by one",
}];

/// The time limit of a demo.
const LIMIT: Duration = Duration::from_secs(60);

/// A demo that only Hyperlight guests have was named for another VMM.
#[derive(Debug, thiserror::Error)]
#[error("the demo `{0}` is for Hyperlight: add --vmm hyperlight")]
struct ForHyperlightError(&'static str);

/// There is no demo with this name.
#[derive(Debug, thiserror::Error)]
#[error("there is no demo `{0}`: `cargo vm demo --list` names them")]
struct NoSuchDemoError(String);

pub(super) fn run(arguments: &DemoArguments, stop: &StopToken) -> Ended {
    let demos = select(&arguments.names)?;
    if arguments.list {
        return ended(list(&demos), 0);
    }
    let policy = arguments.installing.policy();
    let vmm = match arguments.choice.under()? {
        Under::Vmm(vmm) => vmm,
        Under::Hyperlight(mode) => {
            let are_named = !arguments.names.is_empty();
            return hyperlight::run(mode, &demos, are_named, policy, stop);
        }
    };
    let is_elsewhere = |demo: &&&Demo| HYPERLIGHT_DEMOS.iter().any(|it| it.name == demo.name);
    if let Some(demo) = demos.iter().find(is_elsewhere) {
        // If it was not named, it is left out.
        if !arguments.names.is_empty() {
            return Err(ForHyperlightError(demo.name).into());
        }
    }
    let is_left_out = |demo: &&&Demo| arguments.names.is_empty() && demo.name == HTTP.name;
    let demos: Vec<_> = demos
        .iter()
        .filter(|demo| !is_elsewhere(demo) && !is_left_out(demo))
        .collect();
    if matches!(vmm, Vmm::Kvm | Vmm::Qemu(Accelerator::Kvm, _)) {
        // Before anything is installed or built: set-up cannot fix this.
        kvm::probe()?;
    }
    let workspace = Workspace::locate()?;
    let needs = Needs {
        qemu: matches!(vmm, Vmm::Qemu(..)),
        passt: vmm == Vmm::Kvm && demos.iter().any(|demo| demo.name == HTTP.name),
        ..Needs::default()
    };
    let toolchain = setup::set_up(&workspace, needs, policy, stop)?;
    let program = |demo: &Demo| match demo.name {
        name if name == DISK.name => DEVICES,
        name if name == HTTP.name => HTTP.name,
        _ => PROGRAM,
    };
    let mut programs: Vec<_> = demos.iter().map(|demo| program(demo)).collect();
    programs.sort_unstable();
    programs.dedup();
    let images = guest::build(&toolchain, &workspace, &programs, stop)?;
    let disk = tempfile::NamedTempFile::new()?;
    disk.as_file().set_len(DISK_SIZE)?;

    let mut rows = Vec::new();
    let mut status = 0;
    for demo in demos {
        let elf = images.get(program(demo))?;
        let mut config = RunConfig {
            timeout: LIMIT,
            arguments: format!("demo={}", demo.name),
            stop: stop.clone(),
            ..RunConfig::new(vmm)
        };
        if demo.name == DISK.name {
            config.devices = vec![Device::Disk {
                path: disk.path().to_owned(),
                read_only: false,
            }];
        }
        let mut port = None;
        if demo.name == HTTP.name {
            let (number, devices) = http::devices()?;
            port = Some(number);
            config.devices = devices;
            config.timeout = http::LIMIT;
        }
        let gap = if rows.is_empty() { "" } else { "\n" };
        let title = format!("{gap}== {} ({vmm}): {}\n", demo.name, demo.about);
        if let Err(error) = io::stdout().write_all(title.as_bytes()) {
            return ended(Err(error), status);
        }
        let shown = show(demo, |output| match port {
            Some(port) => http::run(elf, &config, port, output),
            None => Ok(vmm::run(elf, &config, output)?),
        });
        // After a failure the other demos still run, but not after a stop or when the output is
        // closed.
        if stop.is_stopped() || shown.status == Outcome::ConsoleClosed.exit_code() {
            return Ok(shown.status);
        }
        if shown.status != 0 {
            status = shown.status;
        }
        rows.push(shown.row);
    }
    ended(writeln!(io::stdout(), "\n{}", table::draw(&rows)), status)
}

/// The result of a demo: its row of the table, and the status for the command.
struct Shown {
    row: table::CostRow,
    status: u8,
}

/// Runs one demo with its console on standard output, and reports errors at once.
fn show(
    demo: &Demo,
    run: impl FnOnce(&mut ConsoleOutput) -> Result<Report, Box<dyn Error>>,
) -> Shown {
    let mut output = ConsoleOutput::new(false);
    let ran = run(&mut output);
    output.finish();
    match ran {
        Ok(report) => {
            for warning in &report.warnings {
                note(format_args!("warning: {}: {warning}", demo.name));
            }
            if !matches!(report.outcome, Outcome::Exited(0) | Outcome::ConsoleClosed) {
                complain(format_args!("{}: {}", demo.name, report.outcome));
            }
            Shown {
                row: table::CostRow::new(demo.name, &report),
                status: report.outcome.exit_code(),
            }
        }
        Err(error) => {
            complain(format_args!("{}: {error}", demo.name));
            Shown {
                row: table::CostRow::failed(demo.name),
                status: FAILURE,
            }
        }
    }
}

/// All demos.
fn all() -> impl Iterator<Item = &'static Demo> {
    DEMOS.iter().chain(HYPERLIGHT_DEMOS)
}

/// Returns the demos with these names, or all.
fn select(names: &[String]) -> Result<Vec<&'static Demo>, NoSuchDemoError> {
    if names.is_empty() {
        return Ok(all().collect());
    }
    let find = |name: &String| {
        let found = all().find(|demo| demo.name == name);
        found.ok_or_else(|| NoSuchDemoError(name.clone()))
    };
    names.iter().map(find).collect()
}

fn list(demos: &[&Demo]) -> io::Result<()> {
    let width = demos.iter().map(|demo| demo.name.len()).max().unwrap_or(0);
    demos.iter().try_for_each(|demo| {
        let only = if demo.name == HTTP.name {
            " (run only if named)"
        } else {
            ""
        };
        writeln!(io::stdout(), "{:width$}  {}{only}", demo.name, demo.about)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_means_all() {
        assert_eq!(select(&[]).unwrap().len(), all().count());
    }

    #[test]
    fn names_are_run_in_the_order_given() {
        let mut names: Vec<String> = all().map(|demo| demo.name.into()).collect();
        names.reverse();
        let found: Vec<_> = select(&names)
            .unwrap()
            .iter()
            .map(|demo| demo.name)
            .collect();
        assert_eq!(found, names);
    }

    #[test]
    fn an_unknown_name_is_named() {
        let error = select(&["basic".into(), "bazic".into()]).expect_err("there is none");
        assert!(error.to_string().contains("`bazic`"), "{error}");
    }
}
