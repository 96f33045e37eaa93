//! QEMU's command line.

use std::{ffi::OsString, os::fd::RawFd};

use dormir_abi::port::{DEBUG_CONSOLE, EXIT, SERIAL, SERIAL_IRQ};

use super::{
    argument_list::ArgumentList,
    devices::{PORT, PassedDevice},
};
use crate::vmm::config::{Accelerator, MachineType, RunConfig};

/// What QEMU is passed by the numbers of file descriptors.
pub(super) struct Passed {
    /// The guest's file.
    pub(super) kernel: RawFd,
    /// The monitor that starts the guest.
    pub(super) monitor: RawFd,
    /// The socket to which it listens for debuggers.
    pub(super) gdb: Option<RawFd>,
    pub(super) devices: Vec<PassedDevice>,
    /// Its output, if that is not its standard output: see [`moves_output`].
    pub(super) output: Option<RawFd>,
}

/// Whether QEMU must have an empty standard output. What it connects to standard input writes to
/// standard output.
pub(super) fn moves_output(config: &RunConfig) -> bool {
    config.has_virtio_console() && config.input.is_some()
}

/// Returns QEMU's arguments for a guest.
pub(super) fn arguments(
    accelerator: Accelerator,
    machine: MachineType,
    command_line: &str,
    passed: &Passed,
    config: &RunConfig,
) -> Vec<OsString> {
    let Passed {
        kernel,
        monitor,
        gdb,
        devices,
        output,
    } = passed;
    let mut arguments = ArgumentList::default();
    // Only the devices named here: neither default devices nor the user's configuration.
    arguments.flag("-nodefaults");
    arguments.flag("-no-user-config");
    arguments.pair("-display", "none");
    // A triple fault is a reset, and would restart the guest again and again.
    arguments.flag("-no-reboot");
    // The guest does not run until the monitor starts it.
    arguments.flag("-S");
    arguments.pair("-chardev", format!("socket,id=monitor,fd={monitor}"));
    arguments.pair("-mon", "chardev=monitor,mode=control");
    if let Some(gdb) = gdb {
        arguments.pair(
            "-chardev",
            format!("socket,id=gdb,fd={gdb},server=on,wait=off"),
        );
        arguments.pair("-gdb", "chardev:gdb");
    }
    arguments.pair("-m", format!("{}M", config.memory_mib));
    arguments.pair("-smp", "1");
    let accelerator_name = match accelerator {
        Accelerator::Kvm => "kvm",
        Accelerator::Tcg => "tcg",
    };
    let machine_options = match machine {
        MachineType::Q35 => "q35",
        // Without ACPI, QEMU tells the guest on its command line where its devices are.
        MachineType::Microvm if !devices.is_empty() => {
            "microvm,pit=on,pic=on,rtc=on,isa-serial=off,acpi=off"
        }
        // The interrupt controller and the clocks that guests may rely on; not every version has
        // them by default.
        MachineType::Microvm => "microvm,pit=on,pic=on,rtc=on,isa-serial=off",
    };
    let memory = match devices.iter().any(PassedDevice::shares_memory) {
        true => {
            let size = config.memory_mib;
            let memory = format!("memory-backend-memfd,id=memory,size={size}M,share=on");
            arguments.pair("-object", memory);
            ",memory-backend=memory"
        }
        false => "",
    };
    arguments.pair(
        "-machine",
        format!("{machine_options},accel={accelerator_name}{memory}"),
    );
    // A KVM without VMX cannot set the MSR behind arch-capabilities.
    arguments.pair("-cpu", "max,arch-capabilities=off");
    if (accelerator, machine) == (Accelerator::Kvm, MachineType::Q35) {
        // The full firmware checksums itself and searches for option ROMs. If KVM emulates real
        // mode, this takes 10 s; the smaller build of the same firmware takes 0.2 s.
        arguments.pair("-bios", "bios-microvm.bin");
    }
    if !devices.is_empty() && machine == MachineType::Microvm {
        // The drivers know version 2 alone.
        arguments.pair("-global", "virtio-mmio.force-legacy=false");
    }
    if config.count_instructions {
        arguments.pair("-icount", "shift=0,sleep=off");
    }
    arguments.pair(
        "-device",
        format!("isa-debug-exit,iobase={EXIT:#x},iosize=4"),
    );
    // All write to the same output, and one of them reads standard input. Without `signal=off` it
    // would take Ctrl-C for the guest.
    let output = match output {
        Some(number) => format!("/dev/fd/{number}"),
        None => "/dev/stdout".into(),
    };
    let (reads, writes) = ("stdio,signal=off", format!("file,path={output},append=on"));
    if config.has_virtio_console() {
        // A virtio console drops what its output does not take at once. An empty output takes all,
        // and QEMU waits until the log has.
        let port = if moves_output(config) { reads } else { "null" };
        let log = format!("logfile={output},logappend=on");
        arguments.pair("-chardev", format!("{port},id={PORT},{log}"));
    }
    let (console, serial) = match config.input {
        None => (reads, &*writes),
        Some(_) if moves_output(config) => (&*writes, &*writes),
        Some(_) => (&*writes, reads),
    };
    arguments.pair("-chardev", format!("{console},id=console"));
    arguments.pair(
        "-device",
        format!("isa-debugcon,iobase={DEBUG_CONSOLE:#x},chardev=console"),
    );
    arguments.pair("-chardev", format!("{serial},id=serial"));
    arguments.pair(
        "-device",
        format!("isa-serial,iobase={SERIAL:#x},irq={SERIAL_IRQ},chardev=serial"),
    );
    for device in devices {
        device.add_to(&mut arguments, machine);
    }
    // Neither option's value is split at commas, so nothing needs escaping.
    arguments.pair("-kernel", format!("/dev/fd/{kernel}"));
    arguments.pair("-append", command_line);
    arguments.into_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmm::{Device, GuestInput, Vmm, device::Network};

    fn line(
        accelerator: Accelerator,
        machine: MachineType,
        change: impl Fn(&mut RunConfig),
    ) -> String {
        line_with(accelerator, machine, Vec::new(), change)
    }

    fn line_with(
        accelerator: Accelerator,
        machine: MachineType,
        devices: Vec<PassedDevice>,
        change: impl Fn(&mut RunConfig),
    ) -> String {
        let mut config = RunConfig::new(Vmm::Qemu(accelerator, machine));
        change(&mut config);
        arguments(
            accelerator,
            machine,
            "timer=pit,x y",
            &Passed {
                kernel: 6,
                monitor: 7,
                gdb: None,
                devices,
                output: moves_output(&config).then_some(9),
            },
            &config,
        )
        .join(" ".as_ref())
        .into_string()
        .unwrap()
    }

    #[test]
    fn files_and_arguments_are_passed_as_they_are() {
        let line = line(Accelerator::Tcg, MachineType::Q35, |_| {});
        assert!(line.contains("-chardev socket,id=monitor,fd=7 "), "{line}");
        assert!(
            line.ends_with("-kernel /dev/fd/6 -append timer=pit,x y"),
            "{line}"
        );
    }

    #[test]
    fn a_guest_is_given_no_network_no_disk_and_no_folder() {
        for machine in [MachineType::Q35, MachineType::Microvm] {
            let line = line(Accelerator::Tcg, machine, |_| {});
            assert!(line.starts_with("-nodefaults -no-user-config "), "{line}");
            let devices: Vec<_> = line.split("-device ").skip(1).collect();
            let known = ["isa-debug-exit,", "isa-debugcon,", "isa-serial,"];
            let is_known = |device: &&str| known.iter().any(|known| device.starts_with(known));
            assert!(devices.iter().all(is_known) && devices.len() == 3, "{line}");
            for other in [
                "-net",
                "-nic",
                "-drive",
                "-blockdev",
                "-hd",
                "-virtfs",
                "-fsdev",
                "-usb",
            ] {
                assert!(!line.contains(&format!(" {other}")), "{other}: {line}");
            }
        }
    }

    #[test]
    fn a_guest_is_given_the_devices_that_were_asked_for() {
        let devices = |restrict| {
            let disk = PassedDevice::Disk {
                file: 9,
                number: 1,
                identification: "disk0".into(),
                read_only: true,
            };
            let forwards = ["8080:80", "2222:22"].map(|ports| ports.parse().unwrap());
            let net = PassedDevice::Net(Network {
                forwards: forwards.into(),
                restrict,
            });
            vec![
                PassedDevice::Rng { number: 0 },
                disk,
                PassedDevice::Console { number: 2 },
                PassedDevice::Port {
                    socket: 8,
                    number: 3,
                },
                net,
                PassedDevice::Vsock { socket: 11 },
            ]
        };
        let with = line_with(
            Accelerator::Tcg,
            MachineType::Microvm,
            devices(true),
            |_| {},
        );
        for part in [
            "isa-serial=off,acpi=off,accel=tcg,memory-backend=memory ",
            " -object memory-backend-memfd,id=memory,size=64M,share=on ",
            " -chardev socket,id=vsock,fd=11 -device vhost-user-vsock-device,chardev=vsock ",
            " -global virtio-mmio.force-legacy=false ",
            " -object rng-builtin,id=rng0 -device virtio-rng-device,rng=rng0 ",
            " -add-fd fd=9,set=1 -blockdev driver=file,filename=/dev/fdset/1,node-name=file1,\
             read-only=on,discard=unmap ",
            " -blockdev driver=raw,file=file1,node-name=disk1,read-only=on,discard=unmap ",
            " -device virtio-blk-device,drive=disk1,serial=disk0,werror=report,rerror=report ",
            " -device virtio-serial-device,id=serial2,max_ports=1 \
             -device virtconsole,bus=serial2.0,chardev=port ",
            " -chardev socket,id=port3,fd=8 \
             -device virtio-serial-device,id=serial3,max_ports=1 \
             -device virtconsole,bus=serial3.0,chardev=port3 ",
            " -netdev user,id=net,ipv6=off,restrict=on,hostfwd=tcp:127.0.0.1:8080-:80,\
             hostfwd=tcp:127.0.0.1:2222-:22 -device virtio-net-device,netdev=net,\
             mac=02:64:6f:72:6d:00 ",
        ] {
            assert!(with.contains(part), "{part}: {with}");
        }
        let on_pci = line_with(Accelerator::Tcg, MachineType::Q35, devices(false), |_| {});
        for part in [
            " -device virtio-rng-pci,rng=rng0 ",
            " -device virtio-blk-pci,drive=disk1,",
            " -device virtio-serial-pci,id=serial2,max_ports=1 ",
            " -netdev user,id=net,ipv6=off,restrict=off,hostfwd=tcp:127.0.0.1:8080-:80,",
            " -device virtio-net-pci,netdev=net,",
            " -device vhost-user-vsock-pci,chardev=vsock ",
        ] {
            assert!(on_pci.contains(part), "{part}: {on_pci}");
        }
        assert!(
            !on_pci.contains("acpi") && !on_pci.contains("mmio"),
            "{on_pci}"
        );
        let without = line(Accelerator::Tcg, MachineType::Microvm, |_| {});
        assert!(
            ["acpi", "-global", "memory"]
                .iter()
                .all(|word| !without.contains(word)),
            "{without}"
        );
    }

    #[test]
    fn one_device_reads_standard_input() {
        let reader = |devices: &[Device], input: bool| {
            let devices = devices.to_vec();
            let line = line(Accelerator::Tcg, MachineType::Microvm, |config| {
                config.devices = devices.clone();
                config.input = input.then(|| GuestInput::from_bytes(b"").unwrap());
            });
            let (_, name) = line.split_once("stdio,signal=off,id=").expect("one reads");
            assert_eq!(line.matches("stdio").count(), 1, "{line}");
            if input && !devices.is_empty() {
                assert!(name.starts_with("port,logfile=/dev/fd/9,logappend=on "));
                assert!(!line.contains("/dev/stdout"), "{line}");
            }
            name.split([' ', ',']).next().map(str::to_owned)
        };
        for (devices, input, expected) in [
            (&[][..], false, "console"),
            (&[], true, "serial"),
            (&[Device::Console], false, "console"),
            (&[Device::Console], true, "port"),
        ] {
            assert_eq!(reader(devices, input).as_deref(), Some(expected));
        }
    }

    #[test]
    fn time_is_counted_in_instructions_only_where_asked() {
        assert!(!line(Accelerator::Tcg, MachineType::Q35, |_| {}).contains("icount"));
        let line = line(Accelerator::Tcg, MachineType::Q35, |config| {
            config.count_instructions = true;
        });
        assert!(line.contains("-icount shift=0,sleep=off"), "{line}");
    }

    #[test]
    fn the_ports_are_those_of_the_abi() {
        let line = line(Accelerator::Tcg, MachineType::Microvm, |_| {});
        assert!(line.contains("isa-debug-exit,iobase=0xf4,"), "{line}");
        assert!(line.contains("isa-debugcon,iobase=0xe9,"), "{line}");
        assert!(line.contains("isa-serial,iobase=0x3f8,irq=4,"), "{line}");
        assert!(line.contains("microvm,pit=on,pic=on"), "{line}");
    }
}
