//! The stack of the program `image` is larger than others': that a program can say so is one of its cases.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg-bin=image=--defsym=__stack_size=0x400000");
}
