//! Tells the linker where the linker script is, also for packages that depend on this one.

use std::{env, fs, path::PathBuf};

fn main() {
    println!("cargo:rerun-if-changed=dormir.ld");
    println!("cargo:rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(out.join("dormir.ld"), include_bytes!("dormir.ld")).expect("OUT_DIR is writable");
    println!("cargo:rustc-link-search={}", out.display());
}
