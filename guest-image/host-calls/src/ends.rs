//! What becomes of calls when a connection ends.

use alloc::{format, string::String};
use core::{
    convert::Infallible,
    future::{Future, pending},
};

use dormir::host_calls::{self, CallError, ConnectionError};
use embedded_io_async::{ErrorType, Read, Write};
use futures_util::future::join_all;

/// Makes calls that do not end before the connection does. All end as lost, and so do later ones,
/// until there is another connection.
pub(crate) async fn ends() -> Result<(), String> {
    let forever = (0..10).map(|_| host_calls::call("forever", &[]));
    // The host ends the connection, by what is no reply.
    for ended in join_all(forever).await {
        is_lost("in flight", &ended)?;
    }
    is_lost("later", &host_calls::call("echo", &[]).await)?;
    let connection = silent();
    let queued = host_calls::call("echo", &[]);
    let second = silent().await;
    if second != ConnectionError::InUse {
        return Err(format!("a second connection ended otherwise: {second:?}"));
    }
    drop(connection);
    is_lost("queued", &queued.await)?;
    is_lost("at last", &host_calls::call("echo", &[]).await)
}

fn is_lost(which: &str, end: &Result<impl Sized, CallError>) -> Result<(), String> {
    match end {
        Err(CallError::Lost) => Ok(()),
        Err(other) => Err(format!("a call {which} ended otherwise: {other}")),
        Ok(_) => Err(format!("a call {which} had a result")),
    }
}

/// A connection that carries nothing.
fn silent() -> impl Future<Output = ConnectionError<Infallible>> {
    host_calls::run(Silent, Silent)
}

struct Silent;

impl ErrorType for Silent {
    type Error = Infallible;
}

impl Read for Silent {
    async fn read(&mut self, _: &mut [u8]) -> Result<usize, Infallible> {
        pending().await
    }
}

impl Write for Silent {
    async fn write(&mut self, _: &[u8]) -> Result<usize, Infallible> {
        pending().await
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
