//! All measurements, one after another.

use super::{
    Boot, Bounds, Contestant, GuestError, Server, counts, disk, http, linux::Linux, memory, plan,
    serial,
};
use crate::{
    document::{
        distribution::Distribution,
        io::{DiskRate, IoDocument, Serial, ServerFigures},
    },
    measuring::{progress::Progress, sizes},
};
use dormir_harness::{
    guest::Images,
    vmm::{Accelerator, StopToken, Vmm},
};
use std::{error::Error, time::Duration};

/// The guest programs.
pub(crate) const PROGRAMS: [&str; 4] = [
    "bench-picoserve",
    "bench-by-hand",
    disk::PROGRAM,
    serial::PROGRAM,
];

/// Everything may take this many times as long as on a machine with nothing else to do.
const FACTOR: u32 = 4;

/// What is measured.
#[derive(Debug)]
pub(crate) struct Measurement<'a> {
    pub(crate) vmms: &'a [Vmm],
    pub(crate) rounds: u32,
    pub(crate) span: Duration,
    pub(crate) images: &'a Images,
    pub(crate) linux: Option<&'a Linux>,
}

impl Measurement<'_> {
    /// The servers, with what boots them.
    fn contestants(&self) -> Result<Vec<Contestant>, Box<dyn Error>> {
        let mut contestants = Vec::new();
        for server in Server::ALL {
            let boot = match server.program() {
                Some(program) => Boot::guest(self.images.get(program)?.to_owned()),
                None => match self.linux {
                    Some(linux) => linux.serves.clone(),
                    None => continue,
                },
            };
            contestants.push(Contestant { server, boot });
        }
        Ok(contestants)
    }

    /// About how long it takes, and the time after which it is given up.
    pub(crate) fn takes(&self) -> (Duration, Duration) {
        let servers = 2 + usize::from(self.linux.is_some());
        let usual = plan::estimate(self.vmms.len(), servers, self.rounds, self.span);
        (usual, usual * FACTOR)
    }

    /// Measures all of it. What was measured before an error is in the document.
    pub(crate) fn run(
        &self,
        document: &mut IoDocument,
        stop: &StopToken,
    ) -> Result<(), Box<dyn Error>> {
        let bounds = &Bounds::new(stop, self.takes().1);
        let contestants = self.contestants()?;
        self.sizes(document)?;
        let of_vmm = |vmm| {
            contestants
                .iter()
                .filter(move |it| it.server.runs_under(vmm))
        };
        let all: usize = self.vmms.iter().map(|&vmm| of_vmm(vmm).count()).sum();
        // Each round has a turn of each server and, for the disk, one of each guest.
        let disks = all - self.vmms.len();
        let rounds = (all + disks) * self.rounds as usize;
        let progress = Progress::of("measuring", rounds + 2 * all + self.vmms.len());
        let step = |vmm: Vmm, name: &str, what: &str| {
            progress.next(&format!("{vmm}, {name}: {what}"));
        };
        let mut page = None;
        for round in 0..self.rounds {
            for &vmm in self.vmms {
                let mut turn: Vec<&Contestant> = of_vmm(vmm).collect();
                // Each is first, in the middle and last.
                let first = round as usize % turn.len();
                turn.rotate_left(first);
                for contestant in turn {
                    step(vmm, contestant.server.name(), "pages");
                    let figures = (&mut document.http, &mut document.servers);
                    let answer = http::round(contestant, vmm, self.span, figures, bounds)
                        .map_err(|error| failed(vmm, contestant.server.name(), error))?;
                    if *page.get_or_insert_with(|| answer.clone()) != answer {
                        return Err(
                            "the servers answer differently: give them the same page".into()
                        );
                    }
                }
            }
        }
        for &vmm in self.vmms {
            for contestant in of_vmm(vmm) {
                let name = contestant.server.name();
                step(vmm, name, "instructions, exits");
                let figures = ServerFigures::of(&mut document.servers, vmm, name);
                let failed = |error| failed(vmm, name, error);
                let (boot, bounds) = (&contestant.boot, bounds);
                match vmm {
                    Vmm::Kvm => {
                        let exits = counts::exits(boot, bounds).map_err(failed)?;
                        figures.exits_per_request = Some(exits);
                    }
                    Vmm::Qemu(Accelerator::Tcg, _) => {
                        figures.instructions =
                            counts::instructions(boot, vmm, bounds).map_err(failed)?;
                    }
                    Vmm::Qemu(Accelerator::Kvm, _) => {}
                }
                step(vmm, name, "memory");
                if matches!(vmm, Vmm::Qemu(..)) {
                    let usual = figures.first_answer_ns.iter().max().copied();
                    let usual = Duration::from_nanos(usual.unwrap_or_default());
                    let least = memory::least(boot, vmm, usual, bounds).map_err(failed)?;
                    figures.least_memory_mib = Some(least);
                }
            }
        }
        self.disks(document, &progress, bounds)?;
        self.serial(document, &progress, bounds)?;
        // The round trips and the throughput of a vsock belong here.
        progress.end();
        Ok(())
    }

    fn sizes(&self, document: &mut IoDocument) -> Result<(), Box<dyn Error>> {
        for server in Server::ALL {
            let bytes = match (server.program(), self.linux) {
                (Some(program), _) => {
                    let size = sizes::of_program(program, self.images)?;
                    let loaded = size.loaded();
                    document.images.push(size);
                    loaded
                }
                (None, Some(linux)) => linux.bytes,
                (None, None) => continue,
            };
            document
                .loaded_bytes
                .insert(server.name().to_owned(), bytes);
        }
        Ok(())
    }

    fn disks(
        &self,
        document: &mut IoDocument,
        progress: &Progress,
        bounds: &Bounds,
    ) -> Result<(), Box<dyn Error>> {
        let file = disk::make().map_err(GuestError::Resource)?;
        let elf = self.images.get(disk::PROGRAM)?;
        for _ in 0..self.rounds {
            for &vmm in self.vmms {
                let mut add = |guest: &str, rates: disk::Rates| {
                    for (in_flight, rate) in disk::IN_FLIGHT.into_iter().zip(rates) {
                        DiskRate::of(&mut document.disk, vmm, guest, in_flight)
                            .rounds
                            .push(rate as f64);
                    }
                };
                progress.next(&format!("{vmm}, dormir: a disk"));
                let rates = disk::of_guest(elf, vmm, file.path(), bounds);
                add(
                    "dormir",
                    rates.map_err(|error| failed(vmm, "a disk", error))?,
                );
                let linux = self.linux.filter(|_| Server::Linux.runs_under(vmm));
                if let Some(linux) = linux {
                    progress.next(&format!("{vmm}, Linux: a disk"));
                    let rates = disk::of_linux(&linux.reads_disk, vmm, file.path(), bounds);
                    add(
                        "Linux",
                        rates.map_err(|error| failed(vmm, "a disk", error))?,
                    );
                }
            }
        }
        Ok(())
    }

    fn serial(
        &self,
        document: &mut IoDocument,
        progress: &Progress,
        bounds: &Bounds,
    ) -> Result<(), Box<dyn Error>> {
        let elf = self.images.get(serial::PROGRAM)?;
        for &vmm in self.vmms {
            progress.next(&format!("{vmm}: the serial line"));
            let measured = serial::measure(elf, vmm, bounds);
            let measured = measured.map_err(|error| failed(vmm, "the serial line", error))?;
            document.serial.push(Serial {
                vmm: vmm.to_string(),
                distribution: Distribution::of(measured.trips),
                bytes_per_second: measured.bytes_per_second,
            });
        }
        Ok(())
    }
}

/// What could not be measured under which VMM.
fn failed(vmm: Vmm, what: &str, error: GuestError) -> Box<dyn Error> {
    match error {
        GuestError::Stopped | GuestError::TooLong(_) => error.into(),
        error => format!("{vmm}, {what}: {error}").into(),
    }
}
