//! The server.

use http_body_util::Full;
use hyper::{
    Request, Response,
    body::Incoming,
    ext::ReasonPhrase,
    header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, error::Error};
use tokio::{net::TcpListener, runtime::Builder, task};

/// What dormir's guests of the same bench answer with.
const PAGE: &str = "a page of the bench of dormir\n";

/// Serves until the machine ends.
pub(crate) fn run() -> Result<(), Box<dyn Error>> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(serve())
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(("0.0.0.0", 80)).await?;
    println!("serves http://10.0.2.15:80");
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // It does not need to be `Send`: the runtime has one thread, as the machine has one vCPU.
        let connection = http1::Builder::new()
            .title_case_headers(true)
            .auto_date_header(false)
            .serve_connection(TokioIo::new(stream), service_fn(answer));
        // What is wrong with a connection is its peer's matter.
        task::spawn(async move { drop(connection.await) });
    }
}

/// The bytes of picoserve's answer: its order of headers, and no phrase behind the status.
async fn answer(_: Request<Incoming>) -> Result<Response<Full<&'static [u8]>>, Infallible> {
    let mut answer = Response::new(Full::new(PAGE.as_bytes()));
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, text);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(PAGE.len()));
    headers.insert(CONNECTION, HeaderValue::from_static("keep-alive"));
    answer
        .extensions_mut()
        .insert(ReasonPhrase::from_static(b""));
    Ok(answer)
}
