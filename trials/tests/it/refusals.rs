//! Every route without a credential, and bad input of every kind: refused with a code, nothing changed.

use anyhow::{Result, ensure};
use api::Problem;
use api::route::{Auth, ROUTES};
use http::Request;
use trials::{Options, Site};

#[tokio::test(flavor = "multi_thread")]
async fn no_route_but_the_public_ones_answers_without_a_credential() -> Result<()> {
    let site = Site::up(Options { demo: false, ..Options::default() }).await?;
    let id = "0190a000-0000-7000-8000-000000000000";
    for route in ROUTES {
        let path =
            route.path.replace("{tenant}", "demo").replace("{workflow}", "orders").replace("{execution}", id);
        let request = Request::builder().method(route.method.to_uppercase().as_str());
        let (status, body) = site
            .api()?
            .raw(request.header("content-type", "application/json"), &path, b"{}".to_vec())
            .await?;
        match route.auth {
            Auth::Public => ensure!(status == 200, "{path}: {status}"),
            Auth::Permit(_) | Auth::EnrolmentToken => {
                let problem: Problem = serde_json::from_slice(&body)?;
                // A flood of refused credentials from one address is slowed, which is a refusal too.
                ensure!([401, 403, 429].contains(&status), "{path}: {status} {}", problem.code);
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_with_its_own_code_and_changes_nothing() -> Result<()> {
    let site = Site::up(Options { demo: false, ..Options::default() }).await?;
    site.api()?.create_tenant("acme").await?;
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let json = "application/json";
    let workflow = |text: &str| serde_json::json!({ "document": text }).to_string();
    let rows: [(&str, &str, &str, String, &str); 10] = [
        ("post", "/v1/tenants", json, "{".into(), "malformed_request"),
        ("post", "/v1/tenants", json, r#"{"name":"a","name":"b"}"#.into(), "malformed_request"),
        ("post", "/v1/tenants", json, r#"{"name":"a","more":1}"#.into(), "malformed_request"),
        ("post", "/v1/tenants", json, r#"{"name":"../x"}"#.into(), "malformed_request"),
        ("post", "/v1/tenants", json, deep, "malformed_request"),
        ("post", "/v1/tenants", "text/plain", r#"{"name":"a"}"#.into(), "unsupported_media_type"),
        ("post", "/v1/tenants", json, " ".repeat(5 << 20), "body_too_large"),
        ("get", "/v1/tenants?after=x", json, String::new(), "invalid_cursor"),
        ("post", "/v1/tenants/acme/workflows", json, workflow("do: [a, b"), "workflow_invalid"),
        (
            "post",
            "/v1/tenants/acme/executions",
            json,
            r#"{"workflow":"x","input":1}"#.into(),
            "idempotency_key_missing",
        ),
    ];
    for (method, path, kind, body, code) in rows {
        let request = Request::builder().method(method.to_uppercase().as_str()).header("content-type", kind);
        let (_, answer) = site.api()?.raw_as_operator(request, path, body.into_bytes()).await?;
        let problem: Problem = serde_json::from_slice(&answer)?;
        ensure!(problem.code == code, "{path}: {} instead of {code}", problem.code);
        ensure!(!problem.next_step.is_empty());
    }
    let tenants: Vec<api::tenant::TenantView> = site.api()?.all("/v1/tenants").await?;
    ensure!(tenants.len() == 1, "a refused request created a tenant");
    Ok(())
}
