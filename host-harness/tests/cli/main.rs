//! The command as people use it, as far as no guest is needed.

mod documents;
mod figures;
mod input;
mod killed;
mod packages;
mod page;
mod security;
mod setup;
mod support;
