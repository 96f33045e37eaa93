//! What set-up reports where it may install nothing.

use super::*;

#[test]
fn no_install_names_all_that_is_missing_and_the_commands() {
    let mut fake = Fake::new(Apt::Root, &[SetupStep::AddTarget]);
    fake.facts.qemu = Availability::Missing;
    let (said, result) = set_up_fake(&mut fake, BUILD_AND_QEMU, Policy::Refuse);
    let error = result.expect_err("it may not install");
    for part in [
        "`rustup target add x86_64-unknown-none`",
        "`apt-get install ",
        " qemu-system-x86`",
        "--no-install",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert!(!error.contains("update"), "that installs nothing: {error}");
    assert!(said.is_empty() && fake.done.is_empty());
}

#[test]
fn no_install_names_nothing_that_is_there_or_not_needed() {
    let mut fake = Fake::new(Apt::Root, &[]);
    fake.facts.qemu = Availability::Missing;
    let (_, result) = set_up_fake(&mut fake, BUILD, Policy::Refuse);
    let error = result.expect_err("it may not install");
    assert!(!error.contains("qemu"), "it is not needed: {error}");
    fake.facts.toolchain = Ok(toolchain());
    let (_, result) = set_up_fake(&mut fake, BUILD_AND_QEMU, Policy::Refuse);
    let error = result.expect_err("it may not install");
    assert!(error.contains(" qemu-system-x86`"), "{error}");
    assert!(!error.contains("rustup"), "the target is there: {error}");
}

#[test]
fn no_install_names_too_what_cannot_be_installed() {
    let mut fake = Fake::new(Apt::Missing, &[]);
    fake.facts.qemu = Availability::Missing;
    let (_, result) = set_up_fake(&mut fake, BUILD_AND_QEMU, Policy::Refuse);
    let error = result.expect_err("it may not install");
    assert!(error.contains("no apt-get"), "{error}");
    assert!(error.contains("`rustup target add"), "{error}");
}
