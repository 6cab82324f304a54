//! A data plane, as an attacker with the control plane's own certificate meets it: raw tokens, raw plans.

use super::NoMeans;
use crate::app::App;
use api::data_plane::{ExecutionKnown, PLANS_PATH, PlanAccepted};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serve::{Client, ClientOptions};
use store::DataPlaneRow;
use terms::ExecutionId;
use wire::plan::MEDIA_TYPE;
use wire::plan_token::HEADER_NAME;

/// Most bytes of an answer.
const ANSWER_MAX: usize = 64 * 1024;

/// A data plane that takes longer than this for one plan is not judged now.
const OPTIONS: ClientOptions =
    ClientOptions { connect_timeout_ms: 2_000, request_timeout_ms: 5_000, pool_per_host: 1 };

/// Codes of a data plane that cannot judge a plan now.
const BUSY: [&str; 3] = ["plan.overloaded", "plan.keys_unavailable", "plan.not_recorded"];

/// One tenant's data plane.
pub(super) struct Peer<'a> {
    app: &'a App,
    plane: DataPlaneRow,
    client: Client,
}

/// What a data plane says of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// It has it.
    Accepted(PlanAccepted),
    /// It refuses it, with this code.
    Refused(String),
}

impl<'a> Peer<'a> {
    pub(super) fn new(app: &'a App, plane: DataPlaneRow) -> Result<Self, NoMeans> {
        let tls = app.identity.towards(plane.tenant).map_err(NoMeans::new)?;
        Ok(Self { app, plane, client: Client::new(tls, OPTIONS) })
    }

    pub(super) const fn plane(&self) -> &DataPlaneRow {
        &self.plane
    }

    /// Posts a token and a plan as they are.
    pub(super) async fn post_raw(&self, token: &str, plan: &[u8]) -> Result<Said, NoMeans> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{PLANS_PATH}", self.plane.url))
            .header(CONTENT_TYPE, MEDIA_TYPE)
            .header(HEADER_NAME, token)
            .body(Full::new(Bytes::copy_from_slice(plan)))
            .map_err(NoMeans::new)?;
        let response = self.client.send(request).await.map_err(NoMeans::new)?;
        let status = response.status();
        let body = self.client.read(response, ANSWER_MAX).await.map_err(NoMeans::new)?;
        if status == StatusCode::ACCEPTED {
            return serde_json::from_slice(&body).map(Said::Accepted).map_err(NoMeans::new);
        }
        let problem: api::Problem = serde_json::from_slice(&body).map_err(NoMeans::new)?;
        if BUSY.contains(&problem.code.as_str()) {
            return Err(NoMeans(format!("the data plane cannot judge plans now: {}", problem.code)));
        }
        Ok(Said::Refused(problem.code))
    }

    /// What it knows of an execution, and since when it knows anything.
    pub(super) async fn ask(&self, execution: ExecutionId) -> Result<ExecutionKnown, NoMeans> {
        let answer = self.app.dispatcher.peers().ask(self.app, self.plane.tenant, execution).await;
        answer.map_err(NoMeans::new)
    }
}

impl Said {
    /// The code of a row: `ok` for what was let through.
    pub(super) fn code(&self) -> &str {
        match self {
            Self::Accepted(_) => "ok",
            Self::Refused(code) => code,
        }
    }
}
