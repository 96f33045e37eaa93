//! The demos, and the server of the demo `fetch`.

use std::{collections::HashSet, io, net::SocketAddr, sync::Mutex, time::Duration};

use dormir_hyperlight_host::Host;
use hyperlight_host::{HyperlightError, func::Registerable};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Builder,
    time::{sleep, timeout},
};

use crate::sandbox::{Check, SandboxGuest};

/// How long the server takes for a page.
const SLOW: Duration = Duration::from_millis(30);

/// How long a page may take.
const LIMIT: Duration = Duration::from_secs(5);

/// The length of a page.
const LENGTH: usize = 1000;

/// The longest request or reply that is read.
const LONGEST: u64 = 64 * 1024;

/// Runs the guest's demo `name`, with its output on standard output.
pub(crate) fn run(guest: &SandboxGuest, name: &str) -> Check {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    runtime.spawn(serve(listener));

    // Thousands of tasks occupy pages that are copied at their first write.
    let mut sandbox = guest.builder().scratch_size(16 << 20).build()?;
    let host = Host::new()
        .with_runtime(runtime.handle().clone())
        .async_function("fetch", move |path| fetch(address, path));
    host.register(&mut sandbox)?;
    let handle = runtime.handle().clone();
    sandbox.register_host_function("plain_fetch", move |path: String| {
        let page = fetch(address, path.into_bytes());
        match handle.block_on(async { timeout(LIMIT, page).await }) {
            Ok(page) => page.map_err(HyperlightError::Error),
            Err(late) => Err(HyperlightError::Error(late.to_string())),
        }
    })?;
    Ok(sandbox.call("demo", name.to_owned())?)
}

/// Fetches a page. The path is a guest's: only what is plain is sent.
async fn fetch(address: SocketAddr, path: Vec<u8>) -> Result<Vec<u8>, String> {
    let path = String::from_utf8(path).map_err(|error| error.to_string())?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'/';
    if !path.bytes().all(is_plain) {
        return Err(format!("{path:?} is no path of this server"));
    }
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut reply = Vec::new();
        stream.take(LONGEST).read_to_end(&mut reply).await?;
        Ok::<_, io::Error>(reply)
    };
    let reply = exchange.await.map_err(|error| error.to_string())?;
    let end = reply.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    match (reply.starts_with(b"HTTP/1.1 200 "), end) {
        (true, Some(end)) => Ok(reply[end + 4..].to_vec()),
        _ => Err("the server has no page".into()),
    }
}

/// A server whose pages take a while. Every tenth fails at first, and one never comes at first.
async fn serve(listener: TcpListener) {
    static SEEN: Mutex<Option<HashSet<String>>> = Mutex::new(None);

    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") && request.len() < LONGEST as usize {
                request.push(stream.read_u8().await?);
            }
            let request = String::from_utf8_lossy(&request).into_owned();
            let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
            let is_new = SEEN
                .lock()
                .is_ok_and(|mut seen| seen.get_or_insert_default().insert(path.clone()));
            sleep(SLOW).await;
            if is_new && path.ends_with("/13") {
                // Until the other side has enough.
                return stream.read_u8().await.map(drop);
            }
            let reply = if is_new && path.ends_with('7') {
                "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n".to_owned()
            } else {
                let page = "x".repeat(LENGTH);
                format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\nConnection: close\r\n\r\n{page}"
                )
            };
            stream.write_all(reply.as_bytes()).await
        });
    }
}
