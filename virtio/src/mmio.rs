//! Devices on virtio-mmio, which the guest's command line lists.

use alloc::vec::Vec;
use core::{fmt, ops::Range, ptr::NonNull};

use virtio_drivers::transport::mmio::{MmioError, MmioTransport};

use crate::Attached;

/// A device's registers, as a driver accesses them.
pub type Transport = MmioTransport<'static>;

/// What a word of the command line begins with.
const PREFIX: &str = "virtio_mmio.device=";

/// The registers without a device's configuration (virtio 1.2, 4.2.2).
const REGISTERS: u64 = 0x100;

/// A device's registers and its interrupt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Device {
    /// The physical addresses of its registers.
    pub registers: Range<u64>,
    /// Its line of the interrupt controller.
    pub irq: u8,
}

/// Reads the words `virtio_mmio.device=SIZE@ADDRESS:IRQ` among `words`. Other words are skipped.
///
/// As in Linux's command line, numbers are decimal, hexadecimal (`0x`) or octal (`0`); a size may
/// end in `K`, `M` or `G`; and a second `:` may follow, with a number that is ignored.
///
/// # Errors
///
/// See [`FindError`].
///
/// # Examples
///
/// ```
/// let command_line = "timer=pit virtio_mmio.device=4K@0xd0000000:5";
/// let devices = dormir_virtio::mmio::find(command_line.split_whitespace())?;
/// assert_eq!(devices[0].registers, 0xd000_0000..0xd000_1000);
/// assert_eq!(devices[0].irq, 5);
/// # Ok::<(), dormir_virtio::mmio::FindError<'_>>(())
/// ```
pub fn find<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Vec<Device>, FindError<'a>> {
    let mut devices = Vec::<Device>::new();
    for word in words {
        let Some(value) = word.strip_prefix(PREFIX) else {
            continue;
        };
        let device = parse(value).ok_or(FindError::Malformed(word))?;
        let overlaps = |other: &Device| {
            other.registers.start < device.registers.end
                && device.registers.start < other.registers.end
        };
        if devices.iter().any(overlaps) {
            return Err(FindError::Overlap(word));
        }
        devices.push(device);
    }
    Ok(devices)
}

/// Reads `SIZE@ADDRESS:IRQ` or `SIZE@ADDRESS:IRQ:ID`.
fn parse(value: &str) -> Option<Device> {
    let (size, rest) = value.split_once('@')?;
    let mut numbers = rest.split(':');
    let (start, irq) = (number(numbers.next()?)?, number(numbers.next()?)?);
    if let Some(id) = numbers.next() {
        number(id)?;
    }
    let unit = match size.as_bytes().last()? {
        b'K' | b'k' => 1 << 10,
        b'M' | b'm' => 1 << 20,
        b'G' | b'g' => 1 << 30,
        _ => 1,
    };
    let digits = if unit == 1 {
        size
    } else {
        &size[..size.len() - 1]
    };
    let size = number(digits)?.checked_mul(unit)?;
    let is_whole = numbers.next().is_none() && size >= REGISTERS && start.is_multiple_of(4);
    is_whole.then_some(Device {
        registers: start..start.checked_add(size)?,
        irq: u8::try_from(irq).ok()?,
    })
}

fn number(text: &str) -> Option<u64> {
    let hexadecimal = text.strip_prefix("0x").or(text.strip_prefix("0X"));
    let (digits, radix) = match hexadecimal {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        None => (text, 10),
    };
    // A sign is no digit here.
    let is_number = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_number.then(|| u64::from_str_radix(digits, radix).ok())?
}

impl Device {
    /// Maps the registers by `map`, which returns the address of the first byte, and reads which
    /// device it is. `dormir_guest::map_device_memory` is such a function.
    ///
    /// # Safety
    ///
    /// - A virtio-mmio transport is at these addresses, or memory that a read does not change.
    /// - `map` returns where the registers are, and they stay mapped.
    /// - Nothing else drives this device.
    /// - The device sees the heap at the addresses that this program uses: memory is mapped one to
    ///   one, without an IOMMU.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub unsafe fn connect<I, E>(
        &self,
        map: impl FnOnce(Range<u64>) -> Result<NonNull<u8>, E>,
        interrupt: I,
    ) -> Result<Attached<Transport, I>, ConnectError<E>> {
        let registers = map(self.registers.clone()).map_err(ConnectError::Map)?;
        let size = (self.registers.end - self.registers.start) as usize;
        // SAFETY: the caller guarantees that the registers are there, mapped, and this driver's.
        let transport = unsafe { MmioTransport::new(registers.cast(), size) };
        let transport = transport.map_err(|error| match error {
            MmioError::BadMagic(_) => ConnectError::NotVirtio,
            MmioError::UnsupportedVersion(_) => ConnectError::Version,
            _ => ConnectError::NoDevice,
        })?;
        // SAFETY: the caller guarantees that memory is mapped one to one.
        Ok(unsafe { Attached::new(transport, interrupt) })
    }
}

