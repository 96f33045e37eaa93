//! A list of QEMU's arguments.

use std::ffi::OsString;

/// Arguments in the order in which they were added.
#[derive(Default)]
pub(super) struct ArgumentList(Vec<OsString>);

impl ArgumentList {
    pub(super) fn into_vec(self) -> Vec<OsString> {
        self.0
    }

    pub(super) fn flag(&mut self, name: &str) {
        self.0.push(name.into());
    }

    pub(super) fn pair(&mut self, name: &str, value: impl Into<OsString>) {
        self.flag(name);
        self.0.push(value.into());
    }
}
