//! Set-ups of simulated machines.

mod announcement;
mod no_install;
mod packages;

use super::{
    host::Simulated,
    plan::{Apt, Availability, Facts},
    step::{Chromium, Distribution, Privilege, Removal, Software},
    *,
};
use crate::toolchain::{Compiler, GuestToolchainError};

/// A simulated machine on which some steps work.
struct Fake {
    facts: Facts,
    works: Vec<SetupStep>,
    done: Vec<String>,
    /// What apt would remove for an installation, or why it cannot be done.
    simulated: Simulated,
    /// How many steps find apt's lock held by another program.
    locked: u32,
    paused: u32,
}

const INSTALL_TOOLCHAIN: SetupStep =
    SetupStep::Install(Privilege::Root, Software::Toolchain(Distribution::Web));

const INSTALL_QEMU: SetupStep = SetupStep::Install(Privilege::Root, Software::Qemu);

const fn install_browser(chromium: Chromium) -> SetupStep {
    SetupStep::Install(Privilege::Root, Software::Browser(chromium))
}

impl Fake {
    fn new(apt: Apt, works: &[SetupStep]) -> Self {
        Self {
            facts: Facts {
                toolchain: Err(GuestToolchainError::default()),
                qemu: Availability::Usable,
                passt: Availability::Usable,
                browser: Availability::Usable,
                rustup: true,
                apt,
                distribution: None,
            },
            works: works.to_vec(),
            done: Vec::new(),
            simulated: Simulated::Removes(Vec::new()),
            locked: 0,
            paused: 0,
        }
    }
}

impl SetupHost for Fake {
    fn facts(&mut self, _: Needs) -> Facts {
        self.facts.clone()
    }

    fn simulate(&mut self, _: Software) -> Result<Simulated, ProcessError> {
        Ok(self.simulated.clone())
    }

    fn pause(&mut self) -> Result<(), ProcessError> {
        self.paused += 1;
        Ok(())
    }

    fn carry_out(&mut self, step: &SetupStep) -> Result<StepResult, ProcessError> {
        if self.locked > 0 {
            self.locked -= 1;
            return Ok(failed(
                "E: Could not get lock /a/lock. It is held by process 7 (apt-get)\n",
            ));
        }
        self.done.push(step.to_string());
        let success = self.works.contains(step);
        if success {
            match step {
                SetupStep::UpdatePackages(_) => {}
                SetupStep::AddTarget => self.facts.toolchain = Ok(toolchain()),
                SetupStep::Install(_, software) | SetupStep::Replace(_, software, _) => {
                    match software {
                        Software::Toolchain(_) => self.facts.toolchain = Ok(toolchain()),
                        Software::Qemu => self.facts.qemu = Availability::Usable,
                        Software::Passt => self.facts.passt = Availability::Usable,
                        Software::Browser(_) => self.facts.browser = Availability::Usable,
                    }
                }
            }
        }
        Ok(StepResult {
            success,
            ..failed("error: no\nnot today\n")
        })
    }
}

fn failed(output: &str) -> StepResult {
    StepResult {
        success: false,
        status: "exit status: 1".into(),
        output: output.into(),
    }
}

fn toolchain() -> GuestToolchain {
    GuestToolchain::Target(Compiler::for_test())
}

/// Sets up; returns the announcements and the result.
fn set_up_fake(fake: &mut Fake, needs: Needs, policy: Policy) -> (Vec<String>, Result<(), String>) {
    let mut said = Vec::new();
    let result = set_up_host(fake, needs, policy, &mut |line| said.push(line.to_string()));
    (said, result.map(drop).map_err(|error| error.to_string()))
}

const BUILD: Needs = Needs {
    qemu: false,
    passt: false,
    browser: false,
};
const BUILD_AND_QEMU: Needs = Needs {
    qemu: true,
    passt: false,
    browser: false,
};
const ALL: Needs = Needs {
    qemu: true,
    passt: true,
    browser: true,
};

#[test]
fn if_nothing_is_missing_nothing_is_done_or_printed() {
    let mut fake = Fake::new(Apt::Root, &[]);
    fake.facts.toolchain = Ok(toolchain());
    for policy in [Policy::Install, Policy::Refuse] {
        let (said, result) = set_up_fake(&mut fake, BUILD_AND_QEMU, policy);
        assert_eq!(result, Ok(()));
        assert!(said.is_empty(), "{said:?}");
        assert!(fake.done.is_empty(), "{:?}", fake.done);
    }
}

