//! The disk (virtio 1.2, 5.2): reads and writes a file, within the size that it had at the start.

use std::{mem::offset_of, os::unix::fs::FileExt};

use rustix::{
    fs::{FallocateFlags, fallocate, fstat},
    io::{Errno, retry_on_intr},
};
use virtio_bindings::{
    virtio_blk::{
        VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_RO,
        VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_F_WRITE_ZEROES,
        VIRTIO_BLK_ID_BYTES, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP,
        VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN,
        VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_WRITE_ZEROES, virtio_blk_config,
    },
    virtio_ids::VIRTIO_ID_BLOCK,
};

use super::{
    device::VirtioDevice,
    request::{BrokenRequest, Buffers, MAX_QUEUE_SIZE, Request},
};
use crate::vmm::device::{DiskFile, SECTOR};

const QUEUE_SIZES: [u16; 1] = [MAX_QUEUE_SIZE];

/// The largest buffer, and how many of them a request may have: the first and the last descriptor
/// are for its header and its status.
const MAX_BUFFER: u32 = 256 << 10;
const MAX_BUFFERS: u32 = 126;

/// The most bytes of one request, so that each is done in a bounded time.
const MAX_DATA: u64 = 32 << 20;

const _: () = assert!(MAX_BUFFER as u64 * MAX_BUFFERS as u64 <= MAX_DATA);
const _: () = assert!(MAX_BUFFERS + 2 <= MAX_QUEUE_SIZE as u32);

/// How much is copied at once.
const CHUNK: usize = 64 << 10;

/// The header of a request: its type, four reserved bytes, its first sector.
const HEADER: usize = 16;

/// The range of a discard: its first sector, the number of sectors, flags.
const RANGE: usize = 16;

/// The flag of a range of zeros that may become a hole. No range of a discard has flags.
const MAY_UNMAP: u32 = 1;

const CONFIG_LENGTH: usize = offset_of!(virtio_blk_config, max_secure_erase_sectors);

/// A disk of one guest.
pub(super) struct Disk {
    disk: DiskFile,
    config: [u8; CONFIG_LENGTH],
    chunk: Vec<u8>,
}

/// Why a request fails: its status.
#[derive(Clone, Copy, Debug)]
enum Failure {
    /// The driver asks for something that there is not, or the file cannot be read or written.
    Io,
    Unsupported,
    Broken,
}

impl From<BrokenRequest> for Failure {
    fn from(_: BrokenRequest) -> Self {
        Self::Broken
    }
}

impl From<std::io::Error> for Failure {
    fn from(_: std::io::Error) -> Self {
        Self::Io
    }
}

impl From<Errno> for Failure {
    fn from(_: Errno) -> Self {
        Self::Io
    }
}

impl Disk {
    pub(super) fn new(disk: DiskFile) -> Self {
        Self {
            config: config(disk.sectors),
            disk,
            chunk: vec![0; CHUNK],
        }
    }

    /// Does what is asked, and returns how many bytes of data were written to the guest.
    fn execute(
        &mut self,
        kind: u32,
        sector: u64,
        readable: &mut Buffers<'_>,
        writable: &mut Buffers<'_>,
    ) -> Result<u32, Failure> {
        match kind {
            VIRTIO_BLK_T_IN => self.read(sector, writable),
            VIRTIO_BLK_T_OUT => self.write(sector, readable).map(|()| 0),
            VIRTIO_BLK_T_FLUSH => Ok(self.disk.file.sync_data().map(|()| 0)?),
            VIRTIO_BLK_T_GET_ID => {
                let mut id = [0; VIRTIO_BLK_ID_BYTES as usize];
                let name = self.disk.identification();
                for (to, from) in id.iter_mut().zip(name.bytes()) {
                    *to = from;
                }
                // At most the length of the array.
                let length = writable.length().min(id.len() as u64) as usize;
                writable.write(&id[..length])?;
                Ok(length as u32)
            }
            VIRTIO_BLK_T_DISCARD | VIRTIO_BLK_T_WRITE_ZEROES => {
                self.clear(kind, readable).map(|()| 0)
            }
            _ => Err(Failure::Unsupported),
        }
    }

    /// Returns where in the file `length` bytes from this sector are, if the disk has them.
    fn place(&self, sector: u64, length: u64) -> Result<u64, Failure> {
        let sectors = length / SECTOR;
        let end = sector.checked_add(sectors).ok_or(Failure::Io)?;
        if !length.is_multiple_of(SECTOR) || length > MAX_DATA || end > self.disk.sectors {
            return Err(Failure::Io);
        }
        Ok(sector * SECTOR)
    }

    fn writable_place(&self, sector: u64, length: u64) -> Result<u64, Failure> {
        let place = self.place(sector, length)?;
        // Otherwise a file that another program has cut would grow again. `metadata` of the
        // standard library asks by a path, which a worker may not.
        let size = fstat(&self.disk.file)?.st_size.cast_unsigned();
        if self.disk.read_only || place + length > size {
            return Err(Failure::Io);
        }
        Ok(place)
    }

    fn read(&mut self, sector: u64, to: &mut Buffers<'_>) -> Result<u32, Failure> {
        let length = to.length();
        let mut place = self.place(sector, length)?;
        while to.length() > 0 {
            let part = to.length().min(CHUNK as u64) as usize;
            let chunk = &mut self.chunk[..part];
            // An error if the file has been cut.
            self.disk.file.read_exact_at(chunk, place)?;
            to.write(chunk)?;
            place += part as u64;
        }
        // At most `MAX_DATA`.
        Ok(length as u32)
    }

