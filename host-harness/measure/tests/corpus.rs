//! Replays the corpus of the fuzz target `json`, which reads files of figures.

use std::{fs, path::Path};

#[test]
fn the_corpus_of_figures_is_borne() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/json");
    let mut replayed = 0;
    for file in fs::read_dir(corpus).expect("the corpus is there") {
        let path = file.expect("a file").path();
        // A test that panics says which.
        println!("{}", path.display());
        dormir_measure::fuzz(&fs::read(&path).expect("it can be read"));
        replayed += 1;
    }
    assert!(replayed >= 10, "{replayed}");
}
