//! A page in a browser, as a reader sees it.

use crate::devtools::{Event, Tab};
use dormir_harness::browser::Browser;
use serde::Deserialize;
use serde_json::json;
use std::{error::Error, fs, path::PathBuf};
use tempfile::TempDir;

/// What is wrong with a page, and what is on it.
const LOOK: &str = include_str!("look.js");

/// How a reader looks at a page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Viewer {
    pub(crate) width: u32,
    /// `light` or `dark`.
    pub(crate) scheme: &'static str,
    /// `screen` or `print`.
    pub(crate) media: &'static str,
    pub(crate) has_scripts: bool,
}

/// What there is to see.
#[derive(Debug, Deserialize)]
pub(crate) struct Seen {
    /// Sentences.
    pub(crate) wrong: Vec<String>,
    /// The lines in each figure, by runtime.
    pub(crate) figures: Vec<Vec<String>>,
    /// The weakest contrast.
    pub(crate) weakest: f64,
    /// The page's background.
    pub(crate) paper: String,
    pub(crate) bars: usize,
    pub(crate) text: String,
}

/// A browser, and a page in a file.
pub(crate) struct View {
    // Dropped in this order.
    browser: Browser,
    folder: TempDir,
}

impl View {
    pub(crate) fn open() -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            browser: Browser::start()?,
            folder: tempfile::tempdir()?,
        })
    }

    /// Looks at a file of this text, whose kind is `html` or `svg`.
    pub(crate) fn look(
        &self,
        text: &str,
        kind: &str,
        viewer: Viewer,
    ) -> Result<Seen, Box<dyn Error>> {
        let file: PathBuf = self.folder.path().join(format!("page.{kind}"));
        fs::write(&file, text)?;
        let mut tab = Tab::open(self.browser.address())?;
        // From now on it is told of these.
        tab.call("Log.enable", json!({}))?;
        tab.call("Runtime.enable", json!({}))?;
        let metrics = json!({
            "width": viewer.width,
            "height": 800,
            "deviceScaleFactor": 1,
            "mobile": false,
        });
        tab.call("Emulation.setDeviceMetricsOverride", metrics)?;
        let media = json!({
            "media": viewer.media,
            "features": [{ "name": "prefers-color-scheme", "value": viewer.scheme }],
        });
        tab.call("Emulation.setEmulatedMedia", media)?;
        let scripts = json!({ "value": !viewer.has_scripts });
        tab.call("Emulation.setScriptExecutionDisabled", scripts)?;
        tab.navigate(&format!("file://{}", file.display()))?;
        let found = tab.evaluate(LOOK)?;
        let mut seen: Seen = serde_json::from_str(found.as_str().ok_or("no text")?)?;
        // What the page did before it was looked at comes before the answer.
        seen.wrong.extend(tab.close()?.iter().filter_map(complaint));
        Ok(seen)
    }
}

/// What an event complains about: errors and warnings, of scripts and of the browser's own.
fn complaint(event: &Event) -> Option<String> {
    let params = &event.params;
    Some(match event.method.as_str() {
        "Log.entryAdded" => format!("the browser says: {}", params["entry"]["text"]),
        "Runtime.consoleAPICalled" => format!("the page says: {}", params["args"]),
        "Runtime.exceptionThrown" => {
            format!("the page throws: {}", params["exceptionDetails"]["text"])
        }
        _ => return None,
    })
}
