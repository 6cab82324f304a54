//! Executions: started once for each key, listed page by page, cancelled.

use super::{ECHOES, Home, WAITS, denied, document};
use crate::shared::bare_site;
use api::execution::ExecutionState;
use serde_json::json;
use std::collections::BTreeSet;

#[tokio::test]
async fn one_idempotency_key_starts_one_execution() {
    let home = Home::found(bare_site().await, "once").await;
    home.api.apply("once", &document("echo", &[ECHOES])).await.unwrap();

    let first = home.start("echo", json!({ "say": 1 }), "key").await.unwrap();
    let retried = home.start("echo", json!({ "say": 1 }), "key").await.unwrap();
    let other_body = home.start("echo", json!({ "say": 2 }), "key").await.unwrap_err();
    let (one, two, three) = tokio::join!(
        home.start("echo", json!({ "say": 3 }), "at once"),
        home.start("echo", json!({ "say": 3 }), "at once"),
        home.start("echo", json!({ "say": 3 }), "at once"),
    );

    assert_eq!(retried.id, first.id);
    assert_eq!(other_body, denied(409, "idempotency_key_reused"));
    let at_once = BTreeSet::from([one, two, three].map(|started| started.unwrap().id));
    assert_eq!(at_once.len(), 1);
    assert_eq!(home.page("").await.items.len(), 2);
    assert_eq!(home.end_of(first.id).await, (ExecutionState::Completed, Ok(json!({ "said": 1 }))));
}

#[tokio::test]
async fn pages_show_every_execution_once_whatever_is_started_meanwhile() {
    let home = Home::found(bare_site().await, "pages").await;
    home.api.apply("pages", &document("echo", &[ECHOES])).await.unwrap();
    let mut started = BTreeSet::new();
    for n in 0..25 {
        let execution = home.start("echo", json!({ "say": n }), &format!("page-{n}")).await.unwrap();
        started.insert(execution.id.to_string());
    }

    let (mut seen, mut sizes, mut query) = (Vec::new(), Vec::new(), "?limit=10".to_owned());
    loop {
        let page = home.page(&query).await;
        sizes.push(page.items.len());
        seen.extend(page.items.into_iter().map(|execution| execution.id.to_string()));
        let Some(next) = page.next else { break };
        query = format!("?limit=10&after={next}");
        home.start("echo", json!({ "say": "newer" }), &format!("newer-{}", sizes.len())).await.unwrap();
    }

    assert_eq!(sizes, [10, 10, 5]);
    assert!(seen.is_sorted_by(|newer, older| newer > older), "not newest first, or twice: {seen:?}");
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), started);
}

#[tokio::test]
async fn a_cursor_that_no_list_gave_is_refused() {
    let home = Home::found(bare_site().await, "cursors").await;
    let long = "7".repeat(10_000);
    let of_another_list = "42";
    for forged in ["x", "", "-1", "%00", "0190a000-0000-7000-8000", "'%20OR%201=1", of_another_list, &long] {
        let refused = home.ask("GET", &format!("/executions?after={forged}"), None).await.unwrap_err();
        assert_eq!(refused, denied(400, "invalid_cursor"), "`{forged}`");
    }
    for query in ["limit=ten", "limit=-1", "after=x&after=y", "page=2", "limit=99999999999"] {
        let refused = home.ask("GET", &format!("/executions?{query}"), None).await.unwrap_err();
        assert_eq!(refused, denied(400, "malformed_request"), "{query}");
    }
}

#[tokio::test]
async fn a_cancelled_execution_ends_without_output_and_once() {
    let home = Home::found(bare_site().await, "cancelling").await;
    home.api.apply("cancelling", &document("wait", &[WAITS, ECHOES])).await.unwrap();
    let execution = home.start("wait", json!({ "say": 1 }), "one").await.unwrap();
    home.is_accepted(execution.id).await;
    let cancel = format!("/executions/{}/cancel", execution.id);

    home.ask("POST", &cancel, None).await.unwrap();

    let (state, output) = home.end_of(execution.id).await;
    assert_eq!((state, output), (ExecutionState::Cancelled, Err(denied(410, "output_gone"))));
    assert_eq!(home.ask("POST", &cancel, None).await.unwrap_err(), denied(409, "execution_ended"));
    let shown = home.page("?state=cancelled").await;
    assert_eq!(shown.items.iter().map(|shown| shown.id).collect::<Vec<_>>(), [execution.id]);
}