#[test]
fn rustup_adds_the_target_and_no_package_is_touched() {
    let mut fake = Fake::new(Apt::Root, &[SetupStep::AddTarget]);
    let (said, result) = set_up_fake(&mut fake, BUILD, Policy::Install);
    assert_eq!(result, Ok(()));
    assert_eq!(fake.done, ["rustup target add x86_64-unknown-none"]);
    let [what, item, step] = &said[..] else {
        panic!("what is missing, and the step: {said:?}")
    };
    assert!(what.contains("about 10 s"), "{what}");
    for line in [item, step] {
        assert!(line.contains(&fake.done[0]), "{line}");
    }
}

#[test]
fn if_rustup_fails_the_distribution_is_used() {
    let works = [
        SetupStep::UpdatePackages(Privilege::Root),
        INSTALL_TOOLCHAIN,
    ];
    let mut fake = Fake::new(Apt::Root, &works);
    let (said, result) = set_up_fake(&mut fake, BUILD, Policy::Install);
    assert_eq!(result, Ok(()));
    assert_eq!(
        fake.done,
        [
            "rustup target add x86_64-unknown-none",
            "apt-get update",
            "apt-get install --yes --no-install-recommends --no-remove \
             rustc-web cargo-web rust-web-src lld",
        ]
    );
    assert!(said.contains(&"  not today".to_owned()), "{said:?}");
}

#[test]
fn a_step_that_succeeds_and_changes_nothing_is_a_failure() {
    let mut fake = Fake::new(Apt::Missing, &[]);
    fake.works = vec![SetupStep::AddTarget];
    let mut host = Unchanging(fake);
    let result = set_up_host(&mut host, BUILD, Policy::Install, &mut |_| ());
    let error = result.expect_err("the sysroot is as it was").to_string();
    assert!(error.contains("no apt-get"), "{error}");
    assert_eq!(host.0.done, ["rustup target add x86_64-unknown-none"]);
}

/// A simulated machine whose steps succeed and change nothing.
struct Unchanging(Fake);

impl SetupHost for Unchanging {
    fn facts(&mut self, needs: Needs) -> Facts {
        Facts {
            toolchain: Err(GuestToolchainError::default()),
            ..self.0.facts(needs)
        }
    }

    fn simulate(&mut self, software: Software) -> Result<Simulated, ProcessError> {
        self.0.simulate(software)
    }

    fn carry_out(&mut self, step: &SetupStep) -> Result<StepResult, ProcessError> {
        self.0.carry_out(step)
    }

    fn pause(&mut self) -> Result<(), ProcessError> {
        self.0.pause()
    }
}

#[test]
fn without_rustup_the_distribution_is_used_at_once() {
    let works = [
        SetupStep::UpdatePackages(Privilege::Root),
        INSTALL_TOOLCHAIN,
    ];
    let mut fake = Fake::new(Apt::Root, &works);
    fake.facts.rustup = false;
    let (_, result) = set_up_fake(&mut fake, BUILD, Policy::Install);
    assert_eq!(result, Ok(()));
    assert_eq!(fake.done.len(), 2, "{:?}", fake.done);
}

#[test]
fn an_installed_compiler_is_completed_and_not_replaced() {
    let mut fake = Fake::new(Apt::Root, &[]);
    fake.facts.rustup = false;
    fake.facts.distribution = Some(Distribution::Plain);
    let (_, result) = set_up_fake(&mut fake, BUILD, Policy::Install);
    assert!(result.is_err());
    assert!(
        fake.done[1].ends_with(" rustc cargo rust-src lld"),
        "{:?}",
        fake.done
    );
}

#[test]
fn everything_failing_ends_in_one_sentence() {
    let mut fake = Fake::new(Apt::Root, &[]);
    let (_, result) = set_up_fake(&mut fake, BUILD, Policy::Install);
    let error = result.expect_err("nothing works");
    assert_eq!(fake.done.len(), 3, "each step once: {:?}", fake.done);
    assert!(error.contains("guests cannot be built"), "{error}");
    assert!(error.contains("rustup target add"), "{error}");
}

