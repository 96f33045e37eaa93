//! Boots and ends: what every guest takes, before it has a runtime.
#![no_std]
#![no_main]

dormir_guest::entry!(main);

fn main() {}
