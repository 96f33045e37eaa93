//! `cargo vm peers` writes the list of the files, each of which is a module.

// They are not ours to mend.
#![allow(warnings)]

include!(concat!(
    env!(
        "DORMIR_PEERS",
        "run `cargo vm peers`, which says where the tests are"
    ),
    "/futures-executor.rs"
));
