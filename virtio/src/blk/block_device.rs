//! `BlockDevice` of the crate block-device-driver.

use alloc::{boxed::Box, vec};

use aligned::{A1, Aligned};
use block_device_driver::{BlockDevice, blocks_to_slice, blocks_to_slice_mut};
use virtio_drivers::transport::Transport;

use super::{Disk, SECTOR};
use crate::{Interrupt, RequestError};

/// Its buffers are borrowed, so they are copied from and to the heap. [`Disk::read`] and
/// [`Disk::write`] do not copy.
impl<T: Transport, I: Interrupt> BlockDevice<SECTOR> for &Disk<T, I> {
    type Error = RequestError;
    type Align = A1;

    async fn read(
        &mut self,
        block_address: u32,
        data: &mut [Aligned<A1, [u8; SECTOR]>],
    ) -> Result<(), RequestError> {
        let data = blocks_to_slice_mut(data);
        let buffer = vec![0; data.len()].into_boxed_slice();
        let (buffer, result) = Disk::read(self, block_address.into(), buffer).await;
        result?;
        data.copy_from_slice(&buffer);
        Ok(())
    }

    async fn write(
        &mut self,
        block_address: u32,
        data: &[Aligned<A1, [u8; SECTOR]>],
    ) -> Result<(), RequestError> {
        let buffer = Box::from(blocks_to_slice(data));
        Disk::write(self, block_address.into(), buffer).await.1
    }

    async fn size(&mut self) -> Result<u64, RequestError> {
        Ok(self.sectors().saturating_mul(SECTOR as u64))
    }
}
