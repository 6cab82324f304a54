//! The thread that starts children.
//!
//! The kernel's parent-death signal follows the *thread* that forked, not its process (prctl(2),
//! `PR_SET_PDEATHSIG`). The runtime's threads come and go, so a child that one of them started could be told to
//! end while its supervisor is well. This thread lives as long as the process.

use std::io;
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// Runs `start` on the thread that starts children, inside the caller's runtime.
pub(super) async fn run<T: Send + 'static>(start: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (reply, answer) = oneshot::channel();
    let runtime = Handle::current();
    let job: Job = Box::new(move || {
        let _entered = runtime.enter();
        // A caller that gave up drops what was started, which kills it.
        let _ = reply.send(start());
    });
    jobs()?.send(job).map_err(|_| gone())?;
    answer.await.map_err(|_| gone())
}

fn jobs() -> io::Result<&'static Sender<Job>> {
    static JOBS: OnceLock<Option<Sender<Job>>> = OnceLock::new();
    let start = || {
        let (sender, receiver) = channel::<Job>();
        let thread = std::thread::Builder::new().name("spawner".to_owned());
        thread.spawn(move || receiver.into_iter().for_each(|job| job())).ok().map(|_| sender)
    };
    JOBS.get_or_init(start).as_ref().ok_or_else(gone)
}

fn gone() -> io::Error {
    io::Error::other("the thread that starts children is not running")
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_child_is_started_by_the_one_thread_that_stays() {
        let from_a_thread_that_ends = || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(super::run(|| std::thread::current().id())).unwrap()
        };
        let one = std::thread::spawn(from_a_thread_that_ends).join().unwrap();
        let two = std::thread::spawn(from_a_thread_that_ends).join().unwrap();
        assert_eq!(one, two);
    }
}
