//! A page in a browser, as a reader sees it.

use dormir_harness::browser::Browser;
use headless_chrome::{
    Tab,
    browser::tab::EventListener,
    protocol::cdp::{Emulation, types::Event},
};
use serde::Deserialize;
use std::{
    error::Error,
    fs,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};
use tempfile::TempDir;

/// How long the browser may take for one thing.
const LIMIT: Duration = Duration::from_secs(60);

/// What is said on the console behind all that the page says.
const END: &str = "nothing more is listened for";

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
    chrome: headless_chrome::Browser,
    _browser: Browser,
    folder: TempDir,
}

impl View {
    pub(crate) fn open() -> Result<Self, Box<dyn Error>> {
        let browser = Browser::start()?;
        let address = browser.address().to_owned();
        let chrome = headless_chrome::Browser::connect_with_timeout(address, LIMIT)?;
        Ok(Self {
            chrome,
            _browser: browser,
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
        let tab = self.chrome.new_tab()?;
        tab.set_default_timeout(LIMIT);
        let complaints = listen(&tab)?;
        tab.call_method(Emulation::SetDeviceMetricsOverride {
            width: viewer.width,
            height: 800,
            device_scale_factor: 1.0,
            mobile: false,
            scale: None,
            screen_width: None,
            screen_height: None,
            position_x: None,
            position_y: None,
            dont_set_visible_size: None,
            screen_orientation: None,
            viewport: None,
            display_feature: None,
            device_posture: None,
        })?;
        tab.call_method(Emulation::SetEmulatedMedia {
            media: Some(viewer.media.into()),
            features: Some(vec![Emulation::MediaFeature {
                name: "prefers-color-scheme".into(),
                value: viewer.scheme.into(),
            }]),
        })?;
        tab.call_method(Emulation::SetScriptExecutionDisabled {
            value: !viewer.has_scripts,
        })?;
        tab.navigate_to(&format!("file://{}", file.display()))?
            .wait_until_navigated()?;
        let found = tab.evaluate(LOOK, false)?.value;
        let found = found.ok_or("the browser does not say what it sees")?;
        let mut seen: Seen = serde_json::from_str(found.as_str().ok_or("no text")?)?;
        // Events come on another thread than answers do: one that is waited for has all others before it.
        tab.evaluate(&format!("console.log({END:?})"), false)?;
        seen.wrong.extend(complaints.to_the_end()?);
        tab.close(false)?;
        Ok(seen)
    }
}

/// What the browser complains about: errors and warnings, of scripts and of its own.
#[derive(Default)]
struct Complaints {
    heard: Mutex<Heard>,
    has_ended: Condvar,
}

#[derive(Default)]
struct Heard {
    complaints: Vec<String>,
    has_ended: bool,
}

impl Complaints {
    fn hear(&self, event: &Event) {
        let complaint = match event {
            Event::LogEntryAdded(event) => format!("the browser says: {}", event.params.entry.text),
            Event::RuntimeConsoleAPICalled(event) => {
                let first = event.params.args.first();
                if first.and_then(|first| first.value.as_ref()) == Some(&END.into()) {
                    self.heard().has_ended = true;
                    self.has_ended.notify_all();
                    return;
                }
                format!("the page says: {:?}", event.params.args)
            }
            Event::RuntimeExceptionThrown(event) => {
                format!("the page throws: {}", event.params.exception_details.text)
            }
            _ => return,
        };
        self.heard().complaints.push(complaint);
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All until [`END`] is said.
    fn to_the_end(&self) -> Result<Vec<String>, Box<dyn Error>> {
        let waited = self
            .has_ended
            .wait_timeout_while(self.heard(), LIMIT, |heard| !heard.has_ended);
        let (heard, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return Err("the browser does not say what it was told to say on its console".into());
        }
        Ok(heard.complaints.clone())
    }
}

/// Listens from now on.
fn listen(tab: &Arc<Tab>) -> Result<Arc<Complaints>, Box<dyn Error>> {
    let complaints = Arc::new(Complaints::default());
    let heard = Arc::clone(&complaints);
    let listener: Arc<dyn EventListener<Event> + Send + Sync> =
        Arc::new(move |event: &Event| heard.hear(event));
    tab.add_event_listener(listener)?;
    tab.enable_log()?;
    tab.enable_runtime()?;
    Ok(complaints)
}
