//! Figures of I/O: servers beside one another, disks, serial lines, vsocks.

use super::{Host, Versions, distribution::Distribution, now, sizes::ImageSize};
use dormir_harness::vmm::Vmm;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The layout of the document; another number is another layout.
pub(crate) const SCHEMA: u32 = 1;

/// What the figures are, so that no one takes others for them.
pub(crate) const KIND: &str = "io";

/// Pages in a second.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct HttpRate {
    pub(crate) vmm: String,
    pub(crate) server: String,
    pub(crate) connections: u64,
    /// In each round. The rounds of all servers take turns.
    #[serde(rename = "per_second")]
    pub(crate) rounds: Vec<f64>,
    /// How long answers took, in all rounds.
    #[serde(rename = "histogram_ns")]
    pub(crate) distribution: Distribution,
}

impl HttpRate {
    /// The rates of a server, new if there are none yet.
    pub(crate) fn of<'a>(
        rates: &'a mut Vec<Self>,
        vmm: Vmm,
        server: &str,
        connections: u64,
    ) -> &'a mut Self {
        let vmm = vmm.to_string();
        let is_it = |rate: &Self| {
            (&*rate.vmm, &*rate.server, rate.connections) == (&*vmm, server, connections)
        };
        let place = rates.iter().position(is_it).unwrap_or_else(|| {
            rates.push(Self {
                vmm: vmm.clone(),
                server: server.to_owned(),
                connections,
                rounds: Vec::new(),
                distribution: Distribution::of([]),
            });
            rates.len() - 1
        });
        &mut rates[place]
    }
}

/// What the guest executes for a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Instructions {
    pub(crate) connections: u64,
    pub(crate) per_request: f64,
}

/// What leaves the guest for a request under our own VMM, by one connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Exits {
    /// To the VMM.
    pub(crate) to_vmm: f64,
    /// By `hlt`, if this KVM counts that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) halts: Option<f64>,
}

/// What is known of a server under a VMM besides its rates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ServerFigures {
    pub(crate) vmm: String,
    pub(crate) server: String,
    /// From the start of the VMM to the end of the first answer, in each round.
    pub(crate) first_answer_ns: Vec<u64>,
    /// The length of an answer with its headers.
    pub(crate) answer_bytes: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) instructions: Vec<Instructions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exits_per_request: Option<Exits>,
    /// The least memory with which it serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) least_memory_mib: Option<u32>,
    /// What QEMU's process holds, its own included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resident_bytes: Option<u64>,
}

impl ServerFigures {
    /// The figures of a server, new if there are none yet.
    pub(crate) fn of<'a>(servers: &'a mut Vec<Self>, vmm: Vmm, server: &str) -> &'a mut Self {
        let vmm = vmm.to_string();
        let is_it = |known: &Self| (&*known.vmm, &*known.server) == (&*vmm, server);
        let place = servers.iter().position(is_it).unwrap_or_else(|| {
            servers.push(Self {
                vmm: vmm.clone(),
                server: server.to_owned(),
                first_answer_ns: Vec::new(),
                answer_bytes: 0,
                instructions: Vec::new(),
                exits_per_request: None,
                least_memory_mib: None,
                resident_bytes: None,
            });
            servers.len() - 1
        });
        &mut servers[place]
    }
}

/// Reads of 4 KiB in a second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DiskRate {
    pub(crate) vmm: String,
    /// `dormir` or `Linux`.
    pub(crate) guest: String,
    pub(crate) in_flight: u64,
    /// In each round.
    #[serde(rename = "per_second")]
    pub(crate) rounds: Vec<f64>,
}

