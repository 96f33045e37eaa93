//! The page as a whole.

use super::{bars, chart, figures, ink, palette, servers};
use crate::{
    document::{
        Host,
        counts::{CountsDocument, NOTES as COUNTS_NOTES},
        in_words,
        latency::{Cell, Document},
        sizes,
    },
    report::{
        self,
        latency::NOTES,
        names,
        numbers::{grouped, nanos},
    },
};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Everything is in the page, and nothing in it runs.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

const STYLE: &str = include_str!("style.css");

/// The page.
pub(super) fn page(document: &Document) -> Markup {
    let vmms = document.cells.iter().map(|cell| &*cell.vmm);
    let warning = document.host.warning(vmms);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                link rel="icon" href="data:,";
                title { "dormir: wake latency" }
                style {
                    (PreEscaped(palette::variables()))
                    (PreEscaped(ink::page_style()))
                    (PreEscaped(STYLE))
                }
            }
            body {
                @if let Some(warning) = warning { p.warning role="note" { (warning) } }
                header {
                    h1 { "How late a task is polled" }
                    p { "Wake latency of async executors inside a VM: of "
                        strong.name.dormir { "dormir" } ", beside it "
                        strong.name.embassy { "embassy" } "-executor on the same timer, and the "
                        strong.name.floor { "floor" } " that nothing can go below, a bare "
                        code { "sti; hlt" }
                        ". All three take turns in one guest." }
                }
                main {
                    @if let Some(glance) = figures::at_a_glance(&document.cells) {
                        section { h2 #glance { "At a glance" } (glance) }
                    }
                    section { h2 #machine { "The machine" } (machine(&document.host)) }
                    (distributions(&document.cells))
                    (counts(document.counts.as_ref()))
                    @if let Some(io) = &document.io { (servers::section(io)) }
                    (images(document))
                    (all_figures(&document.cells))
                    (notes(document))
                }
            }
        }
    }
}

fn machine(host: &Host) -> Markup {
    let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".into());
    let assisted = match host.hardware_assisted {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown",
    };
    let polled = host.halt_poll_ns.map(|nanos| nanos.to_string());
    html! {
        dl.machine {
            div { dt { "CPU" } dd { (or_unknown(&host.cpu)) } }
            div { dt { "Kernel" } dd { (or_unknown(&host.kernel)) } }
            div { dt { "KVM module" } dd { (or_unknown(&host.kvm_module)) } }
            div { dt { "Hardware-assisted" } dd { (assisted) } }
            div { dt { "halt_poll_ns" } dd { (or_unknown(&polled)) } }
            div { dt { "QEMU" } dd { (or_unknown(&host.qemu)) } }
        }
    }
}

/// The charts: a section for each VMM.
fn distributions(cells: &[Cell]) -> Markup {
    html! {
        section {
            h2 #distributions { "Distributions" }
            p { "How late polls are, at each percentile: half of all samples are no later than \
                p50, all but one in a thousand no later than p99.9; a line begins at the \
                smallest. Both scales are logarithmic. The numbers below a chart are those of \
                its lines, and how many times the floor's." }
            @for vmm in cells.chunk_by(|one, other| one.vmm == other.vmm) {
                h3 { (names::vmm(&vmm[0].vmm)) " " code { (vmm[0].vmm) } }
                @for guest in vmm.chunk_by(Cell::is_of_guest_of) {
                    div.charts {
                        @for path in guest.chunk_by(|one, other| one.path == other.path) {
                            (figure(path))
                        }
                    }
                }
            }
        }
    }
}

