//! Verified by tools that others wrote: PyJWT, PyNaCl, hashlib, OpenSSL.

use anyhow::{Result, ensure};
use api::execution::{ExecutionView, SignedPlanView};
use api::heartbeat::{HeartbeatView, SidecarView};
use api::page::Page;
use std::process::{Command, Stdio};
use trials::{Options, Python, Site};

#[tokio::test(flavor = "multi_thread")]
async fn plan_and_heartbeats_verify_with_python_libraries() -> Result<()> {
    let site = Site::up(Options::default()).await?;
    let python = Python::find()?;
    let folder = tempfile::tempdir()?;
    let keep = |name: &str, value: &serde_json::Value| -> Result<String> {
        let path = folder.path().join(name);
        std::fs::write(&path, value.to_string())?;
        Ok(path.display().to_string())
    };
    let executions: Vec<ExecutionView> = site.api()?.all("/v1/tenants/demo/executions").await?;
    let Some(execution) = executions.first() else { anyhow::bail!("no execution") };
    let plan: SignedPlanView =
        site.api()?.get(&format!("/v1/tenants/demo/executions/{}/plan", execution.id)).await?;
    let jwks: serde_json::Value = site.api()?.get(wire::jwks::PATH).await?;
    let outcome = execution.outcome.map(|o| o.plan_hash.to_string()).unwrap_or_default();
    let facts = serde_json::json!({ "plan": plan, "jwks": jwks, "issuer": site.url(), "plan_hash": outcome });
    python.run("plan.py", &[&keep("plan.json", &facts)?])?;

    let beats: Vec<HeartbeatView> = site.api()?.all("/v1/tenants/demo/heartbeats").await?;
    let sidecars: Page<SidecarView> = site.api()?.get("/v1/tenants/demo/sidecars").await?;
    let facts = serde_json::json!({ "heartbeats": beats, "sidecars": sidecars.items });
    python.run("heartbeat.py", &[&keep("beats.json", &facts)?])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_verifies_and_extends_an_older_checkpoint() -> Result<()> {
    let site = Site::up(Options::default()).await?;
    let checkpoint = site.state().join("older.checkpoint").display().to_string();
    site.run(&["audit", "verify", "--save", &checkpoint])?;
    site.api()?.create_tenant("acme").await?;
    let said = site.run(&["audit", "verify", "--against", &checkpoint])?;
    ensure!(said.contains("verified"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_gets_tls_1_3_only_and_the_first_suite_whatever_it_prefers() -> Result<()> {
    let site = Site::up(Options::default()).await?;
    let mut listeners = vec![site.url().to_owned()];
    listeners.extend(site.data_planes().iter().map(|d| d.url.clone()));
    for url in listeners {
        let address = url.trim_start_matches("https://").replace("localhost", "127.0.0.1");
        let old = s_client(&address, &["-tls1_2"])?;
        ensure!(!old.contains("Cipher is TLS_") && !old.contains("Cipher is ECDHE"), "{address}: {old}");
        let reversed = "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256";
        let new = s_client(&address, &["-tls1_3", "-ciphersuites", reversed])?;
        ensure!(new.contains("TLS_AES_128_GCM_SHA256"), "{address}: {new}");
    }
    Ok(())
}

fn s_client(address: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", address])
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    Ok(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}
