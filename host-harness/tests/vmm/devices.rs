//! Virtio devices, driven by guests in machine code that poll them.

use std::{fs, io, net::TcpListener, path::Path, time::Duration};

use dormir_harness::vmm::{
    Accelerator, Device, GuestInput, MachineType, Outcome, PortForward, Report, RunConfig, Vmm, run,
};

use crate::{
    KVM, config,
    guests::{self, GuestFile, SPIN, exit, print},
    launch,
    virtio_code::*,
};

const TCG_MICROVM: Vmm = Vmm::Qemu(Accelerator::Tcg, MachineType::Microvm);

fn with(vmm: Vmm, devices: &[Device]) -> RunConfig {
    let mut config = config(vmm);
    config.devices = devices.to_vec();
    config
}

fn disk(path: &Path, read_only: bool) -> Device {
    Device::Disk {
        path: path.to_owned(),
        read_only,
    }
}

/// Runs a foreign guest; returns its console as bytes.
fn bytes_of(code: &[u8], config: &RunConfig) -> Vec<u8> {
    let mut console = Vec::new();
    let report = run(GuestFile::new(code).path(), config, &mut console);
    let Report { outcome, .. } = report.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(outcome, Outcome::Exited(0), "{}", config.vmm);
    console
}

#[test]
fn a_guest_is_told_where_its_devices_are() {
    for (vmm, words) in [
        (
            KVM,
            "virtio_mmio.device=512@0xd0000000:5 virtio_mmio.device=512@0xd0001000:6",
        ),
        (
            TCG_MICROVM,
            "virtio_mmio.device=512@0xfeb00e00:12 virtio_mmio.device=512@0xfeb00c00:11",
        ),
    ] {
        // mov esi, [start information + 0x18]; again: lodsb; test al, al; je end; out 0xe9, al;
        // jmp again
        let code = [
            &[0x8b, if vmm == KVM { 0x77 } else { 0x73 }, 0x18][..],
            &[0xac, 0x84, 0xc0, 0x74, 4, 0xe6, 0xe9, 0xeb, 0xf7],
            &exit(0),
        ];
        let mut config = with(vmm, &[Device::Rng, Device::Rng]);
        config.arguments = "a b".into();
        let (report, console) = launch(&code.concat(), &config);
        assert_eq!(report.outcome, Outcome::Exited(0));
        assert_eq!(console, format!("a b {words}"));
    }
}

#[test]
fn a_guest_gets_random_numbers() {
    for vmm in [KVM, TCG_MICROVM] {
        let mut code = Code::new(vmm);
        code.print_register(0);
        code.set_up();
        code.descriptor(0, BUFFER, 64, WRITE);
        code.submit();
        code.wait_for_interrupt();
        code.print_register(INTERRUPT_STATUS);
        code.print_word(USED + 8);
        for word in 0..16 {
            code.print_word(BUFFER + 4 * word);
        }
        let console = bytes_of(&code.end(&exit(0)), &with(vmm, &[Device::Rng]));
        assert_eq!(console[..12], *b"virt\x01\0\0\0\x40\0\0\0", "{vmm}");
        assert!(console[12..76].iter().any(|byte| *byte != 0), "{vmm}");
    }
}

#[test]
fn a_guest_reads_and_writes_its_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    // No VMM parses this name.
    let path = folder.path().join("a,b=on,readonly=off");
    for vmm in [KVM, TCG_MICROVM] {
        let mut content = [7; 1024];
        content[512..516].copy_from_slice(b"text");
        fs::write(&path, content).expect("it is written");
        // The header in the buffer, then the data, then the status.
        let (data, status) = (BUFFER + 16, BUFFER + 16 + 512);
        let request = |kind, sector, of_data| {
            let mut code = Code::new(vmm);
            code.set_up();
            code.store(BUFFER, kind);
            code.store(BUFFER + 8, sector);
            code.store(data, u32::from_le_bytes(*b"news"));
            code.store(status, 0x55);
            code.descriptor(0, BUFFER, 16, NEXT);
            code.descriptor(1, data, 512, NEXT | of_data);
            code.descriptor(2, status, 1, WRITE);
            code.submit();
            code.print_word(data);
            code.print_word(status);
            code.end(&exit(0))
        };
        let read = request(0, 1, WRITE);
        let write = request(1, 0, 0);
        for read_only in [true, false] {
            let config = with(vmm, &[disk(&path, read_only)]);
            assert_eq!(
                bytes_of(&read, &config),
                b"text\0\0\0\0",
                "{vmm} {read_only}"
            );
        }
        let console = bytes_of(&write, &with(vmm, &[disk(&path, true)]));
        assert_eq!(console, b"news\x01\0\0\0", "{vmm}");
        assert_eq!(fs::read(&path).expect("it is there"), content);
        let console = bytes_of(&write, &with(vmm, &[disk(&path, false)]));
        assert_eq!(console, b"news\0\0\0\0", "{vmm}");
        content[..4].copy_from_slice(b"news");
        let after = fs::read(&path).expect("it is there");
        assert_eq!((after.len(), &after[..4]), (1024, &b"news"[..]));
        assert_eq!(after[512..], content[512..]);
    }
}

