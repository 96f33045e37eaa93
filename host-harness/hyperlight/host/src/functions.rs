//! The async functions that a guest can call.

use std::{
    collections::HashMap,
    fmt::Display,
    future::Future,
    sync::{Arc, PoisonError, RwLock},
};

use crate::task::{FunctionFuture, FunctionResult};

type Function = dyn Fn(Vec<u8>) -> FunctionFuture + Send + Sync;

#[derive(Default)]
pub(crate) struct Functions(RwLock<HashMap<String, Arc<Function>>>);

impl Functions {
    /// Adds a function, in place of an earlier one of this name.
    pub(crate) fn add<F, R, E>(&self, name: String, function: F)
    where
        F: Fn(Vec<u8>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Vec<u8>, E>> + Send + 'static,
        E: Display,
    {
        let function: Arc<Function> = Arc::new(move |argument| {
            let future = function(argument);
            Box::pin(async move { future.await.map_err(|error| error.to_string()) })
        });
        let mut functions = self.0.write().unwrap_or_else(PoisonError::into_inner);
        functions.insert(name, function);
    }

    /// Returns a future that calls the function `name`; `None` if there is none. The function
    /// itself is called in the first poll.
    pub(crate) fn call(&self, name: &str, argument: &[u8]) -> Option<FunctionFuture> {
        let functions = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let function = functions.get(name).map(Arc::clone)?;
        drop(functions);
        let argument = argument.to_vec();
        let call = async move {
            let result: FunctionResult = function(argument).await;
            result
        };
        Some(Box::pin(call))
    }
}
