//! The policy as Kubernetes manifests: a namespace per tenant, NetworkPolicies, and the same for Cilium.
//!
//! A pod says what it is by the label `palisade/role`: `control-plane`, `data-plane` or `sidecar`. Names are
//! resolved over the control plane's port 443; no policy opens port 53.

use super::yaml;
use crate::addresses::{DATA_PLANE_PORT, HTTPS_PORT};
use crate::desired::{ControlPlane, Desired, TenantNetwork};
use crate::special::SPECIAL;
use serde_json::{Value, json};
use std::net::Ipv4Addr;

/// The namespace of the control plane.
const CONTROL: &str = "palisade-control";

/// Which pods a label stands for.
const ROLE: &str = "palisade/role";

/// Which namespaces are tenants', and whose.
const TENANT: &str = "palisade/tenant";

/// Writes namespaces and NetworkPolicies (`networking.k8s.io/v1`).
#[must_use]
pub fn kubernetes(desired: &Desired) -> String {
    let mut documents = Vec::new();
    if let ControlPlane::Here { .. } = desired.control_plane() {
        documents.push(namespace(CONTROL, &[]));
        documents.push(policy(CONTROL, "nothing", nothing()));
        documents.push(policy(CONTROL, "control-plane", control_plane(desired)));
    }
    for tenant in desired.tenants() {
        let name = namespace_of(tenant);
        documents.push(namespace(&name, &[(TENANT, tenant.tenant.to_string())]));
        documents.push(policy(&name, "nothing", nothing()));
        if tenant.live {
            documents.push(policy(&name, "plans-in", plans_in(desired)));
            documents.push(policy(&name, "https-out", https_out(desired)));
        }
    }
    yaml::stream(&documents)
}

/// Writes the same policies for Cilium (`cilium.io/v2`), which can refuse the nodes themselves too. The namespaces
/// are those of [`kubernetes`].
#[must_use]
pub fn cilium(desired: &Desired) -> String {
    let mut documents = Vec::new();
    if let ControlPlane::Here { .. } = desired.control_plane() {
        documents.push(cilium_policy(CONTROL, "control-plane", cilium_control_plane(desired)));
    }
    for tenant in desired.tenants() {
        let name = namespace_of(tenant);
        if tenant.live {
            documents.push(cilium_policy(&name, "plans-in", cilium_plans_in(desired)));
            documents.push(cilium_policy(&name, "nothing-else-in", cilium_nothing_else_in()));
            documents.push(cilium_policy(&name, "https-out", cilium_https_out(desired)));
        } else {
            documents.push(cilium_policy(&name, "nothing", cilium_nothing()));
        }
    }
    yaml::stream(&documents)
}

// === NetworkPolicy ===

fn nothing() -> Value {
    json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] })
}

fn plans_in(desired: &Desired) -> Value {
    json!({
        "podSelector": role("data-plane"),
        "policyTypes": ["Ingress"],
        "ingress": [{ "from": control_peers(desired), "ports": [tcp(DATA_PLANE_PORT)] }],
    })
}

fn https_out(desired: &Desired) -> Value {
    let mut peers = control_peers(desired);
    peers.push(json!({ "ipBlock": { "cidr": "0.0.0.0/0", "except": not_internet(desired) } }));
    json!({
        "podSelector": {},
        "policyTypes": ["Egress"],
        "egress": [{ "to": peers, "ports": [tcp(HTTPS_PORT)] }],
    })
}

fn control_plane(desired: &Desired) -> Value {
    let data_planes = json!({
        "namespaceSelector": { "matchExpressions": [{ "key": TENANT, "operator": "Exists" }] },
        "podSelector": role("data-plane"),
    });
    let mut egress = vec![json!({ "to": [data_planes], "ports": [tcp(DATA_PLANE_PORT)] })];
    if let ControlPlane::Here { reach, .. } = desired.control_plane() {
        egress
            .extend(reach.iter().map(|at| json!({ "to": [ip_block(*at.ip())], "ports": [tcp(at.port())] })));
    }
    json!({
        "podSelector": role("control-plane"),
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{ "ports": [tcp(HTTPS_PORT)] }],
        "egress": egress,
    })
}

/// The control plane, as a peer.
fn control_peers(desired: &Desired) -> Vec<Value> {
    match desired.control_plane() {
        ControlPlane::Here { .. } => vec![json!({
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": CONTROL } },
            "podSelector": role("control-plane"),
        })],
        ControlPlane::Elsewhere { addresses } => addresses.iter().map(|address| ip_block(*address)).collect(),
    }
}

fn ip_block(address: Ipv4Addr) -> Value {
    json!({ "ipBlock": { "cidr": format!("{address}/32") } })
}

