//! What set-up does to installed packages.

use super::*;

fn utils() -> Removal {
    Removal {
        package: "qemu-utils".into(),
        version: "1:10.0.2".into(),
        source: Some("qemu".into()),
    }
}

fn machine_without_qemu(works: &[SetupStep], removes: &[Removal]) -> Fake {
    let mut fake = Fake::new(Apt::Root, works);
    fake.facts.toolchain = Ok(toolchain());
    fake.facts.qemu = Availability::Missing;
    fake.simulated = Simulated::Removes(removes.to_vec());
    fake
}

#[test]
fn no_failure_is_followed_by_a_removal() {
    let mut fake = machine_without_qemu(&[], &[]);
    let (said, result) = set_up_fake(&mut fake, BUILD_AND_QEMU, Policy::Install);
    let error = result.expect_err("nothing works");
    assert!(error.contains("QEMU is missing"), "{error}");
    assert!(said.contains(&"  not today".to_owned()), "{said:?}");
    let [_, install] = &fake.done[..] else {
        panic!("packages are listed, QEMU is tried: {:?}", fake.done)
    };
    assert!(install.contains(" --no-remove "), "{install}");
}

#[test]
fn qemus_own_packages_are_replaced_and_named_first() {
    let replace = SetupStep::Replace(Privilege::Root, Software::Qemu, vec![utils()]);
    let mut fake = machine_without_qemu(&[replace], &[utils()]);
    let (said, result) = set_up_fake(&mut fake, BUILD_AND_QEMU, Policy::Install);
    assert_eq!(result, Ok(()));
    assert!(
        fake.done[1].ends_with(" qemu-system-x86 qemu-utils-"),
        "{:?}",
        fake.done
    );
    let named = said
        .iter()
        .any(|line| line.contains("in place of qemu-utils 1:10.0.2"));
    assert!(named, "{said:?}");
}

