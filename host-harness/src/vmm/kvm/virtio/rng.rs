//! The source of random numbers (virtio 1.2, 5.4): fills buffers with bytes of the host's kernel.

use rustix::{
    io::Errno,
    rand::{GetRandomFlags, getrandom},
};
use virtio_bindings::virtio_ids::VIRTIO_ID_RNG;

use super::{
    device::VirtioDevice,
    request::{BrokenRequest, Request},
};

/// The most bytes of one request. The driver is told how many it got.
const MAX_LENGTH: u64 = 64 << 10;

const QUEUE_SIZES: [u16; 1] = [64];

#[derive(Debug)]
pub(super) struct Rng;

impl VirtioDevice for Rng {
    fn id(&self) -> u32 {
        VIRTIO_ID_RNG
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn serve(&mut self, _: usize, request: Request<'_>) -> Result<u32, BrokenRequest> {
        let mut buffers = request.writable;
        if buffers.length() == 0 {
            return Err(BrokenRequest);
        }
        let (mut written, mut chunk) = (0, [0; 256]);
        while buffers.length() > 0 && u64::from(written) < MAX_LENGTH {
            // Both are at most the chunk's length.
            let length = buffers.length().min(chunk.len() as u64) as usize;
            match getrandom(&mut chunk[..length], GetRandomFlags::empty()) {
                Ok(length) => {
                    buffers.write(&chunk[..length])?;
                    written += length as u32;
                }
                Err(Errno::INTR) => {}
                // No kernel that runs KVM lacks it; the guest gets what there is.
                Err(_) => break,
            }
        }
        Ok(written)
    }
}
