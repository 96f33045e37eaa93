//! The Linux guest: Debian's cloud kernel as `apt` offers it, and a file system with its modules
//! and the server as init.

use super::servers::Boot;
use cpio::{NewcBuilder, write_cpio};
use dormir_harness::{
    process::{self, Keep, ProcessError, Scope},
    vmm::StopToken,
    workspace::Workspace,
};
use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// The package that depends on the newest kernel.
const PACKAGE: &str = "linux-image-cloud-amd64";

/// The server's package and program, and the target with the whole C library in it.
const SERVER_PACKAGE: &str = "dormir-bench-linux";
const SERVER: &str = "linux-server";
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The modules that the guest needs, in the order in which they are loaded. A kernel that has one
/// built in has no file of it.
const MODULES: &[&str] = &[
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci",
    "drivers/virtio/virtio_mmio",
    "drivers/net/virtio_net",
    "drivers/block/virtio_blk",
];

/// How long `apt` and `dpkg` may take, and the server's build.
const PACKAGE_LIMIT: Duration = Duration::from_secs(10 * 60);
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);

/// The command line of both ways to boot it. A panic ends QEMU, which does not reboot.
const SERVES: &str = "console=ttyS0 quiet panic=-1";
const READS_DISK: &str = "console=ttyS0 quiet panic=-1 -- disk";

/// Why there is no Linux guest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinuxError {
    #[error("our own VMM boots dormir's guests alone: pass --vmm qemu-tcg/q35")]
    NoQemu,
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(
        "apt offers no package {PACKAGE}: this needs Debian or a system like it, and `apt-get \
         update` once"
    )]
    NoPackage,
    #[error("`{program}` failed: {said}")]
    Failed { program: String, said: String },
    #[error(
        "the package {package} cannot be fetched ({said}): run `apt-get update`, since this \
         system's lists may name a version that is gone, and see whether its network works"
    )]
    Fetch { package: String, said: String },
    #[error("the Linux server cannot be built: cargo says above why")]
    Build,
    #[error("the package {package} has no {what}: tell the maintainers which kernel it is")]
    Contents { package: String, what: String },
    #[error("{} cannot be made: {reason}", file.display())]
    File { file: PathBuf, reason: io::Error },
}

/// A Linux guest that can be booted.
#[derive(Clone, Debug)]
pub(crate) struct Linux {
    /// As a server.
    pub(crate) serves: Boot,
    /// To read its disk.
    pub(crate) reads_disk: Boot,
    /// The kernel's package and version.
    pub(crate) version: String,
    /// The bytes of the kernel's file, and of the file system's.
    pub(crate) bytes: u64,
}

/// Makes the guest, in the checkout's target folder. The kernel is fetched once.
pub(crate) fn make(workspace: &Workspace, stop: &StopToken) -> Result<Linux, LinuxError> {
    let folder = workspace.root().join("target").join("linux");
    let (package, version) = newest(stop)?;
    let kernel = fetch(&folder, &package, &version, stop)?;
    let server = build_server(workspace, &folder, stop)?;
    let initrd = folder.join("initrd");
    let failed = |reason| LinuxError::File {
        file: initrd.clone(),
        reason,
    };
    let image = file_system(&kernel, &server).map_err(failed)?;
    fs::write(&initrd, &image).map_err(failed)?;
    let vmlinuz = kernel.join("vmlinuz");
    let bytes = fs::metadata(&vmlinuz).map_err(failed)?.len() + image.len() as u64;
    let boot = |arguments| Boot {
        kernel: vmlinuz.clone(),
        initrd: Some(initrd.clone()),
        arguments,
    };
    Ok(Linux {
        serves: boot(SERVES),
        reads_disk: boot(READS_DISK),
        version: format!("{version} ({package})"),
        bytes,
    })
}

/// The newest kernel's package and version.
fn newest(stop: &StopToken) -> Result<(String, String), LinuxError> {
    let mut command = Command::new("apt-cache");
    command.args(["show", "--no-all-versions", PACKAGE]);
    let shown = capture(&mut command, Keep::Stdout, stop).map_err(|error| match error {
        LinuxError::Failed { .. } => LinuxError::NoPackage,
        error => error,
    })?;
    depends(&shown).ok_or(LinuxError::NoPackage)
}

