//! All measurements, one after another.

use super::{
    Boot, Bounds, Contestant, GuestError, Server, counts, disk, http, linux::Linux, memory, plan,
    serial, vsock,
};
use crate::{
    document::io::{DiskRate, IoDocument, ServerFigures},
    measuring::{progress::Progress, sizes},
};
use dormir_harness::{
    guest::Images,
    vmm::{Accelerator, StopToken, Vmm},
};
use std::{cell::RefCell, error::Error, time::Duration};

/// The guest programs.
pub(crate) const PROGRAMS: [&str; 5] = [
    "bench-picoserve",
    "bench-by-hand",
    disk::PROGRAM,
    serial::PROGRAM,
    vsock::PROGRAM,
];

/// Everything may take this many times as long as on a machine with nothing else to do.
const FACTOR: u32 = 4;

/// What is measured.
#[derive(Debug)]
pub(crate) struct Measurement<'a> {
    pub(crate) vmms: &'a [Vmm],
    /// Those of them under which pages are counted.
    pub(crate) rated: &'a [Vmm],
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
        let usual = plan::estimate(
            self.vmms.len(),
            self.rated.len(),
            servers,
            self.rounds,
            self.span,
        );
        (usual, usual * FACTOR)
    }

    /// Measures all of it. What was measured before an error is in the document, and so is a
    /// sentence on each figure that could not be taken.
    pub(crate) fn run(
        &self,
        document: &mut IoDocument,
        stop: &StopToken,
    ) -> Result<(), Box<dyn Error>> {
        let bounds = &Bounds::new(stop, self.takes().1);
        self.sizes(document)?;
        let contestants = self.contestants()?;
        let progress = Progress::of("measuring", self.steps(&contestants));
        let taker = &Taker {
            progress: &progress,
            left_out: RefCell::default(),
        };
        let taken = self.take(document, &contestants, taker, bounds);
        progress.end();
        let left_out = taker.left_out.take();
        let count = left_out.len();
        document.left_out.extend(left_out);
        if let Err(error) = &taken {
            let sentence = format!("what followed is left out: {error}");
            document.left_out.push(sentence);
        }
        taken?;
        match count {
            0 => Ok(()),
            _ => Err("figures are missing: the reasons are below the tables".into()),
        }
    }

    /// How many steps there are, unless some fail.
    fn steps(&self, contestants: &[Contestant]) -> usize {
        let of = |vmm| of_vmm(contestants, vmm).count();
        let pages: usize = self.rated.iter().map(|&vmm| of(vmm)).sum();
        let servers: usize = self.vmms.iter().map(|&vmm| of(vmm)).sum();
        // For the disk there is one server of dormir's less.
        let disks = servers - self.vmms.len();
        let vsocks = usize::from(self.vmms.contains(&Vmm::Kvm));
        (pages + disks) * self.rounds as usize + 2 * servers + self.vmms.len() + vsocks
    }

    fn take(
        &self,
        document: &mut IoDocument,
        contestants: &[Contestant],
        taker: &Taker<'_>,
        bounds: &Bounds,
    ) -> Result<(), Box<dyn Error>> {
        self.pages(document, contestants, taker, bounds)?;
        for &vmm in self.vmms {
            for contestant in of_vmm(contestants, vmm) {
                let figures =
                    ServerFigures::of(&mut document.servers, vmm, contestant.server.name());
                needs(contestant, vmm, figures, taker, bounds)?;
            }
        }
        self.disks(document, taker, bounds)?;
        self.serial(document, taker, bounds)?;
        self.vsock(document, taker, bounds)
    }

    /// The rounds in which the servers take turns.
    fn pages(
        &self,
        document: &mut IoDocument,
        contestants: &[Contestant],
        taker: &Taker<'_>,
        bounds: &Bounds,
    ) -> Result<(), Box<dyn Error>> {
        let mut page = None;
        let mut failed = Vec::new();
        for round in 0..self.rounds {
            for &vmm in self.rated {
                let mut turn: Vec<&Contestant> = of_vmm(contestants, vmm).collect();
                // Each is first, in the middle and last.
                let first = round as usize % turn.len();
                turn.rotate_left(first);
                for contestant in turn {
                    let name = contestant.server.name();
                    // Its rounds would not be those of the others any more.
                    if failed.contains(&(vmm, name)) {
                        continue;
                    }
                    let figures = (&mut document.http, &mut document.servers);
                    let answer = taker.take(vmm, &format!("{name}: pages"), || {
                        http::round(contestant, vmm, self.span, figures, bounds)
                    })?;
                    let Some(answer) = answer else {
                        failed.push((vmm, name));
                        continue;
                    };
                    if *page.get_or_insert_with(|| answer.clone()) != answer {
                        return Err(
                            "the servers answer differently: give them the same page".into()
                        );
                    }
                }
            }
        }
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
        taker: &Taker<'_>,
        bounds: &Bounds,
    ) -> Result<(), Box<dyn Error>> {
        let file = disk::make().map_err(GuestError::Resource)?;
        let elf = self.images.get(disk::PROGRAM)?;
        for _ in 0..self.rounds {
            for &vmm in self.vmms {
                let mut add = |guest: &str, rates: Option<disk::Rates>| {
                    let rates = rates.into_iter().flatten();
                    for (in_flight, rate) in disk::IN_FLIGHT.into_iter().zip(rates) {
                        DiskRate::of(&mut document.disk, vmm, guest, in_flight)
                            .rounds
                            .push(rate as f64);
                    }
                };
                let rates = taker.take(vmm, "dormir: a disk", || {
                    disk::of_guest(elf, vmm, file.path(), bounds)
                });
                add("dormir", rates?);
                if let Some(linux) = self.linux.filter(|_| Server::Linux.runs_under(vmm)) {
                    let rates = taker.take(vmm, "Linux: a disk", || {
                        disk::of_linux(&linux.reads_disk, vmm, file.path(), bounds)
                    });
                    add("Linux", rates?);
                }
            }
        }
        Ok(())
    }

    fn serial(
        &self,
        document: &mut IoDocument,
        taker: &Taker<'_>,
        bounds: &Bounds,
    ) -> Result<(), Box<dyn Error>> {
        let elf = self.images.get(serial::PROGRAM)?;
        for &vmm in self.vmms {
            let measured =
                taker.take(vmm, "the serial line", || serial::measure(elf, vmm, bounds))?;
            document.serial.extend(measured.map(|it| it.under(vmm)));
        }
        Ok(())
    }

    /// Under our own VMM alone: QEMU's guests need another program of the host for it.
    fn vsock(
        &self,
        document: &mut IoDocument,
        taker: &Taker<'_>,
        bounds: &Bounds,
    ) -> Result<(), Box<dyn Error>> {
        let elf = self.images.get(vsock::PROGRAM)?;
        for &vmm in self.vmms.iter().filter(|&&vmm| vmm == Vmm::Kvm) {
            let measured = taker.take(vmm, "a vsock", || vsock::measure(elf, bounds))?;
            document.vsock.extend(measured.map(|it| it.under(vmm)));
        }
        Ok(())
    }
}

