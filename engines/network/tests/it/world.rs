//! The desired states that the tests share.

use network::{ControlPlane, Desired, NetworkNumber, TenantNetwork, Uplink};
use std::net::Ipv4Addr;
use terms::TenantId;

/// The host's own public address.
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 99);
/// A database that the control plane may reach.
pub(crate) const DATABASE: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 40);
/// Somebody on the internet.
pub(crate) const STRANGER: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 34);
/// A control plane on another host.
pub(crate) const CONTROL: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 7);

/// A host with its control plane and this many tenants; the second of them is not live.
pub(crate) fn here(tenants: u32) -> Desired {
    let reach = vec![format!("{DATABASE}:5432").parse().unwrap()];
    state(ControlPlane::Here { published: Some("0.0.0.0:8443".parse().unwrap()), reach }, tenants)
}

/// The same without a control plane of its own.
pub(crate) fn elsewhere(tenants: u32) -> Desired {
    state(ControlPlane::Elsewhere { addresses: vec![CONTROL] }, tenants)
}

pub(crate) fn state(control_plane: ControlPlane, tenants: u32) -> Desired {
    let tenants = (1..=tenants).map(|n| TenantNetwork { live: n != 2, ..tenant(n) }).collect();
    Desired::new(1, control_plane, uplink(), tenants, &[]).unwrap()
}

pub(crate) fn uplink() -> Uplink {
    Uplink { interfaces: vec!["eth0".to_owned()], host_addresses: vec![HOST] }
}

pub(crate) fn tenant(n: u32) -> TenantNetwork {
    TenantNetwork { tenant: id(n), number: number(n), live: true, connections_max: 64 }
}

pub(crate) fn number(n: u32) -> NetworkNumber {
    NetworkNumber::try_from(n).unwrap()
}

pub(crate) fn id(n: u32) -> TenantId {
    let mut bytes = [0; 16];
    bytes[12..].copy_from_slice(&n.to_be_bytes());
    TenantId::from_bytes(bytes)
}