fn figure(cells: &[Cell]) -> Markup {
    let first = &cells[0];
    let series = chart::series(cells);
    let id = [
        &first.vmm,
        &first.timer,
        &first.idle,
        &first.load,
        &first.path,
    ]
    .map(String::as_str)
    .join("-")
    .replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    let title = format!(
        "{}, {}: {}",
        first.vmm,
        names::setting(first),
        names::path(&first.path)
    );
    let uncertainty = cells.iter().map(|cell| cell.uncertainty_ns).max();
    html! {
        figure {
            figcaption {
                strong { (names::setting(first)) } " " span { (names::path(&first.path)) }
            }
            svg.chart viewBox={ "0 0 " (chart::WIDTH) " " (chart::HEIGHT) } role="img"
                aria-labelledby={ "t-" (id) " d-" (id) } {
                title id={ "t-" (id) } { (title) }
                desc id={ "d-" (id) } { (figures::in_words(cells, &first.path)) }
                (PreEscaped(chart::draw(&series)))
            }
            (figures::under_chart(&series))
            @if let Some(uncertainty @ 1..) = uncertainty {
                p.remark { "The start of each sample is known to ± " (nanos(uncertainty)) "." }
            }
            (remark("Rounds without a sample, since the vCPU was awake", cells, |cell| cell.missed))
            (remark("Samples whose last interrupt came before the deadline", cells, |cell| {
                cell.early
            }))
        }
    }
}

/// What a reader would not expect, and how often it occurred under each runtime.
fn remark(what: &str, cells: &[Cell], often: fn(&Cell) -> u64) -> Markup {
    let is_any = |cell: &&Cell| often(cell) > 0;
    let told = cells.iter().filter(is_any);
    let told: Vec<String> = told
        .map(|cell| format!("{} {}", cell.runtime, often(cell)))
        .collect();
    html! { @if !told.is_empty() { p.remark { (what) ": " (told.join(", ")) "." } } }
}

fn counts(found: Option<&CountsDocument>) -> Markup {
    html! {
        section {
            h2 #counts { "Instructions" }
            @match found {
                Some(found) => {
                    p { "What operations take in a guest, in instructions: exact, and the same in \
                        every run. Not time: a locked instruction takes longer than others. "
                        code { "Up64" } "; embassy's timers are in the queue that is integrated \
                            into its tasks." }
                    div.groups {
                        @for group in bars::of_counts(&found.counts) {
                            (bars::draw(&group, "instructions"))
                        }
                    }
                    details {
                        summary { "All counts" }
                        @let counts = report::counts::draw(&found.counts);
                        (figures::scroll("All counts", &figures::from_terminal(&counts, 1)))
                        p { "What a sleep asks the machine for, in the mean:" }
                        @let exits = report::counts::draw_exits(&found.exits);
                        (figures::scroll("Exits", &figures::from_terminal(&exits, 1)))
                        ul {
                            @for note in COUNTS_NOTES { li { (note) "." } }
                            li { "Exact for " (in_words(&found.versions)) "." }
                        }
                    }
                }
                None => p {
                    "Not counted in this run: " code { "--latency --html" } " counts too, and "
                    code { "--from" } " takes the file of " code { "--counts --json" }
                    " beside that of the latencies."
                }
            }
        }
    }
}

fn images(document: &Document) -> Markup {
    html! {
        section {
            h2 #images { "Image sizes" }
            @if document.images.is_empty() {
                p { "Not measured in this run." }
            } @else {
                p { "Whole guests that boot under every VMM here, each with the same start-up \
                    code, console and handling of faults; release profile, without debug \
                    information." }
                div.groups { (bars::draw(&bars::of_images(&document.images), "size")) }
                (figures::scroll("Image sizes", &html! {
                    table.figures {
                        thead { tr {
                            @for name in ["program", "code", "constants", "data", "zeroed"] {
                                th scope="col" { (name) }
                            }
                        } }
                        tbody { @for image in &document.images { tr {
                            td { (image.program) }
                            @for bytes in [image.code, image.constants, image.data, image.zeroed] {
                                td { (grouped(bytes)) }
                            }
                        } } }
                    }
                }))
                ul {
                    @for program in sizes::PROGRAMS {
                        li { code { (program.name) } ": " (program.about.replace('`', "")) "." }
                    }
                    li { "Code and constants end at whole pages. zeroed: in memory, not in the \
                        file; most of it are stacks." }
                }
            }
        }
    }
}

fn all_figures(cells: &[Cell]) -> Markup {
    html! {
        section {
            h2 #figures { "All figures" }
            p { "Each is: nanoseconds / cycles of the guest's TSC / how many times the floor's." }
            @for guest in cells.chunk_by(Cell::is_of_guest_of) {
                @let name = format!("{}, {}", guest[0].vmm, names::setting(&guest[0]));
                h3 { (name) }
                (figures::scroll(&name, &figures::from_terminal(&report::latency::draw(guest), 3)))
            }
        }
    }
}

