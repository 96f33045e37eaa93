//! Start infos that no VMM here passes: other versions, odd memory maps, bad command lines.
//!
//! Each is put into a copy of a guest image, with an entry of its own that passes it on to the
//! image's entry in place of QEMU's.

use std::{
    fs,
    sync::atomic::{AtomicU32, Ordering},
};

use dormir_abi::{
    exit,
    start_info::{MAGIC, RAM},
};
use libtest_mimic::{Failed, Trial};

use crate::{
    guest::image_of,
    odd_machines::{DEBUG_CONSOLE, boot_by_hand, is},
    pages::Folder,
};

pub(crate) fn trials() -> Vec<Trial> {
    let name = |case| format!("qemu-tcg/microvm::start-info-{case}");
    vec![
        Trial::test(name("versions"), versions),
        Trial::test(name("without-a-map"), without_map),
        Trial::test(name("map-with-holes"), map_with_holes),
        Trial::test(name("map-that-is-refused"), refused_maps),
        Trial::test(name("command-line-that-is-refused"), refused_command_lines),
    ]
}

const RESERVED: u32 = 2;
const MIB: u64 = 1 << 20;

/// What the guest is told.
struct StartInfo {
    magic: u32,
    version: u32,
    /// Address, size and type of each entry; `None` for no map.
    map: Option<Vec<(u64, u64, u32)>>,
    command_line: Vec<u8>,
}

impl StartInfo {
    /// What a VMM with 64 MiB passes.
    fn usual() -> Self {
        Self {
            magic: MAGIC,
            version: 1,
            map: Some(vec![(0, 640 << 10, RAM), (MIB, 63 * MIB, RAM)]),
            command_line: Vec::new(),
        }
    }

    fn with_map(map: Vec<(u64, u64, u32)>) -> Self {
        Self {
            map: Some(map),
            ..Self::usual()
        }
    }

    /// The segment at [`ADDRESS`]: the code that enters the guest, and what it passes.
    fn segment(&self, entry: u32) -> Vec<u8> {
        const INFO: usize = 0x100;
        const MAP: usize = 0x200;
        const COMMAND_LINE: usize = 0x1000;
        let address = |offset: usize| ADDRESS as u64 + offset as u64;
        let mut bytes = vec![0; COMMAND_LINE];
        let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        // mov ebx, info; mov eax, entry; jmp eax
        put(0, &[0xbb]);
        put(1, &(ADDRESS + INFO as u32).to_le_bytes());
        put(5, &[0xb8]);
        put(6, &entry.to_le_bytes());
        put(10, &[0xff, 0xe0]);

        put(INFO, &self.magic.to_le_bytes());
        put(INFO + 4, &self.version.to_le_bytes());
        put(INFO + 24, &address(COMMAND_LINE).to_le_bytes());
        if let Some(map) = &self.map {
            put(INFO + 40, &address(MAP).to_le_bytes());
            put(INFO + 48, &(map.len() as u32).to_le_bytes());
            for (index, (start, size, kind)) in map.iter().enumerate() {
                let at = MAP + 24 * index;
                put(at, &start.to_le_bytes());
                put(at + 8, &size.to_le_bytes());
                put(at + 16, &kind.to_le_bytes());
            }
        }
        bytes.extend(&self.command_line);
        bytes.push(0);
        bytes
    }

    /// Boots a guest program with this start info; returns its exit code and its console.
    fn boot(&self, program: &str) -> Result<(Option<u8>, String), Failed> {
        let image = fs::read(image_of(program)?)?;
        // Tests run in parallel.
        static BOOTS: AtomicU32 = AtomicU32::new(0);
        let number = BOOTS.fetch_add(1, Ordering::Relaxed);
        let folder = Folder::new(&format!("start-info-{number}"))?;
        let file = folder.0.join(program);
        fs::write(&file, wrapped(image, self))?;
        boot_by_hand(&file, "pit=on,pic=on", "", &DEBUG_CONSOLE)
    }

    /// Checks that `hello` runs with this start info.
    fn is_taken(&self) -> Result<(), Failed> {
        is(self.boot("hello")?, exit::SUCCESS, "hello again")
    }

    /// Checks that `hello` refuses this start info with this reason.
    fn is_refused(&self, reason: &str) -> Result<(), Failed> {
        is(self.boot("hello")?, exit::SETUP_FAILED, reason)
    }
}

/// Where the segment is loaded: below any image.
const ADDRESS: u32 = 0x10_0000;

