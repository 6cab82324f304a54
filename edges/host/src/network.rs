//! Networks of this machine, by system calls: namespaces, links, addresses, routes, sysctls, nftables, probes.
//!
//! Whatever acts on one namespace takes an [`Inside`], the proof that its thread stands in that namespace, so
//! nothing acts on the host by mistake. Whatever can destroy or rename asks first for our [`Tag`].

mod claim;
pub mod keeper;
mod library;
mod link;
mod listing;
mod name;
mod namespace;
mod netlink;
pub mod nftables;
pub mod probe;
mod route;
mod snapshot;
mod stack;
pub mod sysctl;
mod watch;

pub use claim::{Claim, ClaimError};
pub use library::{Nft, NftError};
pub use link::{Link, Mac, VethEnd};
pub use name::{LinkName, NameError, NamespaceName, Tag};
pub use namespace::{Inside, Namespace, NamespaceError, Owned};
pub use route::NewRoute;
pub use snapshot::{Address, Family, Neighbour, Route, RouteKind, RoutingRule, Snapshot};
pub use stack::{Stack, StackError};
pub use watch::Watch;

pub(crate) use namespace::unshare_network;