#[test]
fn qemu_is_installed_only_when_it_is_needed() {
    let works = [SetupStep::UpdatePackages(Privilege::Root), INSTALL_QEMU];
    let mut fake = Fake::new(Apt::Root, &works);
    fake.facts.toolchain = Ok(toolchain());
    fake.facts.qemu = Availability::Missing;
    assert_eq!(set_up_fake(&mut fake, BUILD, Policy::Install).1, Ok(()));
    assert!(fake.done.is_empty());
    assert_eq!(
        set_up_fake(&mut fake, BUILD_AND_QEMU, Policy::Install).1,
        Ok(())
    );
    assert_eq!(fake.done.len(), 2);
    assert!(
        fake.done[1].ends_with(" qemu-system-x86"),
        "{:?}",
        fake.done
    );
}

#[test]
fn a_qemu_that_was_named_and_does_not_work_is_not_installed_over() {
    let mut fake = Fake::new(Apt::Root, &[]);
    fake.facts.toolchain = Ok(toolchain());
    fake.facts.qemu = Availability::Unusable("that is no QEMU".into());
    let (_, result) = set_up_fake(&mut fake, BUILD_AND_QEMU, Policy::Install);
    assert_eq!(result, Err("that is no QEMU".into()));
    assert!(fake.done.is_empty());
}

#[test]
fn packages_are_listed_once_for_two_installations() {
    let works = [
        SetupStep::UpdatePackages(Privilege::Root),
        INSTALL_TOOLCHAIN,
        INSTALL_QEMU,
    ];
    let mut fake = Fake::new(Apt::Root, &works);
    fake.facts.rustup = false;
    fake.facts.qemu = Availability::Missing;
    assert_eq!(
        set_up_fake(&mut fake, BUILD_AND_QEMU, Policy::Install).1,
        Ok(())
    );
    let updates = fake.done.iter().filter(|done| *done == "apt-get update");
    assert_eq!(updates.count(), 1, "{:?}", fake.done);
}

#[test]
fn a_compiler_that_is_too_old_is_named_where_nothing_helps() {
    let mut fake = Fake::new(Apt::Missing, &[]);
    fake.facts.rustup = false;
    fake.facts.toolchain = Err(GuestToolchainError {
        too_old: Some("rustc 1.63.0 in /usr".into()),
    });
    let (_, result) = set_up_fake(&mut fake, BUILD, Policy::Install);
    let error = result.expect_err("nothing can be installed");
    assert!(error.contains("rustc 1.63.0 in /usr"), "{error}");
}

#[test]
fn sudo_is_used_if_there_is_one() {
    let mut fake = Fake::new(Apt::Sudo, &[]);
    fake.facts.rustup = false;
    let (_, result) = set_up_fake(&mut fake, BUILD, Policy::Install);
    assert!(result.is_err());
    for done in &fake.done {
        assert!(
            done.starts_with("sudo env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get "),
            "{done}"
        );
    }
    assert_eq!(fake.done.len(), 2);
}

#[test]
fn a_user_without_sudo_is_told_what_root_must_run() {
    let mut fake = Fake::new(Apt::NotRoot, &[]);
    fake.facts.rustup = false;
    let (_, result) = set_up_fake(&mut fake, BUILD, Policy::Install);
    let error = result.expect_err("nothing can be installed");
    assert!(error.contains("let root run `apt-get install"), "{error}");
    assert!(fake.done.is_empty());
}

#[test]
fn without_apt_the_sentence_names_another_way() {
    let mut fake = Fake::new(Apt::Missing, &[]);
    fake.facts.rustup = false;
    let (_, result) = set_up_fake(&mut fake, BUILD, Policy::Install);
    let error = result.expect_err("nothing can be installed");
    assert!(error.contains("no apt-get"), "{error}");
    assert!(error.contains("rustup target add"), "{error}");
}

#[test]
fn a_stop_ends_the_set_up() {
    struct Stopped;
    impl SetupHost for Stopped {
        fn facts(&mut self, needs: Needs) -> Facts {
            Fake::new(Apt::Root, &[]).facts(needs)
        }
        fn simulate(&mut self, _: Software) -> Result<Simulated, ProcessError> {
            Err(ProcessError::Stopped)
        }
        fn carry_out(&mut self, _: &SetupStep) -> Result<StepResult, ProcessError> {
            Err(ProcessError::Stopped)
        }
        fn pause(&mut self) -> Result<(), ProcessError> {
            Err(ProcessError::Stopped)
        }
    }
    let result = set_up_host(&mut Stopped, BUILD, Policy::Install, &mut |_| ());
    assert!(matches!(result, Err(SetupError::Stopped)));
}
