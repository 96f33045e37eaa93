//! The page of `cargo vm bench --html`, and the picture of `--svg`, as a browser draws them. What
//! is drawn was measured: `run.json` has some figures of a real run.
//!
//! Without a browser these tests fail: `cargo vm test --browser` installs one and runs them.

mod devtools;
mod view;

use dormir_harness::browser::Browser;
use std::{error::Error, fmt, fs, path::PathBuf};
use view::{Seen, View, Viewer};

const WIDTHS: [u32; 3] = [360, 768, 1280];

/// 210 mm without margins of 10 mm, in CSS pixels.
const A4: u32 = 718;

const SCHEMES: [&str; 2] = ["light", "dark"];

const USUAL: Viewer = Viewer {
    width: 1280,
    scheme: "light",
    media: "screen",
    has_scripts: true,
};

type Result<T> = std::result::Result<T, Failure>;

/// Why a test cannot go on: the sentence, as it is.
struct Failure(String);

impl<E: Into<Box<dyn Error>>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into().to_string())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn files() -> [PathBuf; 1] {
    [PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/run.json"
    ))]
}

fn drawn() -> Result<String> {
    Ok(dormir_measure::html(&files())?)
}

#[test]
fn the_page_is_in_order_at_each_width_in_light_and_in_dark() -> Result<()> {
    let (view, page) = (View::open()?, drawn()?);
    let mut papers = Vec::new();
    for width in WIDTHS {
        for scheme in SCHEMES {
            let viewer = Viewer {
                width,
                scheme,
                ..USUAL
            };
            let seen = view.look(&page, "html", viewer)?;
            assert!(seen.wrong.is_empty(), "{viewer:?}: {:#?}", seen.wrong);
            check_content(&seen);
            // They were looked at, and none was left out for want of a colour.
            assert!(
                seen.weakest >= 3.0 && seen.weakest < 21.0,
                "{}",
                seen.weakest
            );
            papers.push(seen.paper);
        }
    }
    assert_eq!(papers[0], "rgb(255, 255, 255)", "light");
    assert_ne!(papers[0], papers[1], "dark is another");
    Ok(())
}

/// Each figure has its lines, and the page says what it must.
fn check_content(seen: &Seen) {
    assert!(seen.figures.len() >= 8, "{:?}", seen.figures);
    for runtimes in &seen.figures {
        assert_eq!(runtimes, &["floor", "dormir", "embassy"]);
    }
    assert!(seen.bars >= 30, "{} bars", seen.bars);
    assert!(
        seen.text.starts_with("KVM here is not hardware-assisted"),
        "{}",
        seen.text
    );
    for part in [
        "CPU",
        "kvm_pvm",
        "halt_poll_ns",
        "TSC-deadline",
        "p99.9",
        "wake a task",
    ] {
        assert!(seen.text.contains(part), "{part}: {}", seen.text);
    }
}

#[test]
fn the_page_is_the_same_without_javascript() -> Result<()> {
    let (view, page) = (View::open()?, drawn()?);
    let with = view.look(&page, "html", USUAL)?;
    let without = Viewer {
        has_scripts: false,
        ..USUAL
    };
    let without = view.look(&page, "html", without)?;
    assert!(without.wrong.is_empty(), "{:#?}", without.wrong);
    check_content(&without);
    assert_eq!(without.text, with.text);
    Ok(())
}

#[test]
fn the_picture_is_in_order_in_light_and_in_dark() -> Result<()> {
    let (view, picture) = (View::open()?, dormir_measure::svg(&files())?);
    for scheme in SCHEMES {
        let seen = view.look(&picture, "svg", Viewer { scheme, ..USUAL })?;
        assert!(seen.wrong.is_empty(), "{scheme}: {:#?}", seen.wrong);
        assert!(seen.text.contains("halt_poll_ns"), "{}", seen.text);
    }
    Ok(())
}

