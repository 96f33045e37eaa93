//! What is promised.

use super::tests_of::{
    Of::{
        Command, Corpora, Drivers, FiguresCorpus, Harness, HarnessInVms, HyperlightHost, Library,
        Models, Protocol, Vms,
    },
    Tests,
};

/// What is promised, and all that has to pass for it.
#[derive(Debug)]
pub(super) struct Promise {
    pub(super) name: &'static str,
    pub(super) sentence: &'static str,
    pub(super) tests: &'static [Tests],
}

impl Promise {
    pub(super) fn needs_vms(&self) -> bool {
        self.tests.iter().any(|tests| tests.of.needs_vms())
    }

    /// Whether `cargo vm test` does not run its tests.
    pub(super) fn is_long(&self) -> bool {
        let mut tests = self.tests.iter();
        tests.any(|tests| tests.filter.contains(&"--ignored"))
    }
}

/// What selects tests in VMs, for each promise that they hold: its name, a part of the tests'
/// names, and whether only the tests that are otherwise ignored are run.
pub fn filters_in_vms() -> impl Iterator<Item = (&'static str, &'static str, bool)> {
    PROMISES.iter().flat_map(|promise| {
        let in_vms = promise.tests.iter().filter(|tests| tests.of == Vms);
        in_vms.map(|tests| {
            let name = tests.filter.iter().find(|word| !word.starts_with("--"));
            let ignored = tests.filter.contains(&"--ignored");
            (promise.name, name.copied().unwrap_or_default(), ignored)
        })
    })
}

macro_rules! promises {
    ($($name:literal: $sentence:literal, $($of:ident [$($filter:literal),*]),+;)*) => {
        /// In the order in which they are shown.
        pub(super) const PROMISES: &[Promise] = &[$(Promise {
            name: $name,
            sentence: $sentence,
            tests: &[$(Tests { of: $of, filter: &[$($filter),*] }),+],
        }),*];
    };
}

