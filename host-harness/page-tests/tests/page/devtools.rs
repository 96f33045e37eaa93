//! What these tests use of the [Chrome DevTools Protocol].
//!
//! [Chrome DevTools Protocol]: https://chromedevtools.github.io/devtools-protocol/

use serde::Deserialize;
use serde_json::{Value, json};
use std::{error::Error, net::TcpStream, time::Duration};
use tungstenite::{Message, WebSocket, stream::MaybeTlsStream};

/// How long the browser may say nothing when something is waited for.
const LIMIT: Duration = Duration::from_secs(60);

/// How many messages may come when something is waited for.
const MOST_MESSAGES: usize = 10_000;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A tab of a browser. It is closed with its connection's browser.
pub(crate) struct Tab {
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
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
        let (mut socket, _) = tungstenite::connect(address)?;
        let MaybeTlsStream::Plain(stream) = socket.get_mut() else {
            return Err("the browser's address is not a plain one".into());
        };
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
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
        self.socket.send(Message::text(call.to_string()))?;
        for _ in 0..MOST_MESSAGES {
            match self.receive()? {
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
        Err(format!("{method} is not answered").into())
    }

    /// Goes to `address`, and waits until all of it is loaded.
    pub(crate) fn navigate(&mut self, address: &str) -> Result<()> {
        self.call("Page.enable", json!({}))?;
        let result = self.call("Page.navigate", json!({ "url": address }))?;
        if let Some(error) = result.get("errorText") {
            return Err(format!("{address}: {error}").into());
        }
        let is_loaded = |event: &Event| event.method == "Page.loadEventFired";
        for _ in 0..MOST_MESSAGES {
            if self.events.iter().any(is_loaded) {
                return Ok(());
            }
            if let Sent::Event(event) = self.receive()? {
                self.events.push(event);
            }
        }
        Err(format!("{address} is not loaded").into())
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

    fn receive(&mut self) -> Result<Sent> {
        for _ in 0..MOST_MESSAGES {
            if let Message::Text(text) = self.socket.read()? {
                return Ok(serde_json::from_str(&text)?);
            }
        }
        Err("the browser sends no message of the protocol".into())
    }
}

fn text(value: &Value) -> Result<String> {
    let text = value.as_str().ok_or("the browser does not say which")?;
    Ok(text.to_owned())
}
