//! OPS-2: a search for secrets in every zone's logs and files, command lines and kept texts.
//!
//! Zones are closed to each other: this process searches what is its own, and each node searches its host. A zone
//! that nobody searched, and a file that nobody could read, are said to be unread; they are not clean.

use super::super::{Looked, NoMeans, sample};
use crate::app::App;
use ::assurance::{Observation, SecretSearch};
use api::placement::HostSearch;
use host::files;
use host::secrets::{Search, Wanted};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use store::{LIMIT_MAX, Page};
use terms::TenantId;
use zeroize::Zeroizing;

/// Most bytes of a key file.
const KEY_FILE_MAX: usize = 256;

/// OPS-2: all zones, searched for anything that has the form of a secret; this one for the root key too.
pub(in crate::assurance) async fn ops_2(app: &App) -> Looked {
    let wanted: BTreeSet<TenantId> =
        sample::data_planes(app).await?.into_iter().map(|plane| plane.tenant).collect();
    let everybody = |answers: &std::collections::BTreeMap<_, HostSearch>| {
        !answers.is_empty() && missing(&wanted, answers.values()).is_empty()
    };
    let (own, hosts) = tokio::join!(own(app), app.host_searches.ask(app.clock.now(), everybody));
    let (secrets_sought, own) = own?;
    Ok(Observation::Secrets(together(secrets_sought, own, &wanted, hosts)))
}

/// What this process can read of itself, and what it keeps as text.
async fn own(app: &App) -> Result<(u64, Search), NoMeans> {
    let root = files::read_private(&app.config.root_key_file, KEY_FILE_MAX).map_err(NoMeans::new)?;
    let wanted = Wanted::shapes().and(Zeroizing::new(root).trim_ascii());
    let kept = kept_texts(app).await?;
    let mut keep_out = vec![app.config.root_key_file.clone()];
    keep_out.extend(app.config.tls.as_ref().map(|own| own.key_file.clone()));
    keep_out.extend(app.config.database.url_file.clone());
    let folder = app.config.state_dir.clone();
    let search = move || {
        let mut search = Search::default();
        for (place, text) in &kept {
            wanted.look(place, text, &mut search);
        }
        wanted.look_in_own_start(&mut search);
        let keep_out: Vec<&Path> = keep_out.iter().map(PathBuf::as_path).collect();
        wanted.look_in_folder(&folder, &keep_out, &mut search);
        wanted.look_in_own_log(&mut search);
        (wanted.count(), search)
    };
    tokio::task::spawn_blocking(search).await.map_err(NoMeans::new)
}

/// The newest audit entries and security events, as texts.
async fn kept_texts(app: &App) -> Result<Vec<(&'static str, Vec<u8>)>, NoMeans> {
    let permit = sample::permit(app)?;
    let mut reader = app.store.read().await?;
    let page = Page::first(LIMIT_MAX);
    let (entries, _) = reader.audit_log().list(&permit, &page).await?;
    let (events, _) = reader.events().list(&permit, &page).await?;
    let mut texts = Vec::with_capacity(entries.len() + events.len());
    for row in entries {
        texts.push(("audit log", serde_json::to_vec(&row.entry).map_err(NoMeans::new)?));
    }
    for event in events {
        texts.push(("security events", serde_json::to_vec(&event).map_err(NoMeans::new)?));
    }
    Ok(texts)
}

/// The tenants whose data plane and sidecar no node has searched.
fn missing<'a>(
    wanted: &BTreeSet<TenantId>,
    hosts: impl Iterator<Item = &'a HostSearch>,
) -> BTreeSet<TenantId> {
    let searched: BTreeSet<TenantId> = hosts.flat_map(|host| host.tenants.iter().copied()).collect();
    wanted.difference(&searched).copied().collect()
}

fn together(
    secrets_sought: u64,
    own: Search,
    wanted: &BTreeSet<TenantId>,
    hosts: Vec<HostSearch>,
) -> SecretSearch {
    let unsearched = missing(wanted, hosts.iter());
    let mut whole = SecretSearch {
        secrets_sought,
        bytes_searched: own.bytes,
        hosts_searched: hosts.len() as u64,
        tenants_searched: (wanted.len() - unsearched.len()) as u64,
        unread: own.unread,
        found_in: own.found_in,
    };
    whole.unread.extend(unsearched.iter().map(|tenant| format!("zones of tenant {tenant}")));
    if hosts.is_empty() {
        whole.unread.push("nodes: none has answered".to_owned());
    }
    for host in hosts {
        whole.secrets_sought = whole.secrets_sought.max(host.secrets_sought);
        whole.bytes_searched += host.bytes_searched;
        whole.unread.extend(host.unread);
        whole.found_in.extend(host.found_in);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::assurance::CheckOutcome::{Fail, NotRun, Pass};
    use ::assurance::{CheckOutcome, ControlId, judge};
    use terms::Timestamp;

    const TENANTS: [TenantId; 2] = [TenantId::from_bytes([1; 16]), TenantId::from_bytes([2; 16])];

    #[test]
    fn only_a_search_of_every_zone_is_green() {
        let cases: [(&str, CheckOutcome, Search, Vec<HostSearch>); 8] = [
            ("all on one host", Pass, own(), vec![host(&TENANTS)]),
            ("each on its own host", Pass, own(), vec![host(&TENANTS[..1]), host(&TENANTS[1..])]),
            ("no node answers", NotRun, own(), vec![]),
            ("a tenant's zones are missing", NotRun, own(), vec![host(&TENANTS[..1])]),
            ("a file here is unread", NotRun, Search { unread: place(), ..own() }, vec![host(&TENANTS)]),
            ("a file there is unread", NotRun, own(), vec![HostSearch { unread: place(), ..host(&TENANTS) }]),
            ("found here", Fail, Search { found_in: place(), ..own() }, vec![]),
            ("found there", Fail, own(), vec![HostSearch { found_in: place(), ..host(&TENANTS[..1]) }]),
        ];
        for (case, expected, own, hosts) in cases {
            let seen = Observation::Secrets(together(8, own, &TENANTS.into(), hosts));
            assert_eq!(judge(ControlId::Ops2, &seen).outcome, expected, "{case}");
        }
    }

    fn place() -> Vec<String> {
        vec!["log".to_owned()]
    }

    fn own() -> Search {
        Search { bytes: 10, ..Search::default() }
    }

    fn host(tenants: &[TenantId]) -> HostSearch {
        HostSearch {
            asked_at: Timestamp::EPOCH,
            tenants: tenants.to_vec(),
            secrets_sought: 7,
            bytes_searched: 10,
            unread: Vec::new(),
            found_in: Vec::new(),
        }
    }
}
