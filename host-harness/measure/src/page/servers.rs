//! Servers, disks, serial lines and vsocks, as tables.

use super::figures::{from_terminal, scroll};
use crate::{
    document::{in_words, io::IoDocument},
    report::io::{NOTES, draw_disk, draw_echoes, draw_http, draw_servers},
};
use comfy_table::Table;
use maud::{Markup, html};

/// The section of what `--io` measured, which may be another run on another machine.
pub(super) fn section(io: &IoDocument) -> Markup {
    let part = |name: &str, table: &Table, texts: usize| {
        html! { h3 { (name) } (scroll(name, &from_terminal(table, texts))) }
    };
    html! {
        section {
            h2 #servers { "Servers and disks" }
            p { "Guests that serve the same page, beside a Linux guest on the same QEMU. All take \
                turns in one run." }
            @for rates in io.http.chunk_by(|one, other| one.vmm == other.vmm) {
                (part(&format!("Pages, {}", rates[0].vmm), &draw_http(rates), 1))
            }
            (part("What a server needs", &draw_servers(io), 2))
            (part("Reads of 4 KiB from a disk", &draw_disk(&io.disk), 2))
            (part("The serial line", &draw_echoes(&io.serial), 1))
            @if !io.vsock.is_empty() {
                (part("A vsock", &draw_echoes(&io.vsock), 1))
            }
            ul {
                @for sentence in &io.left_out { li { (sentence) "." } }
                @for note in NOTES { li { (note) "." } }
                li { (io.host.sentence()) " " (in_words(&io.versions)) "." }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::io::made_up;

    #[test]
    fn each_table_is_there_and_what_others_wrote_is_escaped() {
        let mut io = made_up();
        io.left_out.push("<script>".into());
        let drawn = section(&io).into_string().replace('\u{202f}', " ");
        for part in [
            "<h3>Pages, qemu-tcg/q35</h3>",
            "<td class=\"text\">dormir, picoserve</td><td>1</td><td>400 ±150</td>",
            "<td>200 ms</td><td>23,457</td>",
            "<td>1,000</td>",
            "<td>17,934</td>",
            "<h3>A vsock</h3>",
            "<td>7,654,321</td>",
            "rustc 9.8.7",
            "&lt;script&gt;",
        ] {
            assert!(drawn.contains(part), "{part}: {drawn}");
        }
    }
}
