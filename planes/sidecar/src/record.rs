//! What the journal's frames carry.

use meter::{AccumulatorState, Chain};
use serde::{Deserialize, Serialize};
use terms::{Digest, SidecarId, TenantId};
use wire::dsse::Envelope;
use wire::heartbeat::Totals;

/// One record. Each one holds the whole state after it, so that the last one is all that a restart needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Record {
    /// Ends a file that was written anew.
    State(State),
    /// A heartbeat was made; its counter is the state's.
    Beat {
        /// The state after it.
        state: State,
        /// What is sent.
        envelope: Envelope,
    },
    /// Heartbeats have their answers, or were dropped.
    Settled {
        /// The state after it.
        state: State,
        /// Their counters.
        counters: Vec<u64>,
    },
}

impl Record {
    pub(crate) const fn state(&self) -> &State {
        match self {
            Self::State(state) | Self::Beat { state, .. } | Self::Settled { state, .. } => state,
        }
    }

    pub(crate) fn into_state(self) -> State {
        match self {
            Self::State(state) | Self::Beat { state, .. } | Self::Settled { state, .. } => state,
        }
    }
}

/// Where the sidecar stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    pub(crate) sidecar: SidecarId,
    pub(crate) tenant: TenantId,
    pub(crate) epoch: u64,
    pub(crate) counter: u64,
    pub(crate) prev: Digest,
    pub(crate) time_s: i64,
    pub(crate) settled_time_s: i64,
    /// The runtime's counters, added up over its epochs.
    pub(crate) runtime: Runtime,
    /// What sidecars with other ids, whose state this one took over, were already credited with.
    pub(crate) carried: Totals,
    /// What the control plane has counted of this sidecar's own totals.
    pub(crate) counted: Totals,
    /// Whether totals that were sworn to may be lost with a damaged journal: nothing is sworn before a sample.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub(crate) unsure: bool,
    /// Why the control plane will never take anything from this sidecar again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stopped: Option<String>,
}

/// The runtime's counters, added up over its epochs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Runtime {
    epoch: Option<u64>,
    current: Totals,
    finished: Totals,
    past_epochs: Vec<u64>,
}

impl State {
    /// The state of a sidecar that was just enrolled.
    pub(crate) fn enrolled(sidecar: SidecarId, tenant: TenantId) -> Self {
        let runtime = Runtime::from(&AccumulatorState::default());
        let blank = Self {
            sidecar,
            tenant,
            epoch: 0,
            counter: 0,
            prev: Digest::from_bytes([0; 32]),
            time_s: 0,
            settled_time_s: 0,
            runtime,
            carried: Totals::default(),
            counted: Totals::default(),
            unsure: false,
            stopped: None,
        };
        blank.with_chain(&Chain::enrolled(sidecar, tenant))
    }

    pub(crate) const fn chain(&self) -> Chain {
        Chain {
            sidecar: self.sidecar,
            tenant: self.tenant,
            epoch: self.epoch,
            counter: self.counter,
            prev: self.prev,
            time_s: self.time_s,
            settled_time_s: self.settled_time_s,
        }
    }

    pub(crate) fn with_chain(self, chain: &Chain) -> Self {
        Self {
            sidecar: chain.sidecar,
            tenant: chain.tenant,
            epoch: chain.epoch,
            counter: chain.counter,
            prev: chain.prev,
            time_s: chain.time_s,
            settled_time_s: chain.settled_time_s,
            ..self
        }
    }
}

impl From<&AccumulatorState> for Runtime {
    fn from(state: &AccumulatorState) -> Self {
        Self {
            epoch: state.epoch,
            current: state.current,
            finished: state.finished,
            past_epochs: state.past_epochs.clone(),
        }
    }
}

impl From<Runtime> for AccumulatorState {
    fn from(runtime: Runtime) -> Self {
        Self {
            epoch: runtime.epoch,
            current: runtime.current,
            finished: runtime.finished,
            past_epochs: runtime.past_epochs,
        }
    }
}