#[test]
fn if_other_packages_would_go_nothing_is_done_and_the_command_is_named() {
    let desktop = Removal {
        package: "desktop".into(),
        version: "3".into(),
        source: Some("desktop-meta".into()),
    };
    let mut fake = machine_without_qemu(&[INSTALL_QEMU], &[utils(), desktop]);
    for policy in [Policy::Install, Policy::Refuse] {
        let (_, result) = set_up_fake(&mut fake, BUILD_AND_QEMU, policy);
        let error = result.expect_err("that must stay");
        for part in [
            "desktop 3",
            "`apt-get install --no-install-recommends qemu-system-x86`",
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
    assert_eq!(fake.done, ["apt-get update"]);
    let outlook = outlook::of_host(&mut fake, BUILD_AND_QEMU);
    assert!(
        outlook[0].starts_with("for QEMU: would refuse: QEMU is not installed"),
        "{outlook:?}"
    );
}

#[test]
fn what_cannot_be_installed_is_not_tried() {
    let mut fake = machine_without_qemu(&[INSTALL_QEMU], &[]);
    fake.simulated = Simulated::Fails(failed("E: Unable to locate package\n"));
    let (said, result) = set_up_fake(&mut fake, BUILD_AND_QEMU, Policy::Install);
    result.expect_err("apt knows no such package");
    assert_eq!(fake.done, ["apt-get update"]);
    assert!(
        said.contains(&"  E: Unable to locate package".to_owned()),
        "{said:?}"
    );
}

#[test]
fn a_wait_for_a_lock_is_announced_once() {
    let works = [SetupStep::UpdatePackages(Privilege::Root), INSTALL_QEMU];
    let mut fake = machine_without_qemu(&works, &[]);
    fake.locked = 3;
    let (said, result) = set_up_fake(&mut fake, BUILD_AND_QEMU, Policy::Install);
    assert_eq!((result, fake.paused), (Ok(()), 3));
    let waits = said
        .iter()
        .filter(|line| line.contains("held by process 7 (apt-get)"));
    assert_eq!(waits.count(), 1, "{said:?}");
}

#[test]
fn a_lock_that_stays_ends_the_set_up_in_a_bounded_time() {
    let mut fake = machine_without_qemu(&[INSTALL_QEMU], &[]);
    fake.locked = u32::MAX;
    let (_, result) = set_up_fake(&mut fake, BUILD_AND_QEMU, Policy::Install);
    let error = result.expect_err("the lock is never free");
    assert!(
        error.contains("process 7") && error.contains("after 300 s"),
        "{error}"
    );
    assert_eq!(fake.paused, MAX_LOCK_PAUSES);
    assert!(fake.done.is_empty(), "{:?}", fake.done);
}

#[test]
fn the_outlook_names_the_command_and_what_it_removes_and_does_nothing() {
    let mut fake = machine_without_qemu(&[], &[]);
    fake.facts.browser = Availability::Missing;
    let outlook = outlook::of_host(&mut fake, ALL);
    let [qemu, browser] = &outlook[..] else {
        panic!("two things are missing: {outlook:?}")
    };
    assert!(
        qemu.ends_with(" --no-remove qemu-system-x86` and remove nothing"),
        "{qemu}"
    );
    assert!(browser.contains(" chromium-headless-shell`"), "{browser}");

    fake.simulated = Simulated::Removes(vec![utils()]);
    let outlook = outlook::of_host(&mut fake, BUILD_AND_QEMU);
    assert!(
        outlook[0].starts_with("for QEMU: would remove qemu-utils 1:10.0.2 and run `"),
        "{outlook:?}"
    );
    fake.simulated = Simulated::Fails(failed("E: Unable to locate package\n"));
    let outlook = outlook::of_host(&mut fake, BUILD_AND_QEMU);
    assert!(
        outlook[0].starts_with("for QEMU: would run `apt-get update` and then"),
        "{outlook:?}"
    );
    assert!(fake.done.is_empty());
}

#[test]
fn a_browser_is_installed_only_where_it_is_needed_and_by_the_smaller_package() {
    let shell = install_browser(Chromium::HeadlessShell);
    let mut fake = Fake::new(
        Apt::Root,
        &[SetupStep::UpdatePackages(Privilege::Root), shell],
    );
    fake.facts.toolchain = Ok(toolchain());
    fake.facts.browser = Availability::Missing;
    let (said, result) = set_up_fake(&mut fake, BUILD_AND_QEMU, Policy::Install);
    assert_eq!((said.len(), result), (0, Ok(())));
    let (_, result) = set_up_fake(&mut fake, ALL, Policy::Refuse);
    let error = result.expect_err("it may not install");
    assert!(error.contains("a browser (`apt-get install "), "{error}");
    let (_, result) = set_up_fake(&mut fake, ALL, Policy::Install);
    assert_eq!(result, Ok(()));
    let last = fake.done.last().expect("it was installed");
    assert!(last.ends_with(" chromium-headless-shell"), "{last}");
}

#[test]
fn without_a_small_browser_package_the_whole_one_is_installed() {
    let whole = install_browser(Chromium::Whole);
    let mut fake = Fake::new(
        Apt::Root,
        &[SetupStep::UpdatePackages(Privilege::Root), whole],
    );
    fake.facts.toolchain = Ok(toolchain());
    fake.facts.browser = Availability::Missing;
    let (_, result) = set_up_fake(&mut fake, ALL, Policy::Install);
    assert_eq!(result, Ok(()));
    let last = fake.done.last().expect("it was installed");
    assert!(last.ends_with(" chromium"), "{last}");
}

#[test]
fn passt_is_installed_only_where_it_is_needed() {
    const PASST: SetupStep = SetupStep::Install(Privilege::Root, Software::Passt);
    let missing = || {
        let mut fake = Fake::new(Apt::Root, &[PASST]);
        fake.facts.toolchain = Ok(toolchain());
        fake.facts.passt = Availability::Missing;
        fake
    };
    let mut fake = missing();
    assert_eq!(
        set_up_fake(&mut fake, BUILD_AND_QEMU, Policy::Install).1,
        Ok(())
    );
    assert!(fake.done.is_empty(), "{:?}", fake.done);
    assert_eq!(set_up_fake(&mut fake, ALL, Policy::Install).1, Ok(()));
    assert_eq!(fake.done[1], PASST.to_string());
    let (_, refused) = set_up_fake(&mut missing(), ALL, Policy::Refuse);
    let error = refused.expect_err("it is missing");
    assert!(error.contains("passt (`apt-get install "), "{error}");
}