promises! {
    "wakes": "No wake is lost between a poll and the `hlt`, at whichever instruction an interrupt \
              or an NMI comes, or two of them back to back.",
        Vms ["sweep"];
    "threads": "No wake is lost between threads, in whichever order they take their steps.",
        Models [];
    "tasks": "Tasks are polled when they were woken, fairly and never two at once, and each future \
              and output is dropped once.",
        Library ["executor::", "event::", "idle::"], Vms ["cases::executor"];
    "programs": "Random programs of tasks, timers and events do what is promised, on the host and \
                 in VMs.",
        Library ["random_programs"], Vms ["random-programs"];
    "timers": "No timer is early, on any timer source, under any VMM.",
        Library ["time::"], Vms ["timers::"], Vms ["never-short"];
    "clocks": "The clock keeps the host's pace and does not go back, also where its source jumps, \
               stops or changes its rate.",
        Library ["clock", "monotonic"], Vms ["::clock-"];
    "storms": "In a storm of interrupts no signal is lost, no task starves, and nothing grows.",
        Vms ["::storm"];
    "vectors": "An interrupt that nobody asked for does no harm where its vector has a handler, \
                and elsewhere ends the guest with a report that names the vector.",
        Vms ["vectors"];
    "every-vector": "On each of the 219 vectors that nothing has claimed, an interrupt ends the \
                     guest with a report that names the vector.",
        Vms ["--ignored", "unclaimed-vectors-all"];
    "pauses": "A VM that was stopped for 1.5 s, or saved and restored asleep, goes on: naps end \
               late, and none early.",
        Vms ["::paused"];
    "long-pauses": "A VM that was stopped for ten seconds goes on: naps end late, and none early.",
        Vms ["--ignored", "paused-for-ten-seconds"];
    "restores": "A guest that is saved and restored at each 24th instruction of its way to the \
                 `hlt`, with an NMI pending, loses no wake.",
        Vms ["q35::restored"];
    "restores-everywhere": "A guest that is saved and restored at any instruction of its way to \
                            the `hlt`, with an NMI pending, loses no wake.",
        Vms ["--ignored", "restored-at-each-instruction"];
    "ends": "A panic, a fault, a full heap, a stack overflow, a triple fault or a hang is \
             recognised as what it is, with a report.",
        Vms ["::end-"];
    "watchdog": "A poll that does not return in time is reported, and no other, on any timer \
                 source, under any VMM.",
        Library ["watchdog"], Vms ["watchdog-"];
    "results": "Nothing that a guest prints, and no broken QEMU, passes for a good end.",
        Harness ["vmm::outcome", "vmm::console", "vmm::qemu"],
        HarnessInVms ["records", "broken_qemu", "every_vmm"];
    "counts": "Costs in instructions, and in exits to the VMM, are within their bounds.",
        Vms ["counts"];
    "guest-files": "A file that is not a guest, or is damaged, is refused with a reason, and does \
                    no harm.",
        Harness ["vmm::image", "vmm::backtrace", "guest_tests"], HarnessInVms ["refusals"],
        Command ["a_file_that_is_not_a_guest"];
    "confinement": "Once a guest runs, its VMM opens no file and no socket, and starts no program.",
        Harness ["gate", "confine"], HarnessInVms ["confined"];
    "leftovers": "No thread, file or process is left behind, even when the harness is killed.",
        Harness ["process::"], HarnessInVms ["leftovers"], Command ["killed"];
    "devices": "No request of a driver is lost, and neither a driver nor a device that breaks the \
                protocol does harm to the other side.",
        Drivers [], Harness ["virtio", "vmm::device"], Vms ["devices:"];
    "networks": "A guest with a network answers those who connect to it, and opens no connection \
                 unless it is let out.",
        Harness ["net"], Vms ["net:"];
    "sockets": "A guest with sockets reaches the programs that listen for it and no others, and \
                holds nothing up.",
        Harness ["vsock"], Vms ["vsock:"];
    "debuggers": "A debugger gets the guest and nothing of the host, and one that goes leaves the \
                  guest its time limit.",
        Harness ["gdb"], Vms ["gdb-"];
    "host-calls": "Each async host call ends once, with its own result or as lost, whatever the \
                   other side sends.",
        Protocol [], HyperlightHost [], Vms ["host-calls:"];
    "sandboxes": "In Hyperlight's sandboxes tasks, timers and host calls work in both modes, and a \
                  guest cannot make its host wait or hold more than allowed.",
        Vms ["hyperlight"];
    "corpora": "Input that once broke a reader, or covers its code, breaks none.",
        Corpora [], FiguresCorpus [];
    "set-up": "Set-up announces what it does, removes nothing that is not QEMU's, and does nothing \
               where nothing is missing.",
        Harness ["setup::"], Command ["setup", "packages", "fuzz"];
    "pages": "What the pages show is true: links, files, commands, dependencies, and the tests \
              that SECURITY.md names.",
        Command ["documents", "security"];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_name_of_its_own_and_a_sentence() {
        for (index, promise) in PROMISES.iter().enumerate() {
            let is_this = |other: &Promise| other.name == promise.name;
            assert_eq!(PROMISES.iter().position(is_this), Some(index));
            let is_word = |c: char| c.is_ascii_lowercase() || c == '-';
            assert!(promise.name.chars().all(is_word), "{}", promise.name);
            assert!(promise.sentence.ends_with('.'), "{}", promise.name);
            assert!(!promise.sentence.contains(['|', '\n']), "{}", promise.name);
        }
    }

    /// The program of tests in VMs takes one name.
    #[test]
    fn tests_in_vms_are_selected_by_one_name() {
        let in_vms = PROMISES.iter().flat_map(|promise| promise.tests);
        for tests in in_vms.filter(|tests| tests.of == Vms) {
            let names = tests.filter.iter().filter(|word| !word.starts_with("--"));
            assert_eq!(names.count(), 1, "{tests:?}");
        }
    }
}