/// On paper nothing can be scrolled, and it is white for every reader.
#[test]
fn the_page_is_in_order_on_paper() -> Result<()> {
    let (view, page) = (View::open()?, drawn()?);
    for scheme in SCHEMES {
        let paper = Viewer {
            width: A4,
            scheme,
            media: "print",
            ..USUAL
        };
        let seen = view.look(&page, "html", paper)?;
        assert!(seen.wrong.is_empty(), "{scheme}: {:#?}", seen.wrong);
        assert_eq!(seen.paper, "rgb(255, 255, 255)");
        check_content(&seen);
    }
    Ok(())
}

/// The search for faults finds those that are there.
#[test]
fn faults_are_found() -> Result<()> {
    let (view, page) = (View::open()?, drawn()?);
    let phone = Viewer {
        width: 360,
        ..USUAL
    };
    let dark = Viewer {
        scheme: "dark",
        ..USUAL
    };
    type Fault<'a> = (&'a str, &'a str, &'a str, Viewer);
    let faults: &[Fault<'_>] = &[
        (
            "overflow-x: auto",
            "overflow-x: visible",
            "the page is",
            phone,
        ),
        (
            "minmax(min(100%, 22rem), 1fr)",
            "minmax(30rem, 1fr)",
            "leaves the window",
            phone,
        ),
        (
            ".under { width: 100%; font-size: .75rem",
            ".under { width: 100%; font-size: 1.1rem",
            "leaves its frame",
            phone,
        ),
        (
            "--embassy: #a84300",
            "--embassy: #ffab66",
            "a contrast of",
            USUAL,
        ),
        ("--soft: #a5afba", "--soft: #57606a", "a contrast of", dark),
        (
            "\nembassy\n</text>",
            "\n</text>",
            "embassy has 0 labels",
            USUAL,
        ),
        (
            "\nembassy\n</text>",
            "\nembassy of all runtimes\n</text>",
            "leaves its chart",
            USUAL,
        ),
        (
            ".chart text { font-family: inherit; }",
            ".chart text { font-size: 400px; }",
            "lies upon",
            USUAL,
        ),
        (
            ".chart text { font-family: inherit; }",
            ".chart text { font-size: 60px; }",
            "is too small",
            phone,
        ),
        (
            "<desc id=\"d-",
            "<desc id=\"e-",
            "no name and description",
            USUAL,
        ),
        (
            ".bar { display: block; height: .9rem;",
            ".bar { display: block; height: 0;",
            "has no bar",
            USUAL,
        ),
        (
            "</main>",
            "<img src=\"file:///no/such/file.png\" alt=\"\"></main>",
            "the browser says",
            USUAL,
        ),
        (
            "</main>",
            "<script>console.error('no')</script></main>",
            "the browser says",
            USUAL,
        ),
    ];
    for (from, to, expected, viewer) in faults {
        assert!(page.contains(from), "the page has no {from}");
        let seen = view.look(&page.replace(from, to), "html", *viewer)?;
        let is_found = seen.wrong.iter().any(|wrong| wrong.contains(expected));
        assert!(is_found, "{from} -> {to}: {:#?}", seen.wrong);
    }
    Ok(())
}

#[test]
fn a_line_that_is_not_there_is_missed() -> Result<()> {
    let (view, page) = (View::open()?, drawn()?);
    let seen = view.look(&page.replace("class=\"s-dormir\"", ""), "html", USUAL)?;
    assert!(
        seen.figures
            .iter()
            .all(|runtimes| runtimes == &["floor", "embassy"])
    );
    Ok(())
}

#[test]
fn nothing_is_left_of_a_browser() -> Result<()> {
    let browser = Browser::start()?;
    let profile = browser.profile().to_owned();
    assert!(profile.is_dir() && is_named_by_a_process(&profile)?);
    drop(browser);
    assert!(!profile.exists());
    assert!(!is_named_by_a_process(&profile)?);
    Ok(())
}

/// Whether a process was started with this folder.
fn is_named_by_a_process(folder: &std::path::Path) -> Result<bool> {
    let folder = folder.to_str().ok_or("a path of plain text")?;
    for entry in fs::read_dir("/proc")? {
        // A process may end meanwhile.
        let line = fs::read(entry?.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(folder) {
            return Ok(true);
        }
    }
    Ok(false)
}
