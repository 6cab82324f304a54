//! Sidecar keys: born in their sidecar, enrolled once, and held by nobody else.

use super::super::own::{OwnApi, Sent};
use super::super::{NoMeans, sample};
use crate::app::App;
use ::assurance::Seen;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::json;
use std::collections::BTreeSet;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use store::{EnrolmentKind, EnrolmentToken};
use terms::{TenantId, Token};

/// How long the token works that is used up at once.
const TOKEN_MS: i64 = 60_000;

/// An Ed25519 key in PKCS #8 has 48 to 83 bytes; a larger file is none.
const KEY_MAX: u64 = 256;

/// Most files of the state directory that are looked at.
const FILES_MAX: usize = 1_000;

/// What came of using a sidecar's enrolment token a second time, over the API. The second use brings no certificate
/// request: nothing could be enrolled with it, and a token that still worked would be answered otherwise.
pub(super) async fn second_enrolment(
    app: &App,
    tenant: TenantId,
    public_key: &[u8; 32],
) -> Result<String, NoMeans> {
    let token = Token::mint("enrol", &app.entropy::<32>()?);
    let now = app.clock.now();
    let permit = sample::permit(app)?;
    let (kind, digest) = (EnrolmentKind::Sidecar, token.digest());
    let row = EnrolmentToken {
        digest,
        kind,
        tenant: Some(tenant),
        expires_at: now.plus_ms(TOKEN_MS),
        used_at: None,
    };
    let used = app.store.write(move |tx| {
        Box::pin(async move {
            tx.enrolments().insert(&permit, &row, now).await.map_err(store::Redeem::from)?;
            tx.enrolments().redeem(&permit, digest, now).await
        })
    });
    used.await.map_err(NoMeans::new)?;
    let body = json!({ "csr": "", "public_key": STANDARD.encode(public_key) }).to_string();
    let sent =
        Sent { method: Method::POST, path: "/v1/enrol", content_type: "application/json", body: body.into() };
    OwnApi::new(app)?.code(&token, sent).await
}

/// How many private keys of these public ones the control plane holds, in its database or its folder.
pub(super) async fn held(app: &App, public_keys: &BTreeSet<[u8; 32]>) -> Result<u64, NoMeans> {
    let audit_key = app.store.read().await?.settings().get("audit.key").await?;
    let in_database = audit_key.is_some_and(|pkcs8| is_private_key_of(&pkcs8, public_keys));
    Ok(u64::from(in_database) + in_folder(&app.config.state_dir, public_keys))
}

fn in_folder(folder: &Path, public_keys: &BTreeSet<[u8; 32]>) -> u64 {
    let Ok(files) = std::fs::read_dir(folder) else { return 0 };
    let is_key = |path: &Path| {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).ok().filter(|file| file.metadata().is_ok_and(|m| m.is_file()));
        let read = file.and_then(|file| file.take(KEY_MAX).read_to_end(&mut bytes).ok());
        read.is_some() && is_private_key_of(&bytes, public_keys)
    };
    files.flatten().take(FILES_MAX).filter(|file| is_key(&file.path())).count() as u64
}

fn is_private_key_of(pkcs8: &[u8], public_keys: &BTreeSet<[u8; 32]>) -> bool {
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8).ok();
    let public = pair.and_then(|pair| <[u8; 32]>::try_from(pair.public_key().as_ref()).ok());
    public.is_some_and(|public| public_keys.contains(&public))
}

/// The mode of the sidecars' key files, the first that is wrong if one is. A control plane that has its own user id
/// cannot even see them.
pub(super) fn file_mode(state_dir: &Path, tenants: &BTreeSet<TenantId>) -> Seen {
    let site = state_dir.parent().unwrap_or(state_dir);
    let seen = tenants
        .iter()
        .map(|tenant| one_file_mode(&site.join(format!("meter-{tenant}")).join("metering.key")));
    let seen: Vec<Seen> = seen.collect();
    let wrong = seen.iter().find(|seen| seen.actual != seen.expected).cloned();
    let first = || seen.first().cloned().unwrap_or_else(|| equal("there is none"));
    wrong.unwrap_or_else(first)
}

fn one_file_mode(path: &Path) -> Seen {
    match path.symlink_metadata() {
        Ok(file) => Seen {
            expected: "0600".to_owned(),
            actual: format!("{:04o}", file.permissions().mode() & 0o7777),
        },
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            equal("out of the control plane's reach")
        }
        Err(_) => equal("not on this host"),
    }
}

fn equal(text: &str) -> Seen {
    Seen { expected: text.to_owned(), actual: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, create_dir, set_permissions, write};

    #[test]
    fn a_sidecars_private_key_in_our_folder_is_found_and_no_other_file_is_taken_for_one() {
        let dir = tempfile::tempdir().unwrap();
        let (key, pkcs8) = notary::SidecarKey::generate().unwrap();
        let (_, foreign) = notary::SidecarKey::generate().unwrap();
        let public_keys = BTreeSet::from([key.public_key()]);
        write(dir.path().join("other.key"), &*foreign).unwrap();
        write(dir.path().join("log"), vec![b'x'; 10_000]).unwrap();
        create_dir(dir.path().join("folder")).unwrap();
        assert_eq!(in_folder(dir.path(), &public_keys), 0);
        write(dir.path().join("stolen"), &*pkcs8).unwrap();
        assert_eq!(in_folder(dir.path(), &public_keys), 1);
    }

    #[test]
    fn a_key_file_that_others_may_read_is_seen_among_good_ones() {
        let site = tempfile::tempdir().unwrap();
        let tenants: BTreeSet<_> = [1, 2, 3].map(|n| TenantId::from_bytes([n; 16])).into();
        for (tenant, mode) in tenants.iter().take(2).zip([0o600, 0o640]) {
            let folder = site.path().join(format!("meter-{tenant}"));
            create_dir(&folder).unwrap();
            write(folder.join("metering.key"), "k").unwrap();
            set_permissions(folder.join("metering.key"), Permissions::from_mode(mode)).unwrap();
        }
        let seen = file_mode(&site.path().join("control"), &tenants);
        assert_eq!((seen.expected.as_str(), seen.actual.as_str()), ("0600", "0640"));
        let first = tenants.first().copied().into_iter().collect();
        assert_eq!(file_mode(&site.path().join("control"), &first).actual, "0600");
        let last = tenants.last().copied().into_iter().collect();
        assert_eq!(file_mode(&site.path().join("control"), &last).actual, "not on this host");
    }
}
