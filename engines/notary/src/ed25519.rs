//! Ed25519 pairs and public keys (RFC 8032), shared by envelopes and notes.

use crate::{KeyError, Pkcs8, SignError};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, ParsedPublicKey};

/// A key pair, its private key parsed once.
pub(crate) struct SigningKey {
    pair: Ed25519KeyPair,
    public_key: [u8; 32],
}

/// A public key that can have made no signature but its owner's.
#[derive(Debug, Clone)]
pub(crate) struct VerifyingKey {
    key: ParsedPublicKey,
    bytes: [u8; 32],
}

/// The y coordinates of the eight points of small order, little-endian. With such a key one signature
/// fits many messages, so that it proves nothing (the provider takes them, as RFC 8032 does).
const SMALL_ORDER_Y: [[u8; 32]; 5] = [
    [0; 32],
    {
        let mut one = [0; 32];
        one[0] = 1;
        one
    },
    {
        let mut minus_one = [0xff; 32];
        minus_one[0] = 0xec;
        minus_one[31] = 0x7f;
        minus_one
    },
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
        0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
        0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

impl SigningKey {
    pub(crate) fn generate() -> Result<(Self, Pkcs8), KeyError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::Generate)?;
        let document = pair.to_pkcs8().map_err(|_| KeyError::Generate)?;
        let pkcs8 = Pkcs8::new(document.as_ref().to_vec());
        Ok((Self::new(pair)?, pkcs8))
    }

    pub(crate) fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        Self::new(Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| KeyError::Pkcs8)?)
    }

    pub(crate) const fn public_key(&self) -> &[u8; 32] {
        &self.public_key
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        let signature = self.pair.try_sign(message).map_err(|_| SignError::Sign)?;
        signature.as_ref().try_into().map_err(|_| SignError::Sign)
    }

    fn new(pair: Ed25519KeyPair) -> Result<Self, KeyError> {
        let public_key = pair.public_key().as_ref().try_into().map_err(|_| KeyError::Point)?;
        Ok(Self { pair, public_key })
    }
}

impl VerifyingKey {
    /// Takes a public key. Bytes that are no point at all are taken too; no signature ever fits them.
    pub(crate) fn new(bytes: [u8; 32]) -> Result<Self, KeyError> {
        let mut y = bytes;
        if let Some(top) = y.last_mut() {
            *top &= 0x7f;
        }
        if !is_canonical(&y) || SMALL_ORDER_Y.contains(&y) {
            return Err(KeyError::Point);
        }
        let key = ParsedPublicKey::new(&ED25519, bytes).map_err(|_| KeyError::Point)?;
        Ok(Self { key, bytes })
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verify_sig(message, signature).is_ok()
    }
}

/// Whether the little-endian `y` is below 2^255 - 19.
fn is_canonical(y: &[u8; 32]) -> bool {
    let [low, middle @ .., high] = y;
    *high != 0x7f || *low < 0xed || middle.iter().any(|b| *b != 0xff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_test_vector_of_rfc_8032_verifies() {
        let key = bytes("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        let signature = hex::decode(
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155\
             5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        );
        let key = VerifyingKey::new(key).unwrap();
        assert!(key.has_signed(b"", &signature.clone().unwrap()));
        assert!(!key.has_signed(b"x", &signature.unwrap()));
    }

    #[test]
    fn a_point_of_small_order_would_fit_any_message_and_is_refused() {
        let mut identity = [0; 32];
        identity[0] = 1;
        let forged = [identity, [0; 32]].concat();
        let provider = ParsedPublicKey::new(&ED25519, identity).unwrap();
        assert!(
            provider.verify_sig(b"any message", &forged).is_ok(),
            "the provider alone does not refuse it"
        );
        for y in SMALL_ORDER_Y {
            for sign in [0, 0x80] {
                let mut point = y;
                point[31] |= sign;
                assert_eq!(VerifyingKey::new(point).err(), Some(KeyError::Point), "{point:02x?}");
            }
        }
    }

    #[test]
    fn a_point_in_another_form_than_its_own_is_refused() {
        // p + 0 .. p + 18 and 2^255 - 1: every y that has a second form, and the highest one.
        for low in 0xed..=0xff_u8 {
            for high in [0x7f, 0xff] {
                let mut point = [0xff; 32];
                point[0] = low;
                point[31] = high;
                assert_eq!(VerifyingKey::new(point).err(), Some(KeyError::Point), "{point:02x?}");
            }
        }
        let mut below = [0xff; 32];
        below[0] = 0xeb;
        below[31] = 0x7f;
        assert!(VerifyingKey::new(below).is_ok());
    }

    #[test]
    fn bytes_that_are_no_point_verify_nothing() {
        // y = 2 is on no point of the curve.
        let mut point = [0; 32];
        point[0] = 2;
        let key = VerifyingKey::new(point).unwrap();
        assert!(!key.has_signed(b"", &[0; 64]));
    }

    #[test]
    fn a_signature_whose_s_is_not_reduced_is_refused() {
        let (signer, _) = SigningKey::generate().unwrap();
        let key = VerifyingKey::new(*signer.public_key()).unwrap();
        let mut signature = signer.sign(b"m").unwrap();
        assert!(key.has_signed(b"m", &signature));
        // s + L is the same scalar (RFC 8032 section 5.1.7 wants s < L).
        let order = bytes("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
        let mut carry = 0;
        for (s, l) in signature[32..].iter_mut().zip(order) {
            let sum = u16::from(*s) + u16::from(l) + carry;
            *s = u8::try_from(sum & 0xff).unwrap();
            carry = sum >> 8;
        }
        assert!(!key.has_signed(b"m", &signature));
    }

    fn bytes(text: &str) -> [u8; 32] {
        hex::decode(text).unwrap().try_into().unwrap()
    }
}
