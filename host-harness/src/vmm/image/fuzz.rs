//! Properties that must hold for any file.

use super::{Image, LOWEST_IMAGE_ADDRESS, MAX_MEMORY_MIB, Segment};
use crate::vmm::{
    config::{RunConfig, Vmm},
    limit::{Limit, Unstarted},
};

/// Reads any bytes as an image. If they are one, nothing is loaded outside its segments, below the
/// lowest image address or beyond the memory; and QEMU's file has the same segments.
///
/// # Panics
///
/// Panics if a property does not hold.
pub fn fuzz_image(bytes: &[u8]) {
    let Ok(image) = Image::read(bytes) else {
        return;
    };
    let memory_mib = 2048;
    if image.check_memory(memory_mib).is_err() {
        // A larger memory does not help.
        assert!(image.check_memory(MAX_MEMORY_MIB).is_err());
        return;
    }
    let config = RunConfig::new(Vmm::Kvm);
    let limit = Limit::new(&config);
    let pieces = |image: &Image<&[u8]>| {
        let mut pieces = Vec::new();
        let loaded = image.load(&limit, |address, bytes| {
            pieces.push((address, bytes.to_vec()));
            Ok(())
        });
        // Only the time limit may stop it.
        assert!(
            matches!(loaded, Ok(()) | Err(Unstarted::Cut(_))),
            "{loaded:?}"
        );
        pieces
    };
    let mut taken = LOWEST_IMAGE_ADDRESS;
    for Segment { range, .. } in &image.segments {
        assert!(taken <= range.start && range.start < range.end);
        taken = range.end;
    }
    assert!(taken <= u64::from(memory_mib) << 20);
    let loaded = pieces(&image);
    for (address, bytes) in &loaded {
        let piece = *address..address + bytes.len() as u64;
        let holds =
            |Segment { range, .. }: &Segment| range.start <= piece.start && piece.end <= range.end;
        assert!(image.segments.iter().any(holds));
    }
    if let Ok(entry) = image.direct_entry() {
        assert!(image.is_executable(entry));
    }
    let Ok(entry) = image.pvh_entry() else {
        return;
    };
    let mut written = Vec::new();
    if image.write_elf(entry, &limit, &mut written).is_ok() {
        let again = Image::read(&written[..]).expect("what was written can be read");
        assert_eq!(again.pvh_entry().ok(), Some(entry));
        assert_eq!(pieces(&again), loaded);
        let kinds = |segments: &[Segment]| -> Vec<_> {
            let kind = |segment: &Segment| (segment.range.clone(), segment.flags);
            segments.iter().map(kind).collect()
        };
        assert_eq!(kinds(&again.segments), kinds(&image.segments));
    }
}