/// Adds the segment to an image, and makes the PVH note name its code.
fn wrapped(mut image: Vec<u8>, info: &StartInfo) -> Vec<u8> {
    // ELF-64: the file header's fields, and those of a program header.
    const HEADER_BYTES: usize = 56;
    let word = |image: &[u8], at: usize| u32::from_le_bytes(image[at..at + 4].try_into().unwrap());
    let table = word(&image, 0x20) as usize;
    let count = u16::from_le_bytes(image[0x38..0x3a].try_into().unwrap());
    let mut headers = image[table..table + HEADER_BYTES * usize::from(count)].to_vec();
    let note = headers
        .chunks(HEADER_BYTES)
        .find(|header| word(header, 0) == 4)
        .map(|header| word(header, 8) as usize)
        .expect("an image has notes");
    // Behind the sizes, the type and the name "Xen".
    let entry = word(&image, note + 16);
    image[note + 16..note + 20].copy_from_slice(&ADDRESS.to_le_bytes());

    let segment = info.segment(entry);
    image.resize(image.len().next_multiple_of(4096), 0);
    let (at, size) = (image.len() as u64, segment.len() as u64);
    image.extend(segment);
    // PT_LOAD, readable, writable and executable.
    headers.extend([1_u32, 7].map(u32::to_le_bytes).concat());
    let address = u64::from(ADDRESS);
    let fields = [at, address, address, size, size, 4096];
    headers.extend(fields.map(u64::to_le_bytes).concat());
    let table = image.len().next_multiple_of(8);
    image.resize(table, 0);
    image.extend(headers);
    image[0x20..0x28].copy_from_slice(&(table as u64).to_le_bytes());
    image[0x38..0x3a].copy_from_slice(&(count + 1).to_le_bytes());
    image
}

fn versions() -> Result<(), Failed> {
    for version in [1, 2, u32::MAX] {
        StartInfo {
            version,
            ..StartInfo::usual()
        }
        .is_taken()?;
    }
    let first = StartInfo {
        version: 0,
        ..StartInfo::usual()
    };
    first.is_refused("start info version 0")?;
    let other = StartInfo {
        magic: 0,
        ..StartInfo::usual()
    };
    other.is_refused("no PVH start info")
}

fn without_map() -> Result<(), Failed> {
    let none = StartInfo {
        map: None,
        ..StartInfo::usual()
    };
    none.is_refused("no memory map")
}

/// All RAM is found and can be used, whatever the order, with overlaps and entries of other types.
fn map_with_holes() -> Result<(), Failed> {
    let mut map: Vec<_> = (0..20)
        .rev()
        .map(|index| ((18 + 2 * index) * MIB, MIB, RAM))
        .collect();
    map.extend([
        (MIB, 15 * MIB, RAM),
        (0, 640 << 10, RAM),
        // These two overlap.
        (58 * MIB, 2 * MIB, RAM),
        (59 * MIB, 2 * MIB, RAM),
        // Not RAM, empty, or of no whole page.
        (17 * MIB, MIB, RESERVED),
        (62 * MIB, 0, RAM),
        (62 * MIB + 1, 4096, RAM),
        (u64::MAX - 4096, 8192, RESERVED),
    ]);
    let info = StartInfo {
        command_line: b"dormir.nonce=0123456789abcdef case=memory".to_vec(),
        ..StartInfo::with_map(map)
    };
    let (code, console) = info.boot("image")?;
    // The image's piece from 2 MiB on, twenty small ones, and the two that overlap as one or two.
    let ram = 14 + 20 + 3;
    let is_found = console.contains(&format!("stat ram_mib {ram}\n"));
    if code == Some(exit::SUCCESS) && is_found {
        Ok(())
    } else {
        Err(format!("not {ram} MiB of RAM: {code:?} {console}").into())
    }
}

fn refused_maps() -> Result<(), Failed> {
    let low = (0, 640 << 10, RAM);
    for (map, reason) in [
        (vec![], "no RAM at the addresses of the image"),
        (
            vec![low, (MIB, 63 * MIB, RESERVED)],
            "no RAM at the addresses of the image",
        ),
        (
            vec![low, (16 * MIB, MIB, RAM)],
            "no RAM at the addresses of the image",
        ),
        (
            vec![low, (MIB, MIB + 8192, RAM)],
            "it ends within the image",
        ),
    ] {
        StartInfo::with_map(map).is_refused(reason)?;
    }
    let mut map = vec![(MIB, 15 * MIB, RAM)];
    map.extend((0..32).map(|index| (16 * MIB + index * 16384, 8192, RAM)));
    StartInfo::with_map(map.clone()).is_refused("more than 32 pieces")?;
    map.pop();
    StartInfo::with_map(map).is_taken()
}

fn refused_command_lines() -> Result<(), Failed> {
    let with = |command_line: Vec<u8>| StartInfo {
        command_line,
        ..StartInfo::usual()
    };
    with(vec![b'x'; 4095]).is_taken()?;
    with(vec![b'x'; 4096]).is_refused("more than 4095 bytes")?;
    with(b"a \xff".to_vec()).is_refused("not UTF-8")
}
