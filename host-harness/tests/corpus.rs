//! Replays the corpora of the fuzz targets, so that the bugs that they found stay fixed.

use std::{collections::BTreeSet, fs, path::Path};

use dormir_harness::fuzz::TARGETS;

#[test]
fn every_corpus_is_handled() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let folders = fs::read_dir(&corpora).expect("the corpora are there");
    let folders: BTreeSet<String> = folders
        .map(|folder| folder.expect("a folder").file_name().into_string())
        .map(|name| name.expect("text"))
        .collect();
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(
        folders, targets,
        "each target has a corpus, and each corpus its target"
    );
    for (name, target) in TARGETS {
        let files = fs::read_dir(corpora.join(name)).expect("a folder");
        let mut replayed = 0;
        for file in files {
            let path = file.expect("a file").path();
            // The output of a test that panics names the file.
            println!("{}", path.display());
            target(&fs::read(&path).expect("it can be read"));
            replayed += 1;
        }
        assert!(replayed >= 10, "{name}: {replayed}");
    }
}