#[test]
fn a_guest_writes_to_its_console() {
    for vmm in [KVM, TCG_MICROVM] {
        let mut code = Code::new(vmm);
        code.set_up_queue(1);
        code.store(BUFFER, u32::from_le_bytes(*b"text"));
        code.descriptor(0, BUFFER, 3, 0);
        code.submit();
        code.wait_for_interrupt();
        let console = bytes_of(&code.end(&exit(0)), &with(vmm, &[Device::Console]));
        assert_eq!(console, b"tex", "{vmm}");
    }
}

#[test]
fn a_guest_reads_from_its_console() {
    for vmm in [KVM, TCG_MICROVM] {
        let mut code = Code::new(vmm);
        code.set_up_queue(0);
        code.descriptor(0, BUFFER, 64, WRITE);
        code.submit();
        code.print_word(USED + 8);
        code.print_word(BUFFER);
        let mut config = with(vmm, &[Device::Console]);
        config.input = Some(GuestInput::from_bytes(b"word").expect("a file"));
        let console = bytes_of(&code.end(&exit(0)), &config);
        assert_eq!(console, b"\x04\0\0\0word", "{vmm}");
    }
}

#[test]
fn a_disk_is_locked_while_a_guest_has_it() {
    let disk_file = guests::write(&[0; 512]);
    for vmm in [KVM, TCG_MICROVM] {
        let config = with(vmm, &[disk(disk_file.path(), false)]);
        let stop = config.stop.clone();
        let spins = GuestFile::new(&[print(b"x"), SPIN.to_vec()].concat());
        let other = GuestFile::new(&exit(0));
        let started = std::thread::scope(|scope| {
            let (sender, receiver) = std::sync::mpsc::channel();
            let first = scope.spawn(move || {
                run(spins.path(), &config, &mut Sender(sender)).map(|report| report.outcome)
            });
            receiver
                .recv_timeout(Duration::from_secs(60))
                .expect("the first guest runs");
            let refused = run(
                other.path(),
                &with(KVM, &[disk(disk_file.path(), true)]),
                &mut io::sink(),
            );
            stop.stop();
            let error = refused.expect_err("the disk is locked").to_string();
            assert!(error.contains("another guest uses it"), "{error}");
            first.join().expect("it returns")
        });
        assert_eq!(started.expect("it ran"), Outcome::Stopped);
        // It is free at once.
        bytes_of(&exit(0), &with(vmm, &[disk(disk_file.path(), false)]));
    }
}

/// A console that tells of the first output.
struct Sender(std::sync::mpsc::Sender<()>);

impl io::Write for Sender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.send(());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn notifications_do_not_end_kvm_run() {
    let exits = |notifications| {
        let mut code = Code::new(KVM);
        code.set_up();
        for _ in 0..notifications {
            code.set(QUEUE_NOTIFY, 0);
        }
        let (report, _) = launch(&code.end(&exit(0)), &with(KVM, &[Device::Rng]));
        assert_eq!(report.outcome, Outcome::Exited(0));
        report.counters.expect("our VMM counts").userspace_exits
    };
    assert_eq!(exits(100), exits(0));
}

#[test]
fn memory_beside_the_devices_is_not_theirs() {
    for offset in [0x200, 0x1000, 0xffff_f000_u32] {
        let mut code = Code::new(KVM);
        // What lies below the first device is mapped too.
        code.store(0x3ff0, 0xcfe0_0093);
        code.print_word(code.base.wrapping_add(offset));
        let (report, _) = launch(&code.end(&exit(0)), &with(KVM, &[Device::Rng]));
        let Outcome::Died(reason) = report.outcome else {
            panic!("{:?}", report.outcome);
        };
        assert!(reason.contains("neither memory nor a device"), "{reason}");
    }
}

#[test]
fn devices_that_cannot_be_given_are_refused() {
    let refused = |config: &RunConfig| {
        let guest = GuestFile::new(&exit(0));
        let refused = run(guest.path(), config, &mut io::sink());
        refused.expect_err("it is refused").to_string()
    };
    for vmm in [KVM, TCG_MICROVM] {
        let many = refused(&with(vmm, &vec![Device::Rng; 8]));
        assert!(many.contains("7 devices"), "{many}");
        let missing = refused(&with(vmm, &[disk(Path::new("/nonexistent"), true)]));
        assert!(missing.contains("/nonexistent"), "{missing}");
        let net = || Device::Net {
            forwards: Vec::new(),
            restrict: true,
        };
        let networks = refused(&with(vmm, &[net(), net()]));
        assert!(networks.contains("one network"), "{networks}");
        let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = taken.local_addr().expect("an address").port();
        let forwards = vec![PortForward {
            host: port,
            guest: 80,
        }];
        let in_use = refused(&with(
            vmm,
            &[Device::Net {
                forwards,
                restrict: true,
            }],
        ));
        let sentence = format!("port {port} of this host, which leads to the guest, is in use");
        assert!(in_use.contains(&sentence), "{in_use}");
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("socket");
        let vsock = Device::Vsock { path: path.clone() };
        let two = refused(&with(vmm, &[vsock.clone(), vsock.clone()]));
        assert!(two.contains("one vsock device"), "{two}");
        fs::write(&path, "text").expect("a file");
        let in_use = refused(&with(vmm, &[vsock]));
        assert!(in_use.contains("is there already"), "{in_use}");
        assert_eq!(fs::read(&path).expect("it is still there"), b"text");
        let mut config = with(vmm, &[Device::Rng]);
        config.arguments = "x".repeat(4059);
        let long = refused(&config);
        assert!(long.contains("4096 bytes"), "{long}");
    }
}
