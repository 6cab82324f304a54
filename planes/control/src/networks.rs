//! Tenant networks: where each tenant is, what its host is told to have, what hosts report.
//!
//! ```text
//! a tenant is created, or a node asks --place--> a node, and a number of its host
//! a node asks ---------------------desired-----> the version of its signed networks; it fetches what is new
//! a node reports ------------------report------> numbers that are gone, traffic, drift
//! ```
//! What a node should have is worked out anew from the rows each time that it asks, and signed anew when it differs:
//! no change of a tenant, of another host or of a key has to remember whom it concerns.

mod desired;
mod drift;
mod kernel;
mod numbers;
mod place;
mod probe;
mod record;
mod report;
mod view;

pub(crate) use desired::{addresses_in, show as desired, version};
pub(crate) use drift::{ALARM as DRIFT_ALARM, forget as forget_drift, from_event as drift_from_event};
pub(crate) use numbers::refusal as no_room;
pub(crate) use place::{Found, Places, is_worth_settling};
pub(crate) use probe::{
    ask as ask_probes, asked_at as probe_asked_at, put_question, report as report_probe, show as show_probes,
};
pub(crate) use report::report;
pub(crate) use view::{hosts, list};

use api::network::{Driver, Place};

/// A driver's stable text, as it is stored.
const fn driver_text(driver: Driver) -> &'static str {
    match driver {
        Driver::Linux => "linux",
        Driver::Loopback => "loopback",
    }
}

/// The driver of a stored text.
pub(crate) fn driver_of(text: &str) -> Option<Driver> {
    [Driver::Linux, Driver::Loopback].into_iter().find(|driver| driver_text(*driver) == text)
}

const fn place_text(place: Place) -> &'static str {
    match place {
        Place::Here => "here",
        Place::Elsewhere => "elsewhere",
    }
}

fn place_of(text: &str) -> Option<Place> {
    [Place::Here, Place::Elsewhere].into_iter().find(|place| place_text(*place) == text)
}
