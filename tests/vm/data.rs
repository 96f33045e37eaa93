//! The data that a guest sends arrives under each VMM as it was.

use libtest_mimic::Trial;

use crate::guest::{boot, config, on_every_vmm};

pub(crate) fn trials() -> Vec<Trial> {
    on_every_vmm("data-arrives", |vmm| {
        let run = boot("sends", &config(vmm, "last=3"))?.succeeded()?;
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(3000).collect();
        let expected = [
            ("squares.csv", &b"1,1\n2,4\n3,9\n"[..]),
            ("bytes.bin", &bytes),
            ("empty", &[]),
        ];
        let expected = expected.map(|(name, bytes)| (name.to_owned(), bytes.to_vec()));
        run.check(
            run.report.data == expected && run.console == "sent\n",
            "other data arrived",
        )
    })
}
