//! What an installation would do to installed packages, and whether it may.

use super::step::{Removal, SetupStep, Software};

/// The source package of QEMU in Debian and its derivatives.
const QEMU: &str = "qemu";

/// Returns the packages that a simulated run of apt would remove, with their versions.
pub(super) fn removals(output: &str) -> Vec<(String, String)> {
    let removal = |line: &str| {
        let rest = line
            .strip_prefix("Remv ")
            .or_else(|| line.strip_prefix("Purg "))?;
        let (package, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let version = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let version = version.map_or("of an unknown version", |(version, _)| version);
        Some((package.to_owned(), version.to_owned()))
    };
    output.lines().filter_map(removal).collect()
}

/// Decides on a step that would remove these packages: packages built from QEMU's own source may be
/// removed for QEMU (for example a `qemu-utils` newer than the distribution's QEMU), and nothing
/// else.
///
/// # Errors
///
/// The step must not be done; the sentence says why, and what to run.
pub(super) fn judge(step: SetupStep, going: Vec<Removal>) -> Result<SetupStep, String> {
    let SetupStep::Install(privilege, software) = step else {
        return Ok(step);
    };
    if going.is_empty() {
        return Ok(step);
    }
    let is_qemus = |gone: &Removal| gone.source.as_deref() == Some(QEMU);
    if software == Software::Qemu && going.iter().all(is_qemus) {
        return Ok(SetupStep::Replace(privilege, software, going));
    }
    Err(format!(
        "{} is not installed, since that would remove {}: if you accept that, run `{}` as root, or \
         {}",
        software.what(),
        Removal::list(&going),
        software.by_hand(),
        software.otherwise()
    ))
}

#[cfg(test)]
mod tests {
    use super::{super::step::Privilege, *};

    fn removal(package: &str, source: Option<&str>) -> Removal {
        Removal {
            package: package.into(),
            version: "1:10.0".into(),
            source: source.map(str::to_owned),
        }
    }

    #[test]
    fn removals_are_read_among_all_that_apt_prints() {
        let output = "Reading package lists...\nThe following packages will be REMOVED:\n  \
             qemu-utils\nRemv qemu-utils [1:10.0.2+ds-2+deb13u1~bpo12+1]\nPurg libold:i386 [2.3] \
             [libnew:amd64 ]\nRemv odd\nInst qemu-system-x86 (1:7.2 Debian:12.15/oldstable \
             [amd64])\n";
        let expected = [
            ("qemu-utils", "1:10.0.2+ds-2+deb13u1~bpo12+1"),
            ("libold:i386", "2.3"),
            ("odd", "of an unknown version"),
        ];
        let expected = expected.map(|(package, version)| (package.into(), version.into()));
        assert_eq!(removals(output), expected);
        assert!(removals("Remove nothing\n").is_empty());
    }

    #[test]
    fn only_qemus_own_packages_go_and_only_for_qemu() {
        let qemu = SetupStep::Install(Privilege::Root, Software::Qemu);
        let own = removal("qemu-utils", Some("qemu"));
        assert_eq!(judge(qemu.clone(), Vec::new()), Ok(qemu.clone()));
        let replaced = judge(qemu.clone(), vec![own.clone()]).expect("it may");
        assert_eq!(
            replaced.to_string(),
            "apt-get install --yes --no-install-recommends qemu-system-x86 qemu-utils-"
        );
        let why = replaced.why();
        assert!(why.contains("in place of qemu-utils 1:10.0"), "{why}");

        for other in [
            removal("libvirt", Some("libvirt")),
            removal("qemu-like", None),
        ] {
            let refused = judge(qemu.clone(), vec![own.clone(), other.clone()]);
            let sentence = refused.expect_err("it must not");
            for part in [
                &format!("{} 1:10.0", other.package),
                "`apt-get install --no-install-recommends qemu-system-x86` as root",
            ] {
                assert!(sentence.contains(part), "{part}: {sentence}");
            }
        }
        let browser = super::super::step::Chromium::HeadlessShell;
        let browser = SetupStep::Install(Privilege::Root, Software::Browser(browser));
        assert!(judge(browser, vec![own]).is_err());
    }
}