/// The reason why the command line's devices cannot be read. It contains the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FindError<'a> {
    /// The word is not of the form `virtio_mmio.device=SIZE@ADDRESS:IRQ`, or a number is too large
    /// or too small.
    Malformed(&'a str),
    /// The device lies where an earlier one does.
    Overlap(&'a str),
}

impl fmt::Display for FindError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(word) => write!(
                f,
                "cannot read {word:?}: expected {PREFIX}SIZE@ADDRESS:IRQ, for instance \
                 {PREFIX}512@0xfeb00000:5, with a size of at least 256"
            ),
            Self::Overlap(word) => write!(f, "{word:?} lies where an earlier device does"),
        }
    }
}

impl core::error::Error for FindError<'_> {}

/// The reason why a device cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectError<E> {
    /// Its registers cannot be mapped.
    Map(E),
    /// There is no virtio-mmio transport at its address.
    NotVirtio,
    /// The transport's version is unknown.
    Version,
    /// The transport has no device, or one of a type that is unknown.
    NoDevice,
}

impl<E: fmt::Display> fmt::Display for ConnectError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map(error) => write!(f, "the device's registers cannot be mapped: {error}"),
            Self::NotVirtio => f.write_str("no virtio-mmio transport is at the device's address"),
            Self::Version => f.write_str("the virtio-mmio transport has an unknown version"),
            Self::NoDevice => {
                f.write_str("the virtio-mmio transport has no device, or one of an unknown type")
            }
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for ConnectError<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn find_one(word: &str) -> Result<Device, FindError<'_>> {
        find([word]).map(|mut devices| devices.remove(0))
    }

    #[test]
    fn words_of_vmms() {
        // QEMU's microvm, Firecracker, and one with an ID as Linux reads it.
        let words = "console=ttyS0 virtio_mmio.device=512@0xfeb00e00:12 \
                     virtio_mmio.device=4K@0xd0000000:5 virtio_mmio.device=0x200@3489669120:010:1";
        let devices = find(words.split_whitespace()).expect("they are right");
        let expected = [
            (0xfeb0_0e00..0xfeb0_1000, 12),
            (0xd000_0000..0xd000_1000, 5),
            (0xd000_2000..0xd000_2200, 8),
        ];
        assert_eq!(devices.len(), 3);
        for (device, (registers, irq)) in devices.into_iter().zip(expected) {
            assert_eq!(device, Device { registers, irq });
        }
    }

    #[test]
    fn malformed_words() {
        for value in [
            "",
            "@",
            "512",
            "512@",
            "512@0xfeb00000",
            "512@0xfeb00000:",
            "512@:5",
            "@0xfeb00000:5",
            "512@0xfeb00000:256",
            "512@0xfeb00000:-5",
            "512@0xfeb00000:+5",
            "512@feb00000:5",
            "255@0xfeb00000:5",
            "0@0xfeb00000:5",
            "K@0xfeb00000:5",
            "512@0x:5",
            "512@0xg:5",
            "512@0xfffffffffffffffc:5",
            "0x4000000000000G@0:5",
            "512@0xfeb00001:5",
            "512@0xfeb00000:5:1:1",
            "512@0xfeb00000:5:",
            "5é@0xfeb00000:5",
            "é@0:5",
            "512@0x10000000000000000:5",
            "512@0xfeb00000:08",
            "512 @0xfeb00000:5",
        ] {
            let word = format!("{PREFIX}{value}");
            assert_eq!(find_one(&word), Err(FindError::Malformed(&word)), "{word}");
        }
    }

    #[test]
    fn the_same_device_twice() {
        let (one, other) = (
            "virtio_mmio.device=512@0x1000:5",
            "virtio_mmio.device=4K@0x1100:6",
        );
        assert_eq!(find([one, one]), Err(FindError::Overlap(one)));
        assert_eq!(find([one, other]), Err(FindError::Overlap(other)));
        let beside = "virtio_mmio.device=512@0x1200:5";
        assert_eq!(find([one, beside]).map(|devices| devices.len()), Ok(2));
    }
}