fn tcp(port: u16) -> Value {
    json!({ "protocol": "TCP", "port": port })
}

fn policy(namespace: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": { "name": name, "namespace": namespace, "labels": { "restricted": "true" } },
        "spec": spec,
    })
}

// === Cilium ===

fn cilium_plans_in(desired: &Desired) -> Value {
    let ports = cilium_tcp(DATA_PLANE_PORT);
    let from = match desired.control_plane() {
        ControlPlane::Here { .. } => json!({ "fromEndpoints": [cilium_control()], "toPorts": ports }),
        ControlPlane::Elsewhere { addresses } => json!({ "fromCIDR": hosts(addresses), "toPorts": ports }),
    };
    json!({ "endpointSelector": role("data-plane"), "ingress": [from] })
}

/// Pods that no other policy keeps closed: all but data planes.
fn cilium_nothing_else_in() -> Value {
    let others = json!({ "key": ROLE, "operator": "NotIn", "values": ["data-plane"] });
    json!({
        "endpointSelector": { "matchExpressions": [others] },
        "ingressDeny": [{ "fromEntities": ["all"] }],
    })
}

fn cilium_nothing() -> Value {
    json!({
        "endpointSelector": {},
        "ingressDeny": [{ "fromEntities": ["all"] }],
        "egressDeny": [{ "toEntities": ["all"] }],
    })
}

fn cilium_https_out(desired: &Desired) -> Value {
    let ports = cilium_tcp(HTTPS_PORT);
    let control = match desired.control_plane() {
        ControlPlane::Here { .. } => json!({ "toEndpoints": [cilium_control()], "toPorts": ports }),
        ControlPlane::Elsewhere { addresses } => json!({ "toCIDR": hosts(addresses), "toPorts": ports }),
    };
    let internet = json!({ "cidr": "0.0.0.0/0", "except": not_internet(desired) });
    json!({
        "endpointSelector": {},
        "egress": [control, { "toCIDRSet": [internet], "toPorts": ports }],
        "egressDeny": [{ "toEntities": ["host", "remote-node", "kube-apiserver"] }],
    })
}

fn cilium_control_plane(desired: &Desired) -> Value {
    let data_planes = json!({
        "matchLabels": { ROLE: "data-plane" },
        "matchExpressions": [{ "key": format!("k8s:io.cilium.k8s.namespace.labels.{TENANT}"), "operator": "Exists" }],
    });
    let mut egress = vec![json!({ "toEndpoints": [data_planes], "toPorts": cilium_tcp(DATA_PLANE_PORT) })];
    if let ControlPlane::Here { reach, .. } = desired.control_plane() {
        egress.extend(
            reach.iter().map(|at| json!({ "toCIDR": hosts(&[*at.ip()]), "toPorts": cilium_tcp(at.port()) })),
        );
    }
    json!({
        "endpointSelector": role("control-plane"),
        "ingress": [{ "fromEntities": ["all"], "toPorts": cilium_tcp(HTTPS_PORT) }],
        "egress": egress,
    })
}

fn cilium_control() -> Value {
    json!({ "matchLabels": { ROLE: "control-plane", "k8s:io.kubernetes.pod.namespace": CONTROL } })
}

fn cilium_tcp(port: u16) -> Value {
    json!([{ "ports": [{ "port": port.to_string(), "protocol": "TCP" }] }])
}

fn cilium_policy(namespace: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNetworkPolicy",
        "metadata": { "name": name, "namespace": namespace, "labels": { "restricted": "true" } },
        "spec": spec,
    })
}

// === both ===

fn namespace(name: &str, labels: &[(&str, String)]) -> Value {
    let mut all = json!({ "restricted": "true", "pod-security.kubernetes.io/enforce": "restricted" });
    if let Some(all) = all.as_object_mut() {
        all.extend(labels.iter().map(|(key, value)| ((*key).to_owned(), Value::from(value.as_str()))));
    }
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": all } })
}

fn namespace_of(tenant: &TenantNetwork) -> String {
    format!("palisade-{}", tenant.tenant)
}

fn role(role: &str) -> Value {
    json!({ "matchLabels": { ROLE: role } })
}

fn hosts(addresses: &[Ipv4Addr]) -> Vec<String> {
    addresses.iter().map(|address| format!("{address}/32")).collect()
}

/// What is not the public internet, and the host's own public addresses.
fn not_internet(desired: &Desired) -> Vec<String> {
    let special = |address: &Ipv4Addr| SPECIAL.iter().any(|block| block.net.contains(address));
    let public = desired.uplink().host_addresses.iter().filter(|address| !special(address));
    let blocks = SPECIAL.iter().map(|block| block.net.to_string());
    blocks.chain(public.map(|address| format!("{address}/32"))).collect()
}
