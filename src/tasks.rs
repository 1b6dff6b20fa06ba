//! Threads and tasks: the only file that spawns, so that each has a name and an end.

use std::future::Future;
use std::io;
use std::thread::JoinHandle;

/// Starts a named thread (the name shows in `top -H`, 15 bytes of it).
///
/// # Errors
/// Where the system refuses another thread.
pub fn thread<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body)
}

/// A runtime that tasks can be started on from anywhere, such as from a worker's that ends before them.
#[derive(Clone, Debug)]
pub struct Runtime(tokio::runtime::Handle);

impl Runtime {
    /// The current one; to be called within a runtime.
    pub fn current() -> Self {
        Self(tokio::runtime::Handle::current())
    }

    /// Starts a task on it; dropping the handle does not end it.
    pub fn task<T: Send + 'static>(
        &self,
        body: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.0.spawn(body)
    }
}

/// Starts a task on the current runtime; dropping the handle does not end it.
pub fn task<T: Send + 'static>(body: impl Future<Output = T> + Send + 'static) -> tokio::task::JoinHandle<T> {
    tokio::spawn(body)
}

/// Lets the other tasks of the thread have their turn.
pub async fn pause() {
    tokio::task::yield_now().await;
}

/// Runs what blocks (a call, a file) beside the tasks of the current runtime; dropping the handle does not end it.
pub fn blocking<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> tokio::task::JoinHandle<T> {
    tokio::task::spawn_blocking(body)
}
