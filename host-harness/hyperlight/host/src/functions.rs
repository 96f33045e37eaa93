//! The async functions that a guest can call.

use std::{
    collections::HashMap,
    fmt::Display,
    future::Future,
    sync::{Arc, PoisonError, RwLock},
};

use crate::{
    streams::{self, CallStreams, StreamingFunction},
    task::{FunctionFuture, FunctionResult},
};

type PlainFunction = dyn Fn(Vec<u8>) -> FunctionFuture + Send + Sync;

#[derive(Clone)]
enum Function {
    Plain(Arc<PlainFunction>),
    Streaming(Arc<StreamingFunction>),
}

#[derive(Default)]
pub(crate) struct Functions(RwLock<HashMap<String, Function>>);

/// A call that is to be started.
pub(crate) enum Called {
    Plain(FunctionFuture),
    Streaming(Arc<StreamingFunction>, Vec<u8>),
}

impl Called {
    pub(crate) fn has_streams(&self) -> bool {
        matches!(self, Self::Streaming(..))
    }

    /// Returns the call's future. The function itself is called in the first poll.
    pub(crate) fn future(self, streams: impl FnOnce() -> Arc<dyn CallStreams>) -> FunctionFuture {
        match self {
            Self::Plain(future) => future,
            Self::Streaming(function, argument) => streams::call(function, argument, streams()),
        }
    }
}

impl Functions {
    /// Adds a function, in place of an earlier one of this name.
    pub(crate) fn add<F, R, E>(&self, name: String, function: F)
    where
        F: Fn(Vec<u8>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Vec<u8>, E>> + Send + 'static,
        E: Display,
    {
        let function: Arc<PlainFunction> = Arc::new(move |argument| {
            let future = function(argument);
            Box::pin(async move { future.await.map_err(|error| error.to_string()) })
        });
        self.insert(name, Function::Plain(function));
    }

    /// Adds a function of calls with streams.
    pub(crate) fn add_streaming(&self, name: String, function: Arc<StreamingFunction>) {
        self.insert(name, Function::Streaming(function));
    }

    fn insert(&self, name: String, function: Function) {
        let mut functions = self.0.write().unwrap_or_else(PoisonError::into_inner);
        functions.insert(name, function);
    }

    /// Returns a future that calls the function `name`; `None` if there is none. The function
    /// itself is called in the first poll.
    pub(crate) fn call(&self, name: &str, argument: &[u8]) -> Option<FunctionFuture> {
        Some(match self.get(name)? {
            Function::Plain(function) => {
                let argument = argument.to_vec();
                Box::pin(async move {
                    let result: FunctionResult = function(argument).await;
                    result
                })
            }
            Function::Streaming(_) => fails(format!(
                "`{name}` is a function with streams: call it by `streaming_call`"
            )),
        })
    }

    /// Returns a call with streams of the function `name`; `None` if there is none.
    pub(crate) fn streaming_call(&self, name: &str, argument: &[u8]) -> Option<Called> {
        Some(match self.get(name)? {
            Function::Streaming(function) => Called::Streaming(function, argument.to_vec()),
            Function::Plain(_) => Called::Plain(fails(format!(
                "`{name}` is a function without streams: call it by `call`, or add it by \
                 `Host::streaming_function`"
            ))),
        })
    }

    fn get(&self, name: &str) -> Option<Function> {
        let functions = self.0.read().unwrap_or_else(PoisonError::into_inner);
        functions.get(name).cloned()
    }
}

/// A call that ends with an error.
fn fails(sentence: String) -> FunctionFuture {
    Box::pin(async { Err(sentence) })
}
