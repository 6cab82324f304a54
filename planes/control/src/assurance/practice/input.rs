//! OPS-3: bad input over the real API, by an operator who exists for a minute.

use super::super::own::{OwnApi, Sent};
use super::super::{Looked, NoMeans, sample};
use crate::app::App;
use crate::body::BODY_MAX;
use crate::caller::OperatorToken;
use ::assurance::{Inputs, Observation, Row, Seen};
use bytes::Bytes;
use http::Method;
use serde_json::json;
use store::{LIMIT_MAX, Page};
use terms::{Actor, OperatorId, TenantId, Token};
use wire::event::EventOutcome;

/// How long the probe's operator exists.
const OPERATOR_MS: i64 = 60_000;

/// Most pages of audit entries that are searched for deeds of the probe's operator.
const PAGES_MAX: usize = 50;

/// Levels of a body that nests too deeply, well over what any plan can carry.
const DEEP: usize = 200;

const JSON: &str = "application/json";

/// One input, and the code that it must be answered with.
struct Input {
    name: &'static str,
    expected: &'static str,
    method: Method,
    path: String,
    content_type: &'static str,
    body: Bytes,
}

/// OPS-3: each kind of bad input, and what the audit log says that it changed.
pub(in crate::assurance) async fn ops_3(app: &App) -> Looked {
    let now = app.clock.now();
    let token = Token::mint("operator", &app.entropy::<32>()?);
    let operator = OperatorId::mint(now, app.entropy()?);
    let expires_at = Some(now.plus_ms(OPERATOR_MS));
    let before = app.store.read().await?.audit_log().head().await?.size;
    app.operators.accept(token.digest(), OperatorToken { operator, expires_at }, now);
    let api = OwnApi::new(app)?;
    let absent = TenantId::mint(now, app.entropy()?);
    let present = sample::tenants(app).await?.first().map(|tenant| tenant.id);
    let mut rows = Vec::new();
    for input in inputs(absent, present) {
        let Input { name, expected, method, path, content_type, body } = input;
        let actual = api.code(&token, Sent { method, path: &path, content_type, body }).await?;
        rows.push(Row { name: name.to_owned(), expected: expected.to_owned(), actual });
    }
    let deeds = deeds(app, Actor::Operator(operator), before).await?;
    let state = Seen { expected: changes(0), actual: changes(deeds) };
    Ok(Observation::Inputs(Inputs { rows, state }))
}

fn changes(count: u64) -> String {
    format!("{count} changes by the probe")
}

/// How many changes the audit log has of `actor` since it had `before` leaves.
async fn deeds(app: &App, actor: Actor, before: u64) -> Result<u64, NoMeans> {
    let (permit, actor) = (sample::permit(app)?, actor.to_string());
    let mut page = Page::first(LIMIT_MAX);
    let mut deeds = 0;
    for _ in 0..PAGES_MAX {
        let (rows, next) = app.store.read().await?.audit_log().list(&permit, &page).await?;
        let is_old = rows.last().is_none_or(|row| row.index <= before);
        let entries = rows.into_iter().filter(|row| row.index >= before).filter_map(|row| row.entry);
        let own = entries.filter(|entry| entry.actor == actor && entry.outcome == EventOutcome::Success);
        deeds += own.count() as u64;
        match next {
            Some(after) if !is_old => page.after = Some(after),
            Some(_) | None => return Ok(deeds),
        }
    }
    Err(NoMeans::new("the audit log grows faster than it can be searched: try again"))
}

/// The inputs. Bodies go to a tenant that is not there: one that were taken could still change nothing. Only the
/// workflow needs a tenant, and what it brings is none.
fn inputs(absent: TenantId, present: Option<TenantId>) -> Vec<Input> {
    let suspend = format!("/v1/tenants/{absent}/suspend");
    let post = |name, body: Vec<u8>| Input {
        name,
        expected: "malformed_request",
        method: Method::POST,
        path: suspend.clone(),
        content_type: JSON,
        body: body.into(),
    };
    let get = |name, expected, path: String| Input {
        name,
        expected,
        method: Method::GET,
        path,
        content_type: JSON,
        body: Bytes::new(),
    };
    let good = br#"{"reason":"operator"}"#.to_vec();
    let deep = ["[".repeat(DEEP), "]".repeat(DEEP)].concat().into_bytes();
    let mut inputs = vec![
        get("well-formed", "ok", "/v1/tenants?limit=1".to_owned()),
        post("malformed-json", br#"{"reason":"#.to_vec()),
        post("duplicate-name", br#"{"reason":"operator","reason":"operator"}"#.to_vec()),
        post("unknown-field", br#"{"reason":"operator","force":true}"#.to_vec()),
        post("wrong-type", br#"{"reason":7}"#.to_vec()),
        post("not-utf-8", b"{\"reason\":\"\xff\"}".to_vec()),
        post("deep-nesting", deep),
        // All but the last byte is read before it is refused, so that the answer arrives.
        Input { expected: "body_too_large", ..post("oversized-body", vec![b' '; BODY_MAX + 1]) },
        Input {
            expected: "unsupported_media_type",
            content_type: "text/plain",
            ..post("other-media-type", good.clone())
        },
        get("bad-id", "not_found", format!("/v1/tenants/{absent}/executions/..%2F..%2Fetc")),
        get("bad-cursor", "invalid_cursor", "/v1/tenants?after=%27%20OR%201%3D1".to_owned()),
        get("unknown-parameter", "malformed_request", "/v1/tenants?order=name".to_owned()),
    ];
    if let Some(tenant) = present {
        let document = json!({ "document": "do: [unclosed" }).to_string();
        inputs.push(Input {
            expected: "workflow_invalid",
            path: format!("/v1/tenants/{tenant}/workflows"),
            ..post("malformed-workflow", document.into_bytes())
        });
    }
    inputs
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::assurance::{INPUT_ROWS, RequiredRow};
    use std::collections::BTreeSet;

    #[test]
    fn every_required_input_is_sent_once_there_is_a_tenant() {
        let (absent, present) = (TenantId::from_bytes([1; 16]), TenantId::from_bytes([2; 16]));
        let names: BTreeSet<_> = inputs(absent, Some(present)).into_iter().map(|input| input.name).collect();
        let required: BTreeSet<_> = INPUT_ROWS.iter().map(RequiredRow::name).collect();
        assert!(required.is_subset(&names), "{:?}", required.difference(&names));
        assert!(!inputs(absent, None).iter().any(|input| input.path.contains(&present.to_string())));
    }

    #[test]
    fn only_the_malformed_workflow_names_a_tenant_that_is_there() {
        let (absent, present) = (TenantId::from_bytes([1; 16]), TenantId::from_bytes([2; 16]));
        let touching = inputs(absent, Some(present));
        let touching = touching.iter().filter(|input| input.path.contains(&present.to_string()));
        assert_eq!(touching.map(|input| input.name).collect::<Vec<_>>(), ["malformed-workflow"]);
    }
}
