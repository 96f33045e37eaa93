//! `cargo vm run`: runs one guest, in a script or as cargo's runner.

pub(super) mod out;

use super::{
    Ended,
    choose::{Choice, Under},
    complain,
    debugger::{self, GdbOption},
    devices::DeviceOptions,
    note,
    output::ConsoleOutput,
    stdin::{StdinOption, TYPED_LIMIT},
};
use crate::{
    guest,
    hyperlight::{self, SandboxRunner, ShowLimits},
    setup::{self, Needs, Policy},
    stop::StopToken,
    vmm::{self, MAX_MEMORY_MIB, MIN_MEMORY_MIB, Outcome, Report, RunConfig},
    workspace::Workspace,
};
use clap::{builder::RangedI64ValueParser, value_parser};
use out::OutFolder;
use std::{
    error::Error,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

/// Runs one guest, with its console on standard output and its exit code as the command's
///
/// The status is the guest's exit code if that is from 0 to 111. Any other code becomes 111, and a
/// message names it. If the guest ends in another way, the status is 101 for a panic, 102 for a
/// processor exception, 118 if it powered its machine off, 119 if the output cannot be written, 120
/// for a triple fault, 121 for an instruction that KVM cannot emulate, 122 for too much output, 123
/// if its VM died, 124 at the time limit, 130 for Ctrl-C, 141 if the output was closed. 125 means
/// that no guest was run. If 101 or 102 is the guest's own code, the message says so.
///
/// A guest that is built with dormir-guest reports in records how it ends and what it measured;
/// they carry a number that is new in each run, so that no text can be mistaken for one. The output
/// of any other guest is all text, and the value that it writes to the exit port is its result, of
/// which QEMU keeps the low seven bits.
///
/// Data that the guest sends (dormir_guest::send) is written to files in --out, however the guest
/// ends. Files with these names are replaced; no name leads out of the folder.
///
/// On a terminal, text, tabs and colours are shown; other control characters are shown escaped,
/// unless --raw is given. Into a file or a pipe the console passes unchanged.
///
/// For a Hyperlight guest (--vmm hyperlight, hyperlight-interrupts) it calls one function: the
/// guest argument is its name. The function takes no arguments and returns an i32, the exit code.
/// --memory, --pit and --out do not apply.
#[derive(Debug, clap::Args)]
pub(super) struct RunArguments {
    /// The guest: an ELF file for x86-64; or `shell`, `http` or `vsock`, which are built first
    elf: PathBuf,
    #[command(flatten)]
    options: RunOptions,
    #[command(flatten)]
    stdin: StdinOption,
    #[command(flatten)]
    devices: DeviceOptions,
    /// The folder for the data that the guest sends; it is made if it does not exist
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The guest's arguments, such as `demo=basic`; put one that begins with a dash after `--`
    #[arg(value_name = "GUEST ARGUMENTS")]
    arguments: Vec<String>,
}

/// What a guest runs under, and its limits.
#[derive(Debug, clap::Args)]
pub(super) struct RunOptions {
    #[command(flatten)]
    pub(super) choice: Choice,
    /// The guest's time limit in seconds, its start included [default: 60; 86400 if it has a
    /// terminal as --stdin]
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    #[arg(value_parser = RangedI64ValueParser::<u64>::new().range(1..=86_400))]
    timeout: Option<u64>,
    /// The guest's memory, in MiB
    #[arg(
        long,
        value_name = "MiB",
        default_value_t = 64,
        allow_negative_numbers = true
    )]
    #[arg(value_parser = value_parser!(u32).range(MEMORY_RANGE))]
    memory: u32,
    /// The limit of the guest's console output, in MiB
    #[arg(
        long,
        value_name = "MiB",
        default_value_t = 16,
        allow_negative_numbers = true
    )]
    #[arg(value_parser = RangedI64ValueParser::<u64>::new().range(1..=1 << 20))]
    console_limit: u64,
    /// Passes the console to a terminal unchanged
    #[arg(long)]
    pub(super) raw: bool,
    /// Gives the harness's own VMM a PIT (QEMU's machines have one); implied by the guest argument
    /// `timer=pit`. A VM with a PIT takes longer to shut down
    #[arg(long)]
    pit: bool,
    #[command(flatten)]
    pub(super) gdb: GdbOption,
}

