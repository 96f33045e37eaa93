//! What only a machine has. Each architecture is a room of its own; there is one.

pub mod x86_64;
