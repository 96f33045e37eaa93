//! Drivers in machine code: they set a virtio device up, make one request, and poll.

use dormir_harness::vmm::Vmm;

use crate::KVM;

/// Registers of a transport.
const DRIVER_FEATURES: u32 = 0x20;
const DRIVER_FEATURES_HALF: u32 = 0x24;
const QUEUE_SELECT: u32 = 0x30;
const QUEUE_SIZE: u32 = 0x38;
const QUEUE_READY: u32 = 0x44;
pub(crate) const QUEUE_NOTIFY: u32 = 0x50;
pub(crate) const INTERRUPT_STATUS: u32 = 0x60;
const STATUS: u32 = 0x70;
const QUEUE_DESCRIPTORS: u32 = 0x80;
const QUEUE_AVAILABLE: u32 = 0x90;
const QUEUE_USED: u32 = 0xa0;

/// Where the queue is, and a buffer.
const DESCRIPTORS: u32 = 0x20_0000;
const AVAILABLE: u32 = 0x20_1000;
pub(crate) const USED: u32 = 0x20_2000;
pub(crate) const BUFFER: u32 = 0x20_3000;

/// Flags of descriptors.
pub(crate) const NEXT: u32 = 1;
pub(crate) const WRITE: u32 = 2;

/// Code for one VMM: QEMU enters a guest in 32-bit mode.
pub(crate) struct Code {
    is_64_bit: bool,
    /// Where the guest sees its first device.
    pub(crate) base: u32,
    queue: u32,
    pub(crate) bytes: Vec<u8>,
}

impl Code {
    pub(crate) fn new(vmm: Vmm) -> Self {
        let is_64_bit = vmm == KVM;
        let mut code = Self {
            is_64_bit,
            base: if is_64_bit { 0x3fe0_0000 } else { 0xfeb0_0e00 },
            queue: 0,
            bytes: Vec::new(),
        };
        if is_64_bit {
            // The last 2 MiB that are mapped at entry become those of the devices, not cached.
            code.store(0x3ff8, 0xd000_0093);
        }
        code
    }

    /// Appends an instruction's first bytes and its address.
    fn at(&mut self, operation: &[u8], register: u8, address: u32) {
        self.bytes.extend(operation);
        match self.is_64_bit {
            true => self.bytes.extend([register << 3 | 4, 0x25]),
            false => self.bytes.push(register << 3 | 5),
        }
        self.bytes.extend(address.to_le_bytes());
    }

    /// `mov dword [address], value`
    pub(crate) fn store(&mut self, address: u32, value: u32) {
        self.at(&[0xc7], 0, address);
        self.bytes.extend(value.to_le_bytes());
    }

    /// `mov dword [register], value`
    pub(crate) fn set(&mut self, register: u32, value: u32) {
        self.store(self.base + register, value);
    }

    /// Prints the four bytes of a register: `mov eax, [register]; out 0xe9, al; shr eax, 8`...
    pub(crate) fn print_register(&mut self, register: u32) {
        self.print_word(self.base + register);
    }

    pub(crate) fn print_word(&mut self, address: u32) {
        self.at(&[0x8b], 0, address);
        for _ in 0..4 {
            self.bytes.extend([0xe6, 0xe9, 0xc1, 0xe8, 8]);
        }
    }

    /// Sets the device up with one queue of eight.
    pub(crate) fn set_up(&mut self) {
        self.set_up_queue(0);
    }

    pub(crate) fn set_up_queue(&mut self, queue: u32) {
        self.queue = queue;
        self.set(STATUS, 3);
        self.set(DRIVER_FEATURES_HALF, 1);
        self.set(DRIVER_FEATURES, 1);
        self.set(STATUS, 0xb);
        self.set(QUEUE_SELECT, queue);
        self.set(QUEUE_SIZE, 8);
        self.set(QUEUE_DESCRIPTORS, DESCRIPTORS);
        self.set(QUEUE_AVAILABLE, AVAILABLE);
        self.set(QUEUE_USED, USED);
        self.set(QUEUE_READY, 1);
        self.set(STATUS, 0xf);
    }

    pub(crate) fn descriptor(&mut self, index: u32, address: u32, length: u32, flags: u32) {
        let at = DESCRIPTORS + 16 * index;
        self.store(at, address);
        self.store(at + 8, length);
        self.store(at + 12, (index + 1) << 16 | flags);
    }

    /// Makes descriptor 0 available, and waits until it is used.
    pub(crate) fn submit(&mut self) {
        self.store(AVAILABLE + 4, 0);
        self.store(AVAILABLE, 1 << 16);
        self.set(QUEUE_NOTIFY, self.queue);
        let again = self.bytes.len();
        // again: mov eax, [used]; shr eax, 16; je again
        self.at(&[0x8b], 0, USED);
        self.bytes.extend([0xc1, 0xe8, 16]);
        self.jump_if_zero(again);
    }

    /// Waits until the device has a reason for its interrupt, which it raises after the answer.
    pub(crate) fn wait_for_interrupt(&mut self) {
        let again = self.bytes.len();
        // again: mov eax, [status]; test eax, eax; je again
        self.at(&[0x8b], 0, self.base + INTERRUPT_STATUS);
        self.bytes.extend([0x85, 0xc0]);
        self.jump_if_zero(again);
        if self.is_64_bit {
            // again: in al, 0x20; test al, 0x20; je again: until the PIC, which is masked, has seen
            // an edge on line 5.
            let again = self.bytes.len();
            self.bytes.extend([0xe4, 0x20, 0xa8, 0x20]);
            self.jump_if_zero(again);
        }
    }

    /// `je target`
    fn jump_if_zero(&mut self, target: usize) {
        let back = target as isize - (self.bytes.len() as isize + 2);
        self.bytes.extend([0x74, back as u8]);
    }

    pub(crate) fn end(mut self, code: &[u8]) -> Vec<u8> {
        self.bytes.extend(code);
        self.bytes
    }
}
