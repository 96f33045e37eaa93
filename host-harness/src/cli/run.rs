//! `cargo vm run`: one guest, as part of a script or as cargo's runner.

use super::{
    Ended,
    choose::{Choice, Under},
    complain,
    output::Output,
};
use crate::{
    hyperlight::{self, Runner, ShowLimits},
    stop::StopToken,
    vmm::{self, MAX_MEMORY_MIB, MIN_MEMORY_MIB, Outcome, RunConfig},
    workspace::Workspace,
};
use clap::{builder::RangedI64ValueParser, value_parser};
use std::{path::PathBuf, time::Duration};

/// Runs one guest: its console on standard output, its exit code as the command's.
///
/// The status is the guest's exit code if that is one from 0 to 111. Any other code becomes 111, and a sentence
/// names it. A guest that does not end by itself gives a status of its own: 101 a panic, 102 a processor
/// exception, 118 a machine that it switched off, 119 an output that cannot be written, 120 a triple fault, 121
/// an instruction that KVM cannot emulate, 122 too much output, 123 a VM that died, 124 the time limit, 130
/// Ctrl-C, 141 a closed output. 125 means that no guest was run. Where 101 or 102 is the guest's own code, the
/// sentence says so.
///
/// A guest that is built with dormir-guest says in records how it ends and what it measured; they bear a number
/// that is new in each run, so that no text can be taken for one. Of any other guest all output is text, and the
/// value that it writes to the exit port is its result, of which QEMU keeps the low seven bits.
///
/// On a terminal the console passes text, tabs and colours; whatever else a terminal would obey is shown escaped,
/// unless --raw. Into a file or a pipe it passes unchanged.
///
/// Of a Hyperlight guest (--vmm hyperlight, hyperlight-interrupts) it calls one function, whose name is the
/// guest argument, and which takes nothing and returns an i32: the exit code. --memory and --pit are for other
/// guests.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The guest: an ELF file for x86-64
    elf: PathBuf,
    #[command(flatten)]
    choice: Choice,
    /// How long the guest may take, in seconds, its start included
    #[arg(long, value_name = "S", default_value_t = 60, allow_negative_numbers = true, value_parser = RangedI64ValueParser::<u64>::new().range(1..=86_400))]
    timeout: u64,
    /// The guest's memory, in MiB
    #[arg(long, value_name = "MiB", default_value_t = 64, allow_negative_numbers = true, value_parser = value_parser!(u32).range(i64::from(MIN_MEMORY_MIB)..=i64::from(MAX_MEMORY_MIB)))]
    memory: u32,
    /// How much the guest may write to its console, in MiB
    #[arg(long, value_name = "MiB", default_value_t = 16, allow_negative_numbers = true, value_parser = RangedI64ValueParser::<u64>::new().range(1..=1 << 20))]
    console_limit: u64,
    /// Passes the console to a terminal as it is
    #[arg(long)]
    raw: bool,
    /// Gives the harness's own VMM a PIT (QEMU's machines have one); also for the guest argument
    /// `timer=pit`. A VM with a PIT takes longer to end
    #[arg(long)]
    pit: bool,
    /// The guest's arguments, such as `demo=basic`; one that begins with a dash goes after `--`
    #[arg(value_name = "GUEST ARGUMENTS")]
    arguments: Vec<String>,
}

impl Arguments {
    fn config(&self, vmm: vmm::Vmm, stop: &StopToken) -> RunConfig {
        let arguments = self.arguments.join(" ");
        let asks_for_pit = arguments.split(' ').any(|word| word == "timer=pit");
        RunConfig {
            memory_mib: self.memory,
            timeout: Duration::from_secs(self.timeout),
            arguments,
            console_limit: self.console_limit << 20,
            pit: self.pit || asks_for_pit,
            stop: stop.clone(),
            ..RunConfig::new(vmm)
        }
    }
}

/// It is not said what to call.
#[derive(Debug, thiserror::Error)]
#[error(
    "a Hyperlight guest is run by calling one of its functions: name one, as in `cargo vm run ELF --vmm hyperlight answer`"
)]
struct NoFunction;

pub(super) fn run(arguments: &Arguments, stop: &StopToken) -> Ended {
    let vmm = match arguments.choice.under()? {
        Under::Vmm(vmm) => vmm,
        Under::Hyperlight(mode) => {
            let [function] = arguments.arguments.as_slice() else {
                return Err(NoFunction.into());
            };
            hyperlight::probe()?;
            let runner = Runner::build(mode, &Workspace::locate()?, stop)?;
            let limits = ShowLimits {
                timeout: Duration::from_secs(arguments.timeout),
                console_limit: arguments.console_limit << 20,
                stop,
            };
            let mut output = Output::new(arguments.raw);
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
    let config = arguments.config(vmm, stop);
    let mut output = Output::new(arguments.raw);
    let report = vmm::run(&arguments.elf, &config, &mut output);
    output.finish();
    Ok(ended_as(&report?.outcome))
}

/// Says how the guest ended, unless all is well; the status.
fn ended_as(outcome: &Outcome) -> u8 {
    match outcome {
        // Whoever closed the output, as `head` does, has had enough and knows it.
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
        arguments: Arguments,
    }

    fn parse(line: &str) -> Result<RunConfig, clap::Error> {
        let words = std::iter::once("run").chain(line.split(' '));
        let arguments = Only::try_parse_from(words)?.arguments;
        Ok(arguments.config(vmm::Vmm::Kvm, &StopToken::default()))
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
    fn what_makes_no_sense_is_refused() {
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
