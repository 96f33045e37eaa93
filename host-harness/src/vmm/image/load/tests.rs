//! What is loaded is what was checked.

use std::time::Duration;

use tempfile::NamedTempFile;

use super::{
    super::tests::small_elf::{CODE_ADDRESS, SmallElf},
    *,
};
use crate::vmm::{Outcome, RunConfig, Vmm};

const HALT: &[u8] = &[0xf4];
const MIB: u64 = 1 << 20;

/// What is loaded, and where.
fn loaded<S: Source>(
    image: &Image<S>,
    config: &RunConfig,
) -> Result<Vec<(u64, Vec<u8>)>, Unstarted> {
    let mut pieces = Vec::new();
    image.load(&Limit::new(config), |address, bytes| {
        pieces.push((address, bytes.to_vec()));
        Ok(())
    })?;
    Ok(pieces)
}

#[test]
fn what_was_checked_is_loaded_and_written_for_qemu() {
    let config = RunConfig::new(Vmm::Kvm);
    let mut file = SmallElf::new(HALT);
    file.push(elf::PT_LOAD, elf::PF_W, CODE_ADDRESS + 8 * MIB, &[7; 9]);
    let large = vec![3; 3 * MIB as usize + 5];
    file.push(elf::PT_LOAD, elf::PF_R, CODE_ADDRESS + MIB, &large);
    let bytes = file.bytes();
    let image = Image::read(&bytes[..]).unwrap();
    let pieces = loaded(&image, &config).unwrap();
    let places = pieces
        .iter()
        .map(|(address, bytes)| (*address, bytes.len()));
    let mib = MIB as usize;
    assert!(places.eq([
        (CODE_ADDRESS, 1),
        (CODE_ADDRESS + MIB, mib),
        (CODE_ADDRESS + 2 * MIB, mib),
        (CODE_ADDRESS + 3 * MIB, mib),
        (CODE_ADDRESS + 4 * MIB, 5),
        (CODE_ADDRESS + 8 * MIB, 9),
    ]));

    let mut written = Vec::new();
    let entry = image.pvh_entry().unwrap();
    let limit = Limit::new(&config);
    image.write_elf(entry, &limit, &mut written).unwrap();
    let again = Image::read(&written[..]).unwrap();
    assert_eq!(loaded(&again, &config).unwrap(), pieces);
    assert_eq!(again.pvh_entry().unwrap(), entry);
    assert_eq!(again.direct_entry().unwrap(), CODE_ADDRESS);
}

#[test]
fn the_time_limit_and_the_stop_token_hold_while_it_is_loaded() {
    let bytes = SmallElf::new(HALT).bytes();
    let image = Image::read(&bytes[..]).unwrap();
    let mut config = RunConfig::new(Vmm::Kvm);
    config.timeout = Duration::ZERO;
    let cut = loaded(&image, &config).unwrap_err();
    assert!(matches!(cut, Unstarted::Cut(Outcome::TimedOut { .. })));
    config.stop.stop();
    let cut = loaded(&image, &config).unwrap_err();
    assert!(matches!(cut, Unstarted::Cut(Outcome::Stopped)));
}

#[test]
fn a_file_that_changes_while_it_is_read_is_the_same_image() {
    let config = RunConfig::new(Vmm::Kvm);
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(&SmallElf::new(HALT).bytes()).unwrap();
    let image = Image::open(file.path()).unwrap();
    let before = loaded(&image, &config).unwrap();
    file.write_all(&[0xcc; 4096]).unwrap();
    assert_eq!(loaded(&image, &config).unwrap(), before);
    file.as_file().set_len(100).unwrap();
    let error = loaded(&image, &config).unwrap_err();
    assert!(
        matches!(&error, Unstarted::Refused(RunError::NotLoaded(why)) if why.contains("shortened")),
        "{error:?}"
    );
}
