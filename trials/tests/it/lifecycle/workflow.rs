//! Workflows: versions, and being disabled.

use super::{ECHOES, Home, denied, document};
use crate::shared::bare_site;
use api::execution::ExecutionState;
use serde_json::{Value, json};

#[tokio::test]
async fn an_execution_keeps_the_version_that_it_was_started_with() {
    let home = Home::found(bare_site().await, "versions").await;
    let says = |version: u32| {
        let says = format!("say: {{ set: {{ version: {version} }} }}");
        document("versioned", &["pause: { wait: { seconds: 1 } }", &says])
    };
    let apply = async |text: &str| {
        let applied = home.api.apply("versions", text).await.unwrap();
        (applied.workflow.version, applied.changed)
    };

    assert_eq!(apply(&says(1)).await, (1, true));
    assert_eq!(apply(&says(1)).await, (1, false), "the same document made another version");
    let first = home.start("versioned", json!({}), "first").await.unwrap();
    assert_eq!(apply(&says(2)).await, (2, true));
    let second = home.start("versioned", json!({}), "second").await.unwrap();

    for (execution, version) in [(first, 1), (second, 2)] {
        assert_eq!(execution.workflow.version, version);
        let (state, output) = home.end_of(execution.id).await;
        assert_eq!((state, output.unwrap()), (ExecutionState::Completed, json!({ "version": version })));
    }
    let shown: Value = home.get("/workflows/versioned").await;
    assert_eq!((&shown["version"], &shown["document"]), (&json!(2), &json!(says(2))));
}

#[tokio::test]
async fn a_disabled_workflow_is_not_started_until_a_new_version_is_applied() {
    let home = Home::found(bare_site().await, "disabling").await;
    home.api.apply("disabling", &document("echo", &[ECHOES])).await.unwrap();
    let before = home.start("echo", json!({ "say": 1 }), "before").await.unwrap();

    home.ask("POST", "/workflows/echo/disable", None).await.unwrap();

    let refused = home.start("echo", json!({ "say": 2 }), "after").await.unwrap_err();
    assert_eq!(refused, denied(409, "workflow_disabled"));
    assert_eq!(home.end_of(before.id).await, (ExecutionState::Completed, Ok(json!({ "said": 1 }))));
    let retried = home.start("echo", json!({ "say": 1 }), "before").await.unwrap();
    assert_eq!(retried.id, before.id, "the retry of a start is answered whatever became of its workflow");

    let louder = "echo: { set: { said: '${ .say }', loud: true } }";
    home.api.apply("disabling", &document("echo", &[louder])).await.unwrap();
    assert_eq!(home.run("echo", json!({ "say": 3 }), "again").await, json!({ "said": 3, "loud": true }));
}

#[tokio::test]
async fn what_one_tenant_applied_is_not_there_for_another() {
    let site = bare_site().await;
    let (owner, other) = (Home::found(site, "owner").await, Home::found(site, "other").await);
    owner.api.apply("owner", &document("private", &[ECHOES])).await.unwrap();
    let execution = owner.start("private", json!({ "say": 1 }), "one").await.unwrap();
    owner.end_of(execution.id).await.1.unwrap();

    let hidden = denied(404, "not_found");
    assert_eq!(other.start("private", json!({}), "one").await.unwrap_err(), hidden);
    for rest in ["/workflows/private".to_owned(), format!("/executions/{}", execution.id)] {
        assert_eq!(other.ask("GET", &rest, None).await.unwrap_err(), hidden, "{rest}");
    }
    for rest in ["/output", "/plan"] {
        let rest = format!("/executions/{}{rest}", execution.id);
        assert_eq!(other.ask("GET", &rest, None).await.unwrap_err(), hidden, "{rest}");
    }
    let cancel = format!("/executions/{}/cancel", execution.id);
    assert_eq!(other.ask("POST", &cancel, None).await.unwrap_err(), hidden);
    assert_eq!(other.page("").await.items, []);
}