fn of_vmm(contestants: &[Contestant], vmm: Vmm) -> impl Iterator<Item = &Contestant> {
    contestants
        .iter()
        .filter(move |contestant| contestant.server.runs_under(vmm))
}

/// What a server needs under a VMM: instructions or exits, and memory.
fn needs(
    contestant: &Contestant,
    vmm: Vmm,
    figures: &mut ServerFigures,
    taker: &Taker<'_>,
    bounds: &Bounds,
) -> Result<(), Box<dyn Error>> {
    let (name, boot) = (contestant.server.name(), &contestant.boot);
    match vmm {
        Vmm::Kvm => {
            let what = format!("{name}: exits");
            figures.exits_per_request = taker.take(vmm, &what, || counts::exits(boot, bounds))?;
        }
        Vmm::Qemu(Accelerator::Tcg, _) => {
            let counted = taker.take(vmm, &format!("{name}: instructions"), || {
                counts::instructions(boot, vmm, bounds)
            });
            figures.instructions = counted?.unwrap_or_default();
        }
        Vmm::Qemu(Accelerator::Kvm, _) => {}
    }
    let usual = figures.first_answer_ns.iter().max().copied();
    // Without a usual time there is no telling what is too long.
    if let (Vmm::Qemu(..), Some(usual)) = (vmm, usual) {
        let usual = Duration::from_nanos(usual);
        figures.least_memory_mib = taker.take(vmm, &format!("{name}: memory"), || {
            memory::least(boot, vmm, usual, bounds)
        })?;
    }
    Ok(())
}

/// Takes figures one after another, and keeps why some could not be taken.
struct Taker<'a> {
    progress: &'a Progress,
    left_out: RefCell<Vec<String>>,
}

impl Taker<'_> {
    /// Takes a figure. `None`: it could not be taken, which does not keep others from it.
    fn take<T>(
        &self,
        vmm: Vmm,
        what: &str,
        take: impl FnOnce() -> Result<T, GuestError>,
    ) -> Result<Option<T>, GuestError> {
        self.progress.next(&format!("{vmm}, {what}"));
        match take() {
            Ok(figure) => Ok(Some(figure)),
            Err(error @ (GuestError::Stopped | GuestError::TooLong(_))) => Err(error),
            Err(error) => {
                let sentence = format!("{vmm}, {what}: {error}");
                self.left_out.borrow_mut().push(sentence);
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_taken_is_named_and_what_stops_all_stops_all() {
        let progress = Progress::of("measuring", 3);
        let taker = Taker {
            progress: &progress,
            left_out: RefCell::default(),
        };
        let take = |result| taker.take(Vmm::Kvm, "a disk", || result);
        assert!(matches!(take(Ok(7)), Ok(Some(7))));
        let ended = GuestError::Ended("it panicked".into());
        assert!(matches!(take(Err(ended)), Ok(None)));
        assert!(matches!(
            take(Err(GuestError::Stopped)),
            Err(GuestError::Stopped)
        ));
        let sentences = taker.left_out.take();
        assert_eq!(sentences.len(), 1);
        assert!(sentences[0].starts_with("kvm, a disk: "), "{sentences:?}");
        assert!(sentences[0].contains("it panicked"), "{sentences:?}");
    }
}