impl DiskRate {
    /// The rates of a guest, new if there are none yet.
    pub(crate) fn of<'a>(
        rates: &'a mut Vec<Self>,
        vmm: Vmm,
        guest: &str,
        in_flight: u64,
    ) -> &'a mut Self {
        let vmm = vmm.to_string();
        let is_it =
            |rate: &Self| (&*rate.vmm, &*rate.guest, rate.in_flight) == (&*vmm, guest, in_flight);
        let place = rates.iter().position(is_it).unwrap_or_else(|| {
            rates.push(Self {
                vmm: vmm.clone(),
                guest: guest.to_owned(),
                in_flight,
                rounds: Vec::new(),
            });
            rates.len() - 1
        });
        &mut rates[place]
    }
}

/// The serial line, or a vsock.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Echo {
    pub(crate) vmm: String,
    /// Of a byte to the guest and back.
    #[serde(rename = "histogram_ns")]
    pub(crate) distribution: Distribution,
    pub(crate) bytes_per_second: f64,
}

/// All figures of one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct IoDocument {
    schema: u32,
    kind: String,
    /// When the run began, in UTC.
    pub(crate) date: String,
    pub(crate) host: Host,
    pub(crate) versions: Versions,
    pub(crate) left_out: Vec<String>,
    pub(crate) http: Vec<HttpRate>,
    pub(crate) servers: Vec<ServerFigures>,
    pub(crate) disk: Vec<DiskRate>,
    pub(crate) serial: Vec<Echo>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) vsock: Vec<Echo>,
    /// The sizes of dormir's guests.
    pub(crate) images: Vec<ImageSize>,
    /// What each server's machine loads: the parts of an ELF file, or kernel and file system.
    pub(crate) loaded_bytes: BTreeMap<String, u64>,
}

impl IoDocument {
    pub(crate) fn new(host: Host, versions: Versions, left_out: Vec<String>) -> Self {
        Self {
            schema: SCHEMA,
            kind: KIND.into(),
            date: now(),
            host,
            versions,
            left_out,
            http: Vec::new(),
            servers: Vec::new(),
            disk: Vec::new(),
            serial: Vec::new(),
            vsock: Vec::new(),
            images: Vec::new(),
            loaded_bytes: BTreeMap::new(),
        }
    }

    /// The document as text. Not indented: most of it is pairs of numbers.
    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }
}

/// Made-up figures of two servers under one VMM, of which the second is Linux.
#[cfg(test)]
pub(crate) fn made_up() -> IoDocument {
    use super::versions_for_test;
    use dormir_harness::vmm::{Accelerator, MachineType};

    const MILLISECOND: u64 = 1_000_000;

    let vmm = Vmm::Qemu(Accelerator::Tcg, MachineType::Q35);
    let left_out = vec!["kvm is left out: a reason".to_owned()];
    let mut document = IoDocument::new(Host::for_test(), versions_for_test(), left_out);
    for (server, rounds) in [
        ("dormir, picoserve", [300.0, 900.0, 400.0]),
        ("Linux, Tokio and hyper", [200.0, 300.0, 100.0]),
    ] {
        for connections in [1, 8] {
            let rate = HttpRate::of(&mut document.http, vmm, server, connections);
            rate.rounds = rounds.to_vec();
            let times = Distribution::of([MILLISECOND, 2 * MILLISECOND, 9 * MILLISECOND]);
            rate.distribution.merge(&times);
        }
        let figures = ServerFigures::of(&mut document.servers, vmm, server);
        figures.first_answer_ns = vec![300 * MILLISECOND, 100 * MILLISECOND, 200 * MILLISECOND];
        figures.least_memory_mib = Some(5);
        figures.instructions = vec![Instructions {
            connections: 1,
            per_request: 23_456.7,
        }];
        document.loaded_bytes.insert(server.to_owned(), 3 << 19);
    }
    DiskRate::of(&mut document.disk, vmm, "dormir", 32).rounds = vec![1000.0];
    document.serial.push(Echo {
        vmm: vmm.to_string(),
        distribution: Distribution::of([40_000]),
        bytes_per_second: 17_934.4,
    });
    document.vsock.push(Echo {
        vmm: Vmm::Kvm.to_string(),
        distribution: Distribution::of([60_000]),
        bytes_per_second: 7_654_321.0,
    });
    document
}
