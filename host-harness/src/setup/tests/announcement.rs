//! What set-up announces before it installs anything.

use super::*;

#[test]
fn the_first_lines_name_what_is_installed_and_how_long_that_takes() {
    let works = [
        SetupStep::AddTarget,
        SetupStep::UpdatePackages(Privilege::Root),
        INSTALL_QEMU,
    ];
    let mut fake = Fake::new(Apt::Root, &works);
    fake.facts.qemu = Availability::Missing;
    let (said, result) = set_up_fake(&mut fake, BUILD_AND_QEMU, Policy::Install);
    assert_eq!(result, Ok(()));
    // 10 s for the target, 10 for the package lists, 15 for QEMU.
    assert!(said[0].contains("takes about 35 s"), "{said:?}");
    for (line, parts) in said[1..3].iter().zip([
        ["rustup target add x86_64-unknown-none`", "about 10 s"],
        [" qemu-system-x86`", "about 15 s"],
    ]) {
        assert!(parts.iter().all(|part| line.contains(part)), "{line}");
    }
    assert_eq!(said.len(), 3 + fake.done.len(), "and a line for each step");
    let (said, _) = set_up_fake(&mut fake, BUILD_AND_QEMU, Policy::Install);
    assert!(said.is_empty(), "nothing is missing any more: {said:?}");
}

#[test]
fn long_installations_are_estimated_in_minutes() {
    let mut fake = Fake::new(Apt::Root, &[]);
    fake.facts.rustup = false;
    let (said, _) = set_up_fake(&mut fake, BUILD, Policy::Install);
    assert!(said[0].contains("takes about 2 min"), "{said:?}");
}

#[test]
fn what_cannot_be_installed_is_not_announced() {
    let mut fake = Fake::new(Apt::Missing, &[]);
    fake.facts.rustup = false;
    let (said, _) = set_up_fake(&mut fake, BUILD, Policy::Install);
    assert!(said.is_empty(), "{said:?}");
}
