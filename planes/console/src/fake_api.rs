//! A control plane for tests: real TLS and HTTP, canned answers, and a record of what was asked.

use crate::cli::invoke_with;
use crate::failure::{Exit, Outcome};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use http::{HeaderMap, Method, StatusCode, Uri, header};
use serde::Serialize;
use serve::ca::{Authority, Subject, Use};
use serve::tls::{ClientAuth, Identity, server_config};
use serve::{Listener, ListenerLimits};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use terms::{SpiffeId, Token, TrustDomain, Workload};

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Method, path and query.
    pub line: String,
    /// The bearer token.
    pub authorization: String,
    /// The idempotency key.
    pub idempotency_key: Option<String>,
    /// The body.
    pub body: String,
}

/// A fake control plane; it stops when it is dropped.
pub(crate) struct FakeApi {
    shared: Arc<Shared>,
    url: String,
    dir: TempDir,
    token: Token,
    serving: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    answers: Mutex<Vec<(String, Answer)>>,
    asked: Mutex<Vec<Asked>>,
}

type Answer = (StatusCode, &'static str, Vec<u8>);

impl FakeApi {
    /// Starts one that answers nothing yet.
    pub(crate) async fn start() -> Self {
        let now = host::clock::now();
        let domain: TrustDomain = "palisade.test".parse().unwrap();
        let authority = Authority::create(now, &domain, 60_000).unwrap();
        let subject = Subject {
            spiffe: &SpiffeId::new(domain, Workload::ControlPlane),
            dns_names: &[],
            ips: &[IpAddr::V4(Ipv4Addr::LOCALHOST)],
            usage: Use::Server,
            now,
            lifetime_ms: 60_000,
        };
        let (certificate, key) = authority.issue_with_key(&subject).unwrap();
        let identity = Identity::from_pem(&certificate.chain_pem, key.expose()).unwrap();
        let tls = server_config(&identity, &ClientAuth::None).unwrap();
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let url = format!("https://{}", listener.local_addr());
        let shared = Arc::new(Shared::default());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let never = core::future::pending();
        let serving = tokio::spawn(listener.serve(tls, router, ListenerLimits::default(), never));
        let dir = tempfile::tempdir().unwrap();
        let token = crate::token::mint(&dir.path().join("token")).unwrap();
        std::fs::write(dir.path().join("ca.pem"), authority.certificate_pem()).unwrap();
        Self { shared, url, dir, token, serving }
    }

    /// Answers the request `line` (method, path and query) with JSON.
    pub(crate) fn on(&self, line: &str, body: &impl Serialize) {
        self.answer(line, (StatusCode::OK, "application/json", serde_json::to_vec(body).unwrap()));
    }

    /// Answers the request `line` with bytes.
    pub(crate) fn on_bytes(&self, line: &str, body: &[u8]) {
        self.answer(line, (StatusCode::OK, "application/json", body.to_vec()));
    }

    /// Answers the request `line` with a problem.
    pub(crate) fn on_problem(&self, line: &str, problem: &api::Problem) {
        let status = StatusCode::from_u16(problem.status).unwrap();
        self.answer(line, (status, api::problem::MEDIA_TYPE, serde_json::to_vec(problem).unwrap()));
    }

    /// A later answer to the same line replaces the one before.
    fn answer(&self, line: &str, answer: Answer) {
        let mut answers = self.shared.answers.lock().unwrap();
        answers.retain(|(known, _)| known != line);
        answers.push((line.to_owned(), answer));
    }

    /// Every request so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// The operator token that the command line is given.
    pub(crate) const fn token(&self) -> &Token {
        &self.token
    }

    /// A file in this test's own folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file in this test's own folder and returns its path as an argument.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> String {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Runs a command line against this API: how it ended, and what it printed to stdout.
    pub(crate) async fn palisade(&self, arguments: &[&str]) -> (Outcome<Exit>, String) {
        let (ca, token) = (self.path("ca.pem"), self.path("token"));
        let connection = ["--url", &self.url, "--ca-file", ca.to_str().unwrap(), "--token-file"];
        let mut all = vec!["palisade"];
        all.extend(arguments);
        all.extend(connection);
        all.push(token.to_str().unwrap());
        let mut sink = Vec::new();
        let outcome = invoke_with(&all, &mut sink).await;
        (outcome, String::from_utf8(sink).unwrap())
    }
}

impl Drop for FakeApi {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, [(header::HeaderName, &'static str); 1], Vec<u8>) {
    let line = format!("{method} {uri}");
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    shared.asked.lock().unwrap().push(Asked {
        line: line.clone(),
        authorization: text("authorization").unwrap_or_default(),
        idempotency_key: text(api::execution::IDEMPOTENCY_KEY),
        body: String::from_utf8(body.to_vec()).unwrap(),
    });
    let known = shared.answers.lock().unwrap().iter().find(|(known, _)| *known == line).cloned();
    let (status, kind, body) = known.map(|(_, answer)| answer).unwrap_or_else(|| {
        let problem = api::Problem::new(api::Code::NotFound).detail(line);
        (StatusCode::NOT_FOUND, api::problem::MEDIA_TYPE, serde_json::to_vec(&problem).unwrap())
    });
    (status, [(header::CONTENT_TYPE, kind)], body)
}
