//! The shipped sample does what it says.

use crate::world::{output, run};
use serde_json::{Value, json};
use workflow::{Effect, FaultKind};

const ORDERS: &str = include_str!("../../samples/orders.yaml");

fn input(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn the_sample_totals_and_classifies_its_orders() {
    let out = output(ORDERS, input(include_str!("../../samples/orders.json")));
    assert_eq!(
        out,
        json!({
            "currency": "EUR",
            "checked": 3,
            "total": 271_090,
            "review": [{"id": "A-1002", "customer": "Grace", "total": 249_900}],
            "accepted": [
                {"id": "A-1001", "customer": "Ada", "total": 20_050},
                {"id": "A-1003", "customer": "Edsger", "total": 1_140},
            ],
        })
    );
}

#[test]
fn the_sample_raises_on_a_bad_order() {
    let Effect::Faulted(fault) = run(ORDERS, input(include_str!("../../samples/orders-bad.json"))) else {
        panic!("a bad order went through");
    };
    assert_eq!(fault.kind, FaultKind::Raised);
    assert_eq!(fault.problem.status, 422);
    assert!(fault.problem.detail.unwrap().contains("A-1002"));
}
