//! A host's networks, as the control plane wants them: signed, numbered, carried out by the host's node.

use crate::dsse::{Decoded, Envelope, EnvelopeError};
use crate::json::{self, Bounds, JsonError};
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddrV4};
use terms::{KeyId, NodeId, TenantId, Timestamp};

/// The DSSE payload type. The signature is ES256 by a key that signs plans; the type keeps the two apart.
pub const PAYLOAD_TYPE: &str = "application/vnd.palisade.host-networks+json;v=1";

/// Most tenants of one host (architecture section 4).
pub const TENANTS_MAX: usize = 155;

/// Bounds of the payload: 155 tenants of about 250 bytes, and 4 096 endpoints of about 24.
pub const BOUNDS: Bounds = Bounds { bytes: 256 * 1024, depth: 5, nodes: 16 * 1024 };

/// Bounds of the envelope around it: base64 makes four bytes out of three.
pub const ENVELOPE_BOUNDS: Bounds = Bounds { bytes: 384 * 1024, depth: 4, nodes: 16 };

/// The networks of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostNetworks {
    /// For which host's node.
    pub node: NodeId,
    /// The control plane's public URL.
    pub issuer: String,
    /// A later document has a higher one. It never goes back.
    pub version: u64,
    /// When it was made.
    pub issued_at: Timestamp,
    /// The addresses of the control plane, sorted: for hosts that do not run it, whom to let in and where it is.
    pub control_addresses: Vec<Ipv4Addr>,
    /// Other hosts' forwarded ports, sorted: for the host that runs the control plane, what it may reach.
    pub data_planes_elsewhere: Vec<SocketAddrV4>,
    /// The tenants, by number.
    pub tenants: Vec<TenantNetwork>,
}

/// The network of one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantNetwork {
    /// Whose.
    pub tenant: TenantId,
    /// The N of 10.(100+N).0.0/16.
    pub number: u8,
    /// Whether its flows pass; those of a tenant that is not live are cut.
    pub live: bool,
    /// What it may use of the host.
    pub quota: Quota,
}

/// What a tenant may use of its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Bytes of memory of its data plane.
    pub memory_bytes: u64,
    /// Thousandths of a processor.
    pub cpu_millicores: u32,
    /// Processes and threads.
    pub pids: u32,
    /// Connections open at a time.
    pub connections: u32,
}

/// The envelope around a host's networks, taken apart. Nothing in it is believed until the notary has checked it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedNetworks {
    kid: KeyId,
    decoded: Decoded,
}

/// Says why bytes are not an envelope around a host's networks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignedNetworksError {
    /// Not an envelope of this payload type.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// `keyid` is no key's thumbprint.
    #[error("the key id is not a thumbprint")]
    KeyId,
}

// === impl SignedNetworks ===

impl SignedNetworks {
    /// Takes an envelope apart: size, shape, type, one signature, encoding, key id; the payload stays closed.
    ///
    /// # Errors
    /// [`SignedNetworksError`], the first thing that is wrong.
    pub fn read(bytes: &[u8]) -> Result<Self, SignedNetworksError> {
        let envelope: Envelope = json::read(bytes, &ENVELOPE_BOUNDS).map_err(EnvelopeError::Json)?;
        let decoded = envelope.decode(PAYLOAD_TYPE)?;
        let keyid = envelope.signatures.first().map(|signature| signature.keyid.parse());
        let Some(Ok(kid)) = keyid else { return Err(SignedNetworksError::KeyId) };
        Ok(Self { kid, decoded })
    }

    /// Which key is said to have signed.
    #[must_use]
    pub const fn kid(&self) -> &KeyId {
        &self.kid
    }

    /// The exact bytes that the signature covers, with their type before them.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.decoded.payload
    }

    /// The signature: r and s, 32 bytes each (RFC 7518 section 3.4).
    #[must_use]
    pub const fn signature(&self) -> &[u8; 64] {
        &self.decoded.signature
    }
}

// === impl HostNetworks ===

impl HostNetworks {
    /// Writes the exact bytes that are signed.
    ///
    /// # Errors
    /// When a value has no JSON form.
    pub fn write(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// Reads the payload, after its signature was checked.
    ///
    /// # Errors
    /// [`JsonError`] for anything but such a document.
    pub fn read(payload: &[u8]) -> Result<Self, JsonError> {
        json::read(payload, &BOUNDS)
    }
}

impl Default for Quota {
    /// What a tenant gets unless somebody decides otherwise.
    fn default() -> Self {
        Self { memory_bytes: 512 * 1024 * 1024, cpu_millicores: 1_000, pids: 256, connections: 1_024 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_anything_beside_it_is_refused() {
        let document = document();
        let bytes = document.write().unwrap();
        assert_eq!(HostNetworks::read(&bytes).unwrap(), document);
        let text = String::from_utf8(bytes).unwrap();
        for bad in [
            text.replacen("\"version\":7", "\"version\":7,\"version\":8", 1),
            text.replacen("\"version\":7", "\"version\":-7", 1),
            text.replacen("\"version\":7", "\"version\":7,\"odd\":1", 1),
            text.replacen("\"number\":3", "\"number\":256", 1),
            text.replacen("192.0.2.7", "192.0.2", 1),
            text.replacen("\"live\":true,", "", 1),
            format!("{text}x"),
        ] {
            assert_ne!(bad, text);
            assert!(HostNetworks::read(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_full_host_fits_its_bounds() {
        let one = document();
        let tenants = vec![one.tenants[0]; TENANTS_MAX];
        let elsewhere = vec!["203.0.113.200:20155".parse().unwrap(); 4_096];
        let full = HostNetworks { tenants, data_planes_elsewhere: elsewhere, ..one };
        assert!(HostNetworks::read(&full.write().unwrap()).is_ok());
    }

    fn document() -> HostNetworks {
        HostNetworks {
            node: NodeId::from_bytes([1; 16]),
            issuer: "https://palisade.example.com".into(),
            version: 7,
            issued_at: Timestamp::from_unix_ms(1_795_507_200_000),
            control_addresses: vec![Ipv4Addr::new(192, 0, 2, 7)],
            data_planes_elsewhere: vec!["192.0.2.8:20001".parse().unwrap()],
            tenants: vec![TenantNetwork {
                tenant: TenantId::from_bytes([2; 16]),
                number: 3,
                live: true,
                quota: Quota::default(),
            }],
        }
    }
}
