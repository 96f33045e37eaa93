//! The command as people use it, as far as no guest is needed.

mod input;
mod page;
mod setup;
mod support;