const MEMORY_RANGE: RangeInclusive<i64> = MIN_MEMORY_MIB as i64..=MAX_MEMORY_MIB as i64;

/// The time limit, if none is given.
const LIMIT: Duration = Duration::from_secs(60);

impl RunOptions {
    fn timeout(&self) -> Duration {
        self.timeout.map_or(LIMIT, Duration::from_secs)
    }

    /// Returns the configuration of a guest with these arguments.
    pub(super) fn config(&self, vmm: vmm::Vmm, arguments: String, stop: &StopToken) -> RunConfig {
        let asks_for_pit = arguments.split(' ').any(|word| word == "timer=pit");
        RunConfig {
            memory_mib: self.memory,
            timeout: self.timeout(),
            arguments,
            console_limit: self.console_limit << 20,
            pit: self.pit || asks_for_pit,
            stop: stop.clone(),
            ..RunConfig::new(vmm)
        }
    }
}

/// The function to call is missing.
#[derive(Debug, thiserror::Error)]
#[error(
    "a Hyperlight guest is run by calling one of its functions: name one, as in \
     `cargo vm run ELF --vmm hyperlight answer`"
)]
struct NoFunctionError;

/// The programs that can be named in place of a file.
const OWN_PROGRAMS: [&str; 3] = ["shell", "http", "vsock"];

/// The status if the guest ended with success, but its data could not be written.
const NOT_WRITTEN: u8 = 119;

pub(super) fn run(arguments: &RunArguments, stop: &StopToken) -> Ended {
    let options = &arguments.options;
    let vmm = match options.choice.under()? {
        Under::Vmm(vmm) => vmm,
        Under::Hyperlight(mode) => {
            options.gdb.refuse_sandbox()?;
            arguments.stdin.refuse_sandbox()?;
            arguments.devices.refuse_sandbox()?;
            let [function] = arguments.arguments.as_slice() else {
                return Err(NoFunctionError.into());
            };
            hyperlight::probe()?;
            let runner = SandboxRunner::build(mode, &Workspace::locate()?, stop)?;
            let limits = ShowLimits {
                timeout: options.timeout(),
                console_limit: options.console_limit << 20,
                stop,
            };
            let mut output = ConsoleOutput::new(options.raw);
            let outcome = runner.show(
                &arguments.elf,
                &format!("call:{function}"),
                &limits,
                &mut output,
            );
            output.finish();
            return Ok(ended_as(&outcome?));
        }
    };
    let built = own_program(&arguments.elf, vmm, stop)?;
    let elf = built.as_deref().unwrap_or(&arguments.elf);
    let mut config = options.config(vmm, arguments.arguments.join(" "), stop);
    if options.timeout.is_none() && arguments.stdin.is_typed() {
        config.timeout = TYPED_LIMIT;
    }
    config.devices = arguments.devices.devices();
    config.gdb = options.gdb.listen()?;
    if let Some(listener) = &config.gdb {
        debugger::announce(elf, listener);
    }
    let out = arguments.out.as_deref().map(OutFolder::make).transpose()?;
    let mut output = ConsoleOutput::new(options.raw);
    let (input, terminal) = arguments.stdin.open(stop)?.unzip();
    config.input = input;
    let report = vmm::run(elf, &config, &mut output);
    output.finish();
    // Before any message.
    drop(terminal);
    let report = report?;
    let status = ended_as(&report.outcome);
    for stall in &report.stalls {
        note(format_args!("{stall}"));
    }
    for warning in &report.warnings {
        note(format_args!("warning: {warning}"));
    }
    if let Some(backtrace) = &report.backtrace {
        note(format_args!("{backtrace}"));
    }
    let Some(out) = out else {
        name_data(&report);
        return Ok(status);
    };
    let Err(error) = out.write(&report) else {
        return Ok(status);
    };
    complain(format_args!("{error}"));
    Ok(if status == 0 { NOT_WRITTEN } else { status })
}