    fn write(&mut self, sector: u64, from: &mut Buffers<'_>) -> Result<(), Failure> {
        let mut place = self.writable_place(sector, from.length())?;
        while from.length() > 0 {
            let part = from.length().min(CHUNK as u64) as usize;
            let chunk = &mut self.chunk[..part];
            from.read(chunk)?;
            self.disk.file.write_all_at(chunk, place)?;
            place += part as u64;
        }
        Ok(())
    }

    /// Discards sectors, which then are zeros or what they were, or fills them with zeros.
    fn clear(&mut self, kind: u32, range: &mut Buffers<'_>) -> Result<(), Failure> {
        // One range in each request, as the configuration says.
        let mut bytes = [0; RANGE];
        if range.length() != RANGE as u64 {
            return Err(Failure::Io);
        }
        range.read(&mut bytes)?;
        let (sector, count, flags) = (
            u64::from_le_bytes(field(&bytes, 0)),
            u32::from_le_bytes(field(&bytes, 8)),
            u32::from_le_bytes(field(&bytes, 12)),
        );
        let is_discard = kind == VIRTIO_BLK_T_DISCARD;
        let known = if is_discard { 0 } else { MAY_UNMAP };
        if flags & !known != 0 {
            return Err(Failure::Unsupported);
        }
        let length = u64::from(count) * SECTOR;
        let place = self.writable_place(sector, length)?;
        if length == 0 {
            return Ok(());
        }
        let how = match is_discard || flags & MAY_UNMAP != 0 {
            true => FallocateFlags::PUNCH_HOLE,
            false => FallocateFlags::ZERO_RANGE,
        };
        let how = how | FallocateFlags::KEEP_SIZE;
        match retry_on_intr(|| fallocate(&self.disk.file, how, place, length)) {
            Ok(()) => Ok(()),
            // Not every file system has holes.
            Err(Errno::OPNOTSUPP) if is_discard => Ok(()),
            Err(Errno::OPNOTSUPP) => self.write_zeros(place, length),
            Err(_) => Err(Failure::Io),
        }
    }

    fn write_zeros(&mut self, mut place: u64, length: u64) -> Result<(), Failure> {
        let end = place + length;
        self.chunk.fill(0);
        while place < end {
            let part = (end - place).min(CHUNK as u64);
            self.disk
                .file
                .write_all_at(&self.chunk[..part as usize], place)?;
            place += part;
        }
        Ok(())
    }
}

impl VirtioDevice for Disk {
    fn id(&self) -> u32 {
        VIRTIO_ID_BLOCK
    }

    fn features(&self) -> u64 {
        let both = 1 << VIRTIO_BLK_F_SIZE_MAX
            | 1 << VIRTIO_BLK_F_SEG_MAX
            | 1 << VIRTIO_BLK_F_BLK_SIZE
            | 1 << VIRTIO_BLK_F_FLUSH;
        match self.disk.read_only {
            true => both | 1 << VIRTIO_BLK_F_RO,
            false => both | 1 << VIRTIO_BLK_F_DISCARD | 1 << VIRTIO_BLK_F_WRITE_ZEROES,
        }
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn serve(&mut self, _: usize, request: Request<'_>) -> Result<u32, BrokenRequest> {
        let Request {
            mut readable,
            mut writable,
        } = request;
        let mut header = [0; HEADER];
        readable.read(&mut header)?;
        let mut status = writable.split_last().ok_or(BrokenRequest)?;
        let kind = u32::from_le_bytes(field(&header, 0));
        let sector = u64::from_le_bytes(field(&header, 8));
        let (code, written) = match self.execute(kind, sector, &mut readable, &mut writable) {
            Ok(written) => (VIRTIO_BLK_S_OK, written),
            Err(Failure::Io) => (VIRTIO_BLK_S_IOERR, 0),
            Err(Failure::Unsupported) => (VIRTIO_BLK_S_UNSUPP, 0),
            Err(Failure::Broken) => return Err(BrokenRequest),
        };
        status.write(&[code as u8])?;
        Ok(written + 1)
    }
}

/// Returns the bytes of the field at `offset` of a structure that is long enough to hold it.
fn field<const LENGTH: usize>(structure: &[u8], offset: usize) -> [u8; LENGTH] {
    let bytes = structure[offset..].first_chunk().copied();
    bytes.unwrap_or([0; LENGTH])
}

fn config(sectors: u64) -> [u8; CONFIG_LENGTH] {
    let mut config = [0; CONFIG_LENGTH];
    let mut set = |offset: usize, bytes: &[u8]| {
        config[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    let most = (MAX_DATA / SECTOR) as u32;
    set(
        offset_of!(virtio_blk_config, capacity),
        &sectors.to_le_bytes(),
    );
    for (offset, value) in [
        (offset_of!(virtio_blk_config, size_max), MAX_BUFFER),
        (offset_of!(virtio_blk_config, seg_max), MAX_BUFFERS),
        (offset_of!(virtio_blk_config, blk_size), SECTOR as u32),
        (offset_of!(virtio_blk_config, max_discard_sectors), most),
        (offset_of!(virtio_blk_config, max_discard_seg), 1),
        (offset_of!(virtio_blk_config, discard_sector_alignment), 1),
        (
            offset_of!(virtio_blk_config, max_write_zeroes_sectors),
            most,
        ),
        (offset_of!(virtio_blk_config, max_write_zeroes_seg), 1),
        (offset_of!(virtio_blk_config, write_zeroes_may_unmap), 1),
    ] {
        set(offset, &value.to_le_bytes());
    }
    config
}