/// The first dependency in what `apt-cache` shows of a package, with its version.
fn depends(shown: &str) -> Option<(String, String)> {
    let line = shown
        .lines()
        .find_map(|line| line.strip_prefix("Depends: "))?;
    let (package, rest) = line.split_once(" (= ")?;
    let (version, _) = rest.split_once(')')?;
    let is_plain = |text: &str| {
        let mut bytes = text.bytes();
        bytes.all(|byte| byte.is_ascii_alphanumeric() || b".+-~:".contains(&byte))
    };
    (is_plain(package) && is_plain(version)).then(|| (package.to_owned(), version.to_owned()))
}

/// Fetches a kernel, unless it is there: a folder with `vmlinuz` and the modules.
fn fetch(
    folder: &Path,
    package: &str,
    version: &str,
    stop: &StopToken,
) -> Result<PathBuf, LinuxError> {
    let kernel = folder.join(format!("{package}_{version}"));
    if kernel.is_dir() {
        return Ok(kernel);
    }
    let failed = |reason| LinuxError::File {
        file: kernel.clone(),
        reason,
    };
    fs::create_dir_all(folder).map_err(failed)?;
    let fetched = tempfile::tempdir_in(folder).map_err(failed)?;
    let mut command = Command::new("apt-get");
    command
        .args(["--quiet", "download", &format!("{package}={version}")])
        .current_dir(fetched.path());
    capture(&mut command, Keep::Both, stop).map_err(|error| match error {
        LinuxError::Failed { said, .. } => LinuxError::Fetch {
            package: package.to_owned(),
            said,
        },
        error => error,
    })?;
    let archive = find(fetched.path(), |name| name.ends_with(".deb")).map_err(failed)?;
    let archive = archive.ok_or_else(|| contents(package, "archive"))?;
    let all = fetched.path().join("all");
    let mut command = Command::new("dpkg-deb");
    command.arg("--extract").args([&archive, &all]);
    capture(&mut command, Keep::Both, stop)?;
    // Of a hundred megabytes two or three are kept.
    let kept = fetched.path().join("kept");
    fs::create_dir(&kept).map_err(failed)?;
    let vmlinuz = find(&all.join("boot"), |name| name.starts_with("vmlinuz-")).map_err(failed)?;
    let vmlinuz = vmlinuz.ok_or_else(|| contents(package, "vmlinuz"))?;
    fs::rename(vmlinuz, kept.join("vmlinuz")).map_err(failed)?;
    let modules = ["lib/modules", "usr/lib/modules"].map(|folder| all.join(folder));
    let modules = modules.iter().find(|folder| folder.is_dir());
    let modules = modules.ok_or_else(|| contents(package, "modules"))?;
    let modules = find(modules, |_| true).map_err(failed)?;
    let modules = modules.ok_or_else(|| contents(package, "modules"))?;
    for (number, module) in MODULES.iter().enumerate() {
        let module = modules.join("kernel").join(module);
        let (folder, name) = (module.parent(), module.file_name());
        let (Some(folder), Some(name)) = (folder, name) else {
            continue;
        };
        let name = name.to_string_lossy();
        // Compressed ones have more behind.
        let is_it = |file: &str| file.starts_with(&format!("{name}.ko"));
        if let Ok(Some(file)) = find(folder, is_it) {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let numbered = kept.join(format!("{number:02}-{name}"));
            fs::rename(&file, numbered).map_err(failed)?;
        }
    }
    fs::rename(&kept, &kernel).map_err(failed)?;
    Ok(kernel)
}

fn contents(package: &str, what: &str) -> LinuxError {
    LinuxError::Contents {
        package: package.to_owned(),
        what: what.to_owned(),
    }
}

/// A file of a folder, by its name.
fn find(folder: &Path, is_it: impl Fn(&str) -> bool) -> io::Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(&is_it) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

