//! The signals that stop a process: the first asks, the second insists.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The exit status after a second signal: 128 + SIGINT, as shells report it.
const INSISTED: i32 = 130;

/// Resolves at the first SIGINT or SIGTERM. A second one ends the process at once.
///
/// Signals are caught from this call on, not from the first poll. Call it inside the runtime.
pub fn stop_signal() -> impl Future<Output = ()> + Send + 'static {
    let caught = Caught::install();
    async move {
        match caught {
            Ok(mut caught) => {
                caught.next().await;
                tokio::spawn(async move {
                    caught.next().await;
                    std::process::exit(INSISTED);
                });
            }
            Err(error) => {
                // The kernel's default action still ends the process, only without the orderly part.
                tracing::error!(%error, "signals cannot be caught; stopping will not be orderly");
                core::future::pending().await
            }
        }
    }
}

struct Caught {
    interrupt: Signal,
    terminate: Signal,
}

impl Caught {
    fn install() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal, getpid, kill_process};

    #[tokio::test]
    async fn a_terminate_signal_resolves_the_wait_even_if_it_came_before_the_first_poll() {
        let stopped = super::stop_signal();
        kill_process(getpid(), Signal::TERM).unwrap();
        stopped.await;
    }
}
