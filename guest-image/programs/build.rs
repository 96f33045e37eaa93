//! Gives the program `image` a larger stack: that a program can choose its size is one of its
//! cases.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg-bin=image=--defsym=__stack_size=0x400000");
}
