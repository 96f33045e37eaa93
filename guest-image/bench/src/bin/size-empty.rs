//! A guest that boots and exits: the image size of every guest without a runtime.
#![no_std]
#![no_main]

dormir_guest::entry!(main);

fn main() {}
