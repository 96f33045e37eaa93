//! Tells the linker where the linker script is, also for packages that depend on this one, and
//! checks that the program is built for the target and with the flags that a guest needs: the
//! compiler and the linker would report a lack in other words.

use std::{env, fs, path::PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=dormir.ld");
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(out.join("dormir.ld"), include_bytes!("dormir.ld")).expect("OUT_DIR is writable");
    println!("cargo::rustc-link-search={}", out.display());
    for lack in lacks() {
        println!("cargo::error={lack}");
    }
    if is_guest() && !has_script() {
        println!(
            "cargo::warning={}; ignore this if the package's own build script passes it",
            missing_flag("-Clink-arg=-Tdormir.ld")
        );
    }
}

fn set(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

/// Whether the target is that of guests.
fn is_guest() -> bool {
    set("CARGO_CFG_TARGET_ARCH") == "x86_64" && set("CARGO_CFG_TARGET_OS") == "none"
}

/// What is wrong with the build of the program, each with what to add.
fn lacks() -> Vec<String> {
    if !is_guest() {
        return vec![format!(
            "a guest cannot be built for {}: add `target = \"x86_64-unknown-none\"` to `[build]` \
             in .cargo/config.toml, or pass `--target x86_64-unknown-none`",
            set("TARGET")
        )];
    }
    let flags = set("CARGO_ENCODED_RUSTFLAGS");
    let options = codegen_options(&flags);
    let model = options
        .iter()
        .rfind(|(name, _)| name == "relocation-model")
        .map(|(_, model)| *model);
    let mut lacks = Vec::new();
    if model != Some("static") {
        lacks.push(missing_flag("-Crelocation-model=static"));
    }
    // The target's default, which no profile changes: cargo takes unwinding as the default and
    // passes no flag for it.
    if set("CARGO_CFG_PANIC") != "abort" {
        lacks.push("a guest cannot unwind: replace `-Cpanic=unwind` by `-Cpanic=abort`".into());
    }
    lacks
}

/// Whether the compiler flags name a linker script. (A package's own build script may do so
/// instead, which is not seen here.)
fn has_script() -> bool {
    let flags = set("CARGO_ENCODED_RUSTFLAGS");
    codegen_options(&flags)
        .iter()
        .filter(|(name, _)| name == "link-arg" || name == "link-args")
        .flat_map(|(_, values)| values.split(' '))
        .any(|value| value.starts_with("-T") || value.starts_with("--script"))
}

fn missing_flag(flag: &str) -> String {
    format!(
        "a guest cannot be linked without `{flag}`: add it to `rustflags` in \
         `[target.x86_64-unknown-none]` of .cargo/config.toml, or to the environment variable \
         RUSTFLAGS, which replaces those"
    )
}

/// The options `-C NAME=VALUE` among compiler flags, in any of the ways to write them.
fn codegen_options(flags: &str) -> Vec<(String, &str)> {
    let mut options = Vec::new();
    let mut flags = flags.split('\x1f');
    while let Some(flag) = flags.next() {
        let option = match flag {
            "-C" | "--codegen" => flags.next(),
            _ => flag.strip_prefix("-C").or(flag.strip_prefix("--codegen=")),
        };
        if let Some((name, value)) = option.and_then(|option| option.split_once('=')) {
            options.push((name.replace('_', "-"), value));
        }
    }
    options
}
