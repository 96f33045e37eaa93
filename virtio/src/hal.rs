//! Memory for the rings: from the heap, which devices see at the same addresses.

use alloc::alloc::{alloc_zeroed, dealloc};
use core::{alloc::Layout, ptr::NonNull};

use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

/// Memory that is mapped one to one. [`Attached::new`](crate::Attached::new) has its caller
/// guarantee that.
#[derive(Debug)]
pub(crate) struct OneToOne;

fn layout(pages: usize) -> Option<Layout> {
    Layout::from_size_align(pages.checked_mul(PAGE_SIZE)?, PAGE_SIZE).ok()
}

// SAFETY: `dma_alloc` returns memory of its own, zeroed and aligned, or address 0, which is an
// error. Devices see memory at the addresses of this program.
unsafe impl Hal for OneToOne {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let memory = layout(pages)
            .filter(|layout| layout.size() > 0)
            .map(|layout| {
                // SAFETY: the size is not 0.
                unsafe { alloc_zeroed(layout) }
            });
        match memory.and_then(NonNull::new) {
            Some(memory) => (memory.as_ptr().expose_provenance() as PhysAddr, memory),
            None => (0, NonNull::dangling()),
        }
    }

    unsafe fn dma_dealloc(_: PhysAddr, memory: NonNull<u8>, pages: usize) -> i32 {
        match layout(pages) {
            // SAFETY: the caller guarantees that it comes from `dma_alloc` with as many pages.
            Some(layout) => unsafe { dealloc(memory.as_ptr(), layout) },
            None => return -1,
        }
        0
    }

    unsafe fn mmio_phys_to_virt(address: PhysAddr, _: usize) -> NonNull<u8> {
        // Only the PCI transport calls this.
        NonNull::new(core::ptr::with_exposed_provenance_mut(address as usize))
            .expect("no registers are at address 0")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.as_ptr().expose_provenance() as PhysAddr
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}