/// Builds the server, which needs no library of the guest.
fn build_server(
    workspace: &Workspace,
    folder: &Path,
    stop: &StopToken,
) -> Result<PathBuf, LinuxError> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--quiet", "--locked", "--release"])
        .args(["--package", SERVER_PACKAGE, "--target", TARGET])
        .arg("--target-dir")
        .arg(folder)
        .current_dir(workspace.root())
        .env("RUSTFLAGS", "-Ctarget-feature=+crt-static")
        // As dormir's guests are built.
        .env("CARGO_PROFILE_RELEASE_LTO", "fat")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1");
    let built = process::capture(
        &mut command,
        Keep::StdoutOnly,
        Scope::Group,
        BUILD_LIMIT,
        stop,
    )?;
    if !built.status.success() {
        return Err(LinuxError::Build);
    }
    Ok(folder.join(TARGET).join("release").join(SERVER))
}

/// Runs a program that is part of the system, and returns what it prints.
fn capture(command: &mut Command, keep: Keep, stop: &StopToken) -> Result<String, LinuxError> {
    command.env("LC_ALL", "C");
    let ran = process::capture(command, keep, Scope::Group, PACKAGE_LIMIT, stop)?;
    if ran.status.success() {
        return Ok(ran.output);
    }
    let program = command.get_program().to_string_lossy().into_owned();
    let said = ran.output.lines().last().unwrap_or("it does not say why");
    Err(LinuxError::Failed {
        program,
        said: said.to_owned(),
    })
}

/// The guest's file system: the server as `init`, and the modules.
fn file_system(kernel: &Path, server: &Path) -> io::Result<Vec<u8>> {
    const FOLDER: u32 = 0o040_755;
    const PROGRAM: u32 = 0o100_755;
    const FILE: u32 = 0o100_644;

    let mut files = vec![
        ("modules".to_owned(), FOLDER, Vec::new()),
        ("init".to_owned(), PROGRAM, fs::read(server)?),
    ];
    for entry in fs::read_dir(kernel)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.contains(".ko") {
            files.push((format!("modules/{name}"), FILE, fs::read(entry.path())?));
        }
    }
    let entries = files.into_iter().map(|(name, mode, bytes)| {
        let entry = NewcBuilder::new(&name).mode(mode);
        (entry, io::Cursor::new(bytes))
    });
    write_cpio(entries, Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use cpio::NewcReader;

    #[test]
    fn the_newest_kernel_is_what_the_package_depends_on() {
        let shown = "Package: linux-image-cloud-amd64\nVersion: 6.1.9-2\n\
                     Depends: linux-image-6.1.0-9-cloud-amd64 (= 6.1.9-2)\nSection: kernel\n";
        let expected = ("linux-image-6.1.0-9-cloud-amd64".into(), "6.1.9-2".into());
        assert_eq!(depends(shown), Some(expected));
        for (from, to) in [
            ("Depends: ", "Recommends: "),
            (" (= 6.1.9-2)", ""),
            ("linux-image-6.1.0", "../linux"),
        ] {
            assert_eq!(depends(&shown.replace(from, to)), None, "{to}");
        }
    }

    #[test]
    fn the_file_system_has_the_server_and_the_modules_in_their_order() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        for (name, text) in [
            ("vmlinuz", "k"),
            ("00-a.ko", "module a"),
            ("01-b.ko.xz", "b"),
        ] {
            fs::write(folder.path().join(name), text).expect("a file is made");
        }
        let server = folder.path().join("server");
        fs::write(&server, "the server").expect("a file is made");
        let image = file_system(folder.path(), &server).expect("it is made");
        let mut rest = &image[..];
        let mut found = Vec::new();
        loop {
            let mut entry = NewcReader::new(rest).expect("an entry");
            if entry.entry().is_trailer() {
                break;
            }
            let (name, mode) = (entry.entry().name().to_owned(), entry.entry().mode());
            let mut content = Vec::new();
            io::Read::read_to_end(&mut entry, &mut content).expect("its bytes");
            rest = entry.finish().expect("the next");
            found.push((name, mode, String::from_utf8(content).expect("text")));
        }
        found[2..].sort();
        let expected = [
            ("modules", 0o040_755, ""),
            ("init", 0o100_755, "the server"),
            ("modules/00-a.ko", 0o100_644, "module a"),
            ("modules/01-b.ko.xz", 0o100_644, "b"),
        ];
        let expected = expected.map(|(name, mode, text)| (name.into(), mode, text.into()));
        assert_eq!(found, expected);
    }
}
