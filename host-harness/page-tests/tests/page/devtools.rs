//! What these tests use of the [Chrome DevTools Protocol].
//!
//! [Chrome DevTools Protocol]: https://chromedevtools.github.io/devtools-protocol/

use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    error::Error,
    net::TcpStream,
    time::{Duration, Instant},
};
use tungstenite::{Message, WebSocket};

/// How long the browser may take for one thing.
const LIMIT: Duration = Duration::from_secs(60);

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A tab of a browser. Unless it is closed, it stays open until the browser ends.
pub(crate) struct Tab {
    socket: WebSocket<TcpStream>,
    target: String,
    session: String,
    last_call: u64,
    events: Vec<Event>,
}

/// What happened in the tab.
#[derive(Debug, Deserialize)]
pub(crate) struct Event {
    pub(crate) method: String,
    pub(crate) params: Value,
}

/// What the browser sends.
#[derive(Deserialize)]
#[serde(untagged)]
enum Sent {
    Answer {
        id: u64,
        #[serde(default)]
        result: Value,
        error: Option<Value>,
    },
    Event(Event),
}

impl Tab {
    /// Opens a tab of the browser with this address.
    pub(crate) fn open(address: &str) -> Result<Self> {
        let host = address.split('/').nth(2).ok_or("it is no address")?;
        let stream = TcpStream::connect_timeout(&host.parse()?, LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        let socket = tungstenite::client(address, stream);
        let (socket, _) = socket.map_err(|error| format!("{address}: {error}"))?;
        let mut tab = Self {
            socket,
            target: String::new(),
            session: String::new(),
            last_call: 0,
            events: Vec::new(),
        };
        let target = tab.call("Target.createTarget", json!({ "url": "about:blank" }))?;
        tab.target = text(&target["targetId"])?;
        let how = json!({ "targetId": tab.target, "flatten": true });
        tab.session = text(&tab.call("Target.attachToTarget", how)?["sessionId"])?;
        Ok(tab)
    }

    /// Calls a method of the protocol, and returns its result.
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Result<Value> {
        self.last_call += 1;
        let mut call = json!({ "id": self.last_call, "method": method, "params": params });
        if !self.session.is_empty() {
            call["sessionId"] = self.session.as_str().into();
        }
        let start = Instant::now();
        self.socket.send(Message::text(call.to_string()))?;
        loop {
            match self.receive(method, start)? {
                Sent::Answer { id, result, error } if id == self.last_call => {
                    return match error {
                        Some(error) => Err(format!("{method}: {error}").into()),
                        None => Ok(result),
                    };
                }
                Sent::Answer { .. } => {}
                Sent::Event(event) => self.events.push(event),
            }
        }
    }

    /// Goes to `address`, and waits until all of it is loaded, and nothing more for a while.
    pub(crate) fn navigate(&mut self, address: &str) -> Result<()> {
        self.call("Page.enable", json!({}))?;
        let enabled = json!({ "enabled": true });
        self.call("Page.setLifecycleEventsEnabled", enabled)?;
        let start = Instant::now();
        let result = self.call("Page.navigate", json!({ "url": address }))?;
        if let Some(error) = result.get("errorText") {
            return Err(format!("{address}: {error}").into());
        }
        // The empty page that the tab had before is loaded by another.
        let loader = &result["loaderId"];
        let is_loaded = |event: &Event| {
            event.method == "Page.lifecycleEvent"
                && event.params["name"] == "networkAlmostIdle"
                && event.params["loaderId"] == *loader
        };
        while !self.events.iter().any(is_loaded) {
            if let Sent::Event(event) = self.receive(address, start)? {
                self.events.push(event);
            }
        }
        Ok(())
    }

    /// Evaluates a script, and returns its value.
    pub(crate) fn evaluate(&mut self, script: &str) -> Result<Value> {
        let params = json!({ "expression": script, "returnByValue": true });
        let mut result = self.call("Runtime.evaluate", params)?;
        match result.get("exceptionDetails") {
            Some(exception) => Err(exception.to_string().into()),
            None => Ok(result["result"]["value"].take()),
        }
    }

    /// Closes the tab, and returns what happened in it.
    pub(crate) fn close(mut self) -> Result<Vec<Event>> {
        let target = json!({ "targetId": self.target });
        self.call("Target.closeTarget", target)?;
        Ok(self.events)
    }

    /// Returns what the browser sends next, while `what` is waited for since `start`.
    fn receive(&mut self, what: &str, start: Instant) -> Result<Sent> {
        loop {
            let rest = LIMIT.saturating_sub(start.elapsed());
            if rest.is_zero() {
                return Err(format!("{what}: it takes longer than {LIMIT:?}").into());
            }
            self.socket.get_ref().set_read_timeout(Some(rest))?;
            let read = self.socket.read();
            let message = read.map_err(|error| format!("{what}: no answer ({error})"))?;
            if let Message::Text(text) = message {
                return Ok(serde_json::from_str(&text)?);
            }
        }
    }
}

fn text(value: &Value) -> Result<String> {
    let text = value.as_str().ok_or("the browser does not say which")?;
    Ok(text.to_owned())
}