/// Builds the program that is named in place of a file, unless there is such a file.
fn own_program(
    name: &Path,
    vmm: vmm::Vmm,
    stop: &StopToken,
) -> Result<Option<PathBuf>, Box<dyn Error>> {
    let own = OWN_PROGRAMS.iter().find(|own| name == Path::new(own));
    let Some(own) = own.filter(|_| !name.exists()) else {
        return Ok(None);
    };
    let workspace = Workspace::locate()?;
    let needs = Needs {
        qemu: matches!(vmm, vmm::Vmm::Qemu(..)),
        ..Needs::default()
    };
    let toolchain = setup::set_up(&workspace, needs, Policy::Refuse, stop)?;
    let images = guest::build(&toolchain, &workspace, &[own], stop)?;
    Ok(Some(images.get(own)?.to_owned()))
}

/// Names the data that the guest sent and that is not kept.
fn name_data(report: &Report) {
    let names: Vec<&str> = report.data.iter().map(|(name, _)| &**name).collect();
    if !names.is_empty() {
        let names = names.join(", ");
        note(format_args!(
            "the guest sent {names}: pass --out DIR to keep it"
        ));
    }
}

/// Reports how the guest ended, unless with success; returns the status.
fn ended_as(outcome: &Outcome) -> u8 {
    match outcome {
        // A reader that closed the output, as `head` does, needs no message.
        Outcome::Exited(0) | Outcome::ConsoleClosed => {}
        outcome => complain(format_args!("{outcome}")),
    }
    outcome.exit_code()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        arguments: RunArguments,
    }

    fn parse(line: &str) -> Result<RunConfig, clap::Error> {
        let words = std::iter::once("run").chain(line.split(' '));
        let arguments = Only::try_parse_from(words)?.arguments;
        let line = arguments.arguments.join(" ");
        Ok(arguments
            .options
            .config(vmm::Vmm::Kvm, line, &StopToken::default()))
    }

    #[test]
    fn options_and_guest_arguments_may_come_in_either_order() {
        for line in [
            "guest --timeout 5 --memory 8 -- demo=basic quiet",
            "--timeout 5 --memory 8 guest demo=basic quiet",
            "guest demo=basic quiet --timeout 5 --memory 8",
            "guest demo=basic --memory 8 --timeout 5 -- quiet",
        ] {
            let config = parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(config.arguments, "demo=basic quiet", "{line}");
            assert_eq!(config.timeout, Duration::from_secs(5), "{line}");
            assert_eq!(config.memory_mib, 8, "{line}");
            assert!(!config.pit);
        }
    }

    #[test]
    fn a_dash_reaches_the_guest_after_two_dashes() {
        assert_eq!(parse("guest -- --timeout").unwrap().arguments, "--timeout");
        assert!(parse("guest --unknown").is_err());
    }

    #[test]
    fn a_guest_that_needs_the_pit_gets_one() {
        assert!(parse("guest timer=pit").unwrap().pit);
        assert!(parse("guest --pit").unwrap().pit);
        assert!(!parse("guest timer=x2apic").unwrap().pit);
    }

    #[test]
    fn units_are_mebibytes_and_seconds() {
        let config = parse("guest --console-limit 2").unwrap();
        assert_eq!(config.console_limit, 2 * 1024 * 1024);
    }

    #[test]
    fn invalid_values_are_refused() {
        for line in [
            "guest --timeout 0",
            "guest --timeout -1",
            "guest --timeout 86401",
            "guest --timeout 18446744073709551616",
            "guest --memory -1",
            "guest --console-limit -1",
            "guest --timeout 1.5",
            "guest --memory 0",
            "guest --memory 99999999999",
            "guest --console-limit 0",
            "guest --vmm vmware",
            "guest --machine isapc",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
