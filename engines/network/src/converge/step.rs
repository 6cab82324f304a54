//! One step on the way to the desired state. Doing it twice does no more than doing it once.

use crate::addresses::Namespace;
use crate::topology::{Address, Pair, Policy, Route};

/// What is to be done, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Run this text of nftables as one transaction, in the router's or the host's namespace.
    Load {
        /// Where.
        at: Namespace,
        /// The text: a change of what is there, or a table whole.
        text: String,
        /// Whether every count of the table begins anew.
        recounts: bool,
    },
    /// Delete a table of the router's namespace that nothing asked for.
    Untable {
        /// Its family and name.
        table: String,
    },
    /// Remove a link. In a namespace of ours any, in the host's only one that bears our tag.
    Unlink {
        /// Where.
        at: Namespace,
        /// Which.
        link: String,
    },
    /// Remove a namespace of ours, or its hollow name.
    Remove {
        /// Which.
        namespace: Namespace,
    },
    /// Make a namespace.
    Create {
        /// Which.
        namespace: Namespace,
        /// What marks it as ours.
        tag: String,
    },
    /// Write a setting.
    Set {
        /// Where.
        at: Namespace,
        /// Its path below `/proc/sys`.
        path: String,
        /// Its value.
        value: String,
    },
    /// Make a pair of links, both ends off.
    Wire {
        /// Where the ends are.
        pair: Pair,
        /// What marks both as ours.
        tag: String,
    },
    /// Take an address from a link.
    Take {
        /// Where.
        at: Namespace,
        /// Which, and from which link.
        address: Address,
    },
    /// Give a link an address.
    Give {
        /// Where.
        at: Namespace,
        /// Which, and to which link.
        address: Address,
    },
    /// Set the size of a link's packets.
    Size {
        /// Where.
        at: Namespace,
        /// Which link.
        link: String,
        /// The size.
        mtu: u32,
    },
    /// Switch a link off.
    Down {
        /// Where.
        at: Namespace,
        /// Which.
        link: String,
    },
    /// Switch a link on.
    Up {
        /// Where.
        at: Namespace,
        /// Which.
        link: String,
    },
    /// Remove a route.
    Unroute {
        /// Where.
        at: Namespace,
        /// Which.
        route: Route,
    },
    /// Make a route.
    Route {
        /// Where.
        at: Namespace,
        /// Which.
        route: Route,
    },
    /// Remove a routing policy rule.
    Unpolicy {
        /// Where.
        at: Namespace,
        /// Which.
        policy: Policy,
    },
    /// Make a routing policy rule.
    Policy {
        /// Where.
        at: Namespace,
        /// Which.
        policy: Policy,
    },
}

impl Step {
    /// The namespace that the step needs.
    #[must_use]
    pub const fn at(&self) -> Namespace {
        match self {
            Self::Load { at, .. }
            | Self::Unlink { at, .. }
            | Self::Set { at, .. }
            | Self::Take { at, .. }
            | Self::Give { at, .. }
            | Self::Size { at, .. }
            | Self::Down { at, .. }
            | Self::Up { at, .. }
            | Self::Unroute { at, .. }
            | Self::Route { at, .. }
            | Self::Unpolicy { at, .. }
            | Self::Policy { at, .. } => *at,
            Self::Untable { .. } => Namespace::Router,
            Self::Remove { namespace } | Self::Create { namespace, .. } => *namespace,
            Self::Wire { pair, .. } => pair.outer.0,
        }
    }
}
