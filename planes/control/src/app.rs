//! What all handlers share.

use crate::caller::Operators;
use crate::carried::Carried;
use crate::config::Config;
use crate::delivery::Dispatcher;
use crate::endings::Endings;
use crate::host_search::HostSearches;
use crate::identity::PlatformIdentity;
use crate::key_ring::Signers;
use crate::metrics::ControlMetrics;
use crate::names::Names;
use crate::rates::Rates;
use crate::refusal::Answer;
use crate::sampler::Sampler;
use crate::workflow_cache::WorkflowCache;
use host::clock::Clock;
use notary::NoteSigner;
use store::Store;
use terms::{Permit, Scope, TrustDomain};

/// The running control plane.
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) domain: TrustDomain,
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) operators: Operators,
    pub(crate) identity: PlatformIdentity,
    pub(crate) signers: Signers,
    pub(crate) log_signer: NoteSigner,
    pub(crate) workflows: WorkflowCache,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) endings: Endings,
    pub(crate) rates: Rates,
    pub(crate) sampler: Sampler,
    pub(crate) metrics: ControlMetrics,
    pub(crate) host_searches: HostSearches,
    pub(crate) carried: Carried,
    pub(crate) names: Names,
    /// One run of control checks at a time.
    pub(crate) probing: tokio::sync::Mutex<()>,
}

impl App {
    /// Ten or more bytes from the kernel, for ids and nonces.
    pub(crate) fn entropy<const N: usize>(&self) -> Answer<[u8; N]> {
        Ok(host::entropy::bytes()?)
    }

    /// The permit of the control plane's own timers.
    pub(crate) fn own_permit(&self, action: terms::Action, scope: Scope) -> Answer<Permit> {
        Ok(guard::permit(terms::Actor::System, action, scope)?)
    }

    /// The audit log's C2SP origin.
    pub(crate) fn log_origin(domain: &TrustDomain) -> String {
        format!("{domain}/audit")
    }
}
