//! A socket that `picoserve` does not flush. It would do so twice in each answer, behind the
//! headers and behind the body, and `embassy-net` waits then until the other side has acknowledged
//! all. What is written is sent without that, and ending the connection still waits for it.

use embassy_net::tcp::{Error, TcpReader, TcpSocket, TcpWriter};
use picoserve::{
    EmbassyRuntime, Timeouts,
    io::{BaseWrite, ErrorType, Socket, Write},
    mem::BorrowedCursor,
    time::Timer,
};

pub(crate) struct Unflushed<'a>(pub(crate) TcpSocket<'a>);

impl<'s> Socket<EmbassyRuntime> for Unflushed<'s> {
    type Error = Error;
    type ReadHalf<'a>
        = TcpReader<'a>
    where
        's: 'a;
    type WriteHalf<'a>
        = Writer<'a>
    where
        's: 'a;

    fn split(&mut self) -> (TcpReader<'_>, Writer<'_>) {
        let (reader, writer) = self.0.split();
        (reader, Writer(writer))
    }

    async fn abort<T: Timer<EmbassyRuntime>>(
        self,
        timeouts: &Timeouts,
        timer: &T,
    ) -> Result<(), picoserve::Error<Error>> {
        Socket::abort(self.0, timeouts, timer).await
    }

    async fn shutdown<T: Timer<EmbassyRuntime>>(
        self,
        timeouts: &Timeouts,
        timer: &T,
    ) -> Result<(), picoserve::Error<Error>> {
        Socket::shutdown(self.0, timeouts, timer).await
    }
}

pub(crate) struct Writer<'a>(TcpWriter<'a>);

impl ErrorType for Writer<'_> {
    type Error = Error;
}

impl BaseWrite for Writer<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        self.0.write(bytes).await
    }

    async fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

impl Write for Writer<'_> {
    async fn write_with<F: FnOnce(BorrowedCursor<'_>) -> R, R>(
        &mut self,
        write: F,
    ) -> Result<R, Error> {
        Write::write_with(&mut self.0, write).await
    }
}