fn notes(document: &Document) -> Markup {
    html! {
        section {
            h2 #notes { "Notes" }
            ul {
                @for sentence in &document.left_out { li { (sentence) "." } }
                @for note in NOTES { li { (note) "." } }
                li { "Where a value is smaller than what a chart's axis begins with, its line lies \
                    on the axis." }
                li { (in_words(&document.versions)) "." }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::latency::made_up_cell;

    fn document() -> Document {
        let values: Vec<u64> = (1..=1000).map(|value| value * 100).collect();
        let points = [("handler", 1), ("poll", 2)];
        let cells = ["floor", "dormir", "embassy"].map(|name| made_up_cell(name, &values, &points));
        Document::for_test(cells.into())
    }

    fn drawn(document: &Document) -> String {
        page(document).into_string()
    }

    #[test]
    fn the_first_line_says_that_kvm_emulates() {
        let first = |document: &Document| {
            let drawn = drawn(document);
            let (_, body) = drawn.split_once("<body>").expect("a body");
            body.to_owned()
        };
        let mut document = document();
        let body = first(&document);
        let start = "<p class=\"warning\" role=\"note\">KVM here is not hardware-assisted";
        assert!(body.starts_with(start), "{body}");
        document.host.hardware_assisted = Some(true);
        assert!(first(&document).starts_with("<header>"));
    }

    #[test]
    fn what_others_wrote_is_escaped() {
        let mut document = document();
        let evil = "<script>alert('x')</script>\" onload=\"x & y";
        document.host.cpu = Some(evil.into());
        document.host.kvm_module = Some(evil.into());
        document.left_out = vec![evil.into()];
        document.versions.insert(evil.into(), evil.into());
        for cell in &mut document.cells {
            let Cell {
                vmm,
                timer,
                idle,
                load,
                path,
                runtime,
                ..
            } = cell;
            for text in [vmm, timer, idle, load, path, runtime] {
                *text = evil.into();
            }
        }
        let drawn = drawn(&document);
        assert!(
            !drawn.contains("<script") && !drawn.contains("\" onload"),
            "{drawn}"
        );
        assert!(
            drawn.contains("&lt;script&gt;alert('x')&lt;/script&gt;&quot; onload=&quot;x &amp; y")
        );
    }

    #[test]
    fn nothing_is_fetched_and_nothing_runs() {
        let drawn = drawn(&document());
        for foreign in [
            "<script",
            "http://",
            "https://",
            "url(",
            "@import",
            " src=",
            "javascript:",
        ] {
            assert!(!drawn.contains(foreign), "{foreign}");
        }
    }

    #[test]
    fn every_part_is_there_or_says_why_it_is_not() {
        let mut document = document();
        let text = drawn(&document);
        for part in [
            "A processor",
            "halt_poll_ns",
            "200000",
            "kvm_pvm",
            "the moon is left out.",
            "rustc 9.8.7",
            "Not counted in this run",
            "Not measured in this run",
            "class=\"s-embassy\"",
        ] {
            assert!(text.contains(part), "{part}");
        }
        document.counts = serde_json::from_str(
            r#"{"schema": 1, "versions": {"qemu": "1.2.3"}, "exits": [], "counts": [{"runtime": "embassy",
                "case": "spawn", "n": 64, "capacity": 64, "cpus": null, "instructions": 145.1}]}"#,
        )
        .expect("counts");
        document.images = vec![sizes::ImageSize {
            program: "size-dormir".into(),
            code: 10_000,
            constants: 2000,
            data: 345,
            zeroed: 70_000,
        }];
        let text = drawn(&document);
        for part in [
            ">145.1<",
            "Exact for qemu 1.2.3.",
            "12,345 bytes",
            "bar dormir",
            ">70,000<",
        ] {
            assert!(text.contains(part), "{part}");
        }
        assert!(!text.contains("in this run"));
    }
}
