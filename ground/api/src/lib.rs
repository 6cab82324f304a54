//! The HTTP contract: routes, bodies, problem codes, OpenAPI.
//!
//! [`route::ROUTES`] is the one list of what the control plane answers. The router is built against it, the
//! OpenAPI document is written from it, and the goldens (routes x roles, routes x "unauthenticated") read it.

pub mod assurance;
pub mod audit;
pub mod data_plane;
pub mod enrolment;
pub mod event;
pub mod execution;
pub mod heartbeat;
pub mod key;
pub mod names;
pub mod network;
pub mod node;
pub mod openapi;
pub mod page;
pub mod placement;
pub mod problem;
pub mod route;
pub mod tenant;
pub mod usage;
pub mod workflow;

pub use page::Page;
pub use problem::{Code, Problem};
