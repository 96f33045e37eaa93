//! Tests of devices' memory.

use core::ops::Range;

use dormir_guest::{MapError, map_device_memory, memory};

/// 4 GiB, behind the RAM of every machine here.
const FAR: u64 = 4 << 30;

fn refused(range: Range<u64>) -> Option<MapError> {
    map_device_memory(range).err()
}

#[dormir_guest::test]
fn ram_is_refused() {
    assert_eq!(refused(FAR..FAR), Some(MapError::Empty));
    assert_eq!(refused(0..0x1000), Some(MapError::Empty));
    // Of VGA, below the image.
    assert_eq!(refused(0xb_8000..0xb_9000), Some(MapError::Ram));
    let ram = memory::ram().last().expect("there is RAM").clone();
    for range in [
        ram.start..ram.start + 1,
        ram.end - 1..ram.end,
        // Part of its last page.
        ram.end - 0x10..ram.end + 0x10,
        0x1000..FAR,
    ] {
        assert_eq!(refused(range), Some(MapError::Ram));
    }
    for end in [1 << 60, u64::MAX] {
        let error = refused(FAR..end);
        assert!(matches!(error, Some(MapError::Beyond { end }) if end <= 1 << 47));
    }
}

/// Devices may share pages, and pages that are mapped already stay as they are.
#[dormir_guest::test]
fn pages_are_shared() {
    for range in [
        FAR + 0x200..FAR + 0x400,
        FAR + 0x400..FAR + 0x600,
        FAR + 0xff0..FAR + 0x1010,
    ] {
        let start = range.start;
        let first = map_device_memory(range).expect("it is no RAM");
        assert_eq!(first.as_ptr().addr() as u64, start);
    }
    // The local APIC, by its ID register.
    let id = map_device_memory(0xfee0_0020..0xfee0_0024).expect("it is mapped");
    // SAFETY: mapped and aligned; reading it has no effect. (In x2APIC mode it is no register.)
    let _ = unsafe { id.cast::<u32>().read_volatile() };
}

/// The tables for devices come to an end, which is no panic.
#[dormir_guest::test]
fn tables_come_to_an_end() {
    // Far too much, which takes none of them.
    assert_eq!(refused(FAR..FAR + (20 << 30)), Some(MapError::NoTables));
    let mut mapped = 0;
    let error = loop {
        let place = FAR + mapped * (1 << 30);
        match map_device_memory(place..place + 0x1000) {
            Ok(_) => mapped += 1,
            Err(error) => break error,
        }
    };
    // Each needs two: one for its 2 MiB, and one for its 1 GiB.
    assert_eq!((mapped, error), (4, MapError::NoTables));
    // Large pages need none of their own.
    let large = FAR + (2 << 20)..FAR + (32 << 20);
    assert!(map_device_memory(large).is_ok());
    assert!(map_device_memory(FAR..FAR + 0x1000).is_ok());
}
