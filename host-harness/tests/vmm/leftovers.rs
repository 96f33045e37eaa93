//! Nothing is left behind: no thread, no open file, no process.

use std::{
    fs,
    net::TcpListener,
    process::{Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use dormir_harness::vmm::{Device, PortForward};

use crate::{
    KVM, TCG_Q35,
    command::{DORMIR_QEMU, cargo_vm, script},
    config,
    guests::{self, GuestFile, REQUEST, SPIN, ask_for_interrupt, exit},
    launch,
};

/// Set if a test runs in a process of its own.
const ALONE: &str = "DORMIR_TEST_ALONE";

#[test]
fn kvm_leaves_no_thread_and_no_file_behind() {
    if std::env::var_os(ALONE).is_some() {
        return count_leftovers();
    }
    // In a process of its own, because other tests have threads and files.
    let output = Command::new(std::env::current_exe().expect("this program has a path"))
        .args([
            "--exact",
            "leftovers::kvm_leaves_no_thread_and_no_file_behind",
        ])
        .env(ALONE, "")
        .output()
        .expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    // An unknown test name would also end with success.
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

fn count_leftovers() {
    let forward = free_forward();
    let mark = mark_of(forward);
    let count = || {
        let entries = |path| fs::read_dir(path).expect("/proc").count();
        assert_eq!(processes_with(&mark), 0, "passt is gone");
        (entries("/proc/self/task"), entries("/proc/self/fd"))
    };
    let file = guests::write(&[0; 512]);
    let disk = Device::Disk {
        path: file.path().to_owned(),
        read_only: false,
    };
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path().join("socket");
    let all = |vmm| {
        let mut config = config(vmm);
        if vmm == KVM {
            let net = Device::Net {
                forwards: vec![forward],
                restrict: true,
            };
            let vsock = Device::Vsock { path: path.clone() };
            config.devices = vec![Device::Rng, disk.clone(), net, vsock];
        }
        launch(&exit(0), &config);
        config.timeout = Duration::from_millis(100);
        launch(SPIN, &config);
    };
    let wait_for_interrupt = || {
        let mut config = config(KVM);
        config.timeout = Duration::from_millis(100);
        launch(&ask_for_interrupt(REQUEST, 0x31, u64::MAX), &config);
    };
    all(KVM);
    // A thread that was joined is in /proc until the kernel has done away with it.
    let settled = || {
        let found = count();
        sleep(Duration::from_millis(200));
        found == count()
    };
    assert!(wait_for(settled));
    let before = count();
    (0..5).for_each(|_| all(KVM));
    wait_for_interrupt();
    all(TCG_Q35);
    let is_settled = || {
        let (threads, files) = count();
        threads <= before.0 && files <= before.1
    };
    assert!(wait_for(is_settled), "{:?}, before {before:?}", count());
    assert!(!path.exists());
}

/// A port of this host that is free, and leads to a guest. Those from 32768 on may be taken for
/// connections.
pub(crate) fn free_forward() -> PortForward {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let place = (std::process::id() as u16)
            .wrapping_mul(64)
            .wrapping_add(number);
        let host = 12_000 + place % 20_000;
        if TcpListener::bind(("127.0.0.1", host)).is_ok() {
            return PortForward { host, guest: 80 };
        }
    }
}

/// By which the program that forwards a port is known.
fn mark_of(PortForward { host, guest }: PortForward) -> String {
    format!("127.0.0.1/{host}:{guest}")
}

/// Returns the processes whose command line contains `mark`, except the command itself.
pub(crate) fn processes_with(mark: &str) -> usize {
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    processes
        .filter_map(|process| fs::read(process.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        .filter(|line| line.contains(mark) && !line.contains("cargo-vm"))
        .count()
}

pub(crate) fn wait_for(mut what: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    while !what() {
        if started.elapsed() > Duration::from_secs(20) {
            return false;
        }
        sleep(Duration::from_millis(10));
    }
    true
}

/// Returns the command line of a run under QEMU that never ends by itself, with a mark in it.
fn endless_run(mark: &str) -> (Command, GuestFile) {
    let guest = GuestFile::new(SPIN);
    let mut command = cargo_vm();
    command
        .args(["run", "--vmm", "qemu-tcg", "--memory", "4"])
        .arg(guest.path())
        .arg(mark)
        .stderr(Stdio::null());
    (command, guest)
}

#[test]
fn qemu_ends_with_the_process_that_started_it() {
    let mark = format!("mark-killed-{}", std::process::id());
    let (mut command, _guest) = endless_run(&mark);
    let mut child = command.spawn().expect("it starts");
    let ran = wait_for(|| processes_with(&mark) == 1);
    child.kill().expect("it runs");
    child.wait().expect("it was killed");
    assert!(ran, "QEMU was started");
    assert!(wait_for(|| processes_with(&mark) == 0), "QEMU is gone");
}

#[test]
fn passt_ends_with_the_process_that_started_it() {
    let (guest, forward) = (GuestFile::new(SPIN), free_forward());
    let mut child = cargo_vm()
        .args(["run", "--vmm", "kvm", "--memory", "4"])
        .args(["--net", &format!("user,{forward}")])
        .arg(guest.path())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mark = mark_of(forward);
    let ran = wait_for(|| processes_with(&mark) == 1);
    child.kill().expect("it runs");
    child.wait().expect("it was killed");
    assert!(ran, "passt was started");
    assert!(wait_for(|| processes_with(&mark) == 0), "passt is gone");
}

#[test]
fn a_qemu_behind_a_script_ends_at_the_time_limit() {
    let mark = format!("mark-script-{}", std::process::id());
    let folder = tempfile::tempdir().expect("a folder for the test");
    let wrapper = script(folder.path(), "wrapper", "qemu-system-x86_64 \"$@\" & wait");
    let (mut command, _guest) = endless_run(&mark);
    let status = command
        .env(DORMIR_QEMU, wrapper)
        .args(["--timeout", "2"])
        .status()
        .expect("it starts");
    assert_eq!(status.code(), Some(124));
    assert!(wait_for(|| processes_with(&mark) == 0), "QEMU is gone");
}
