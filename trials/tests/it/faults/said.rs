//! What the system says of itself.

use super::load::PATIENCE;
use trials::{Api, wait_until};
use wire::event::{EventKind, SecurityEvent};

/// Waits for a security event to have been reported so many times.
pub(crate) async fn is_said(api: &Api, kind: EventKind, reason: &str, times: usize) {
    let count = async || {
        let events: Vec<SecurityEvent> = api.all("/v1/events").await.unwrap();
        events.iter().filter(|event| event.kind == kind && event.reason == reason).count()
    };
    let is_said = wait_until(PATIENCE, async || count().await >= times).await;
    assert!(is_said, "{reason} was reported {} times, not {times}", count().await);
}
