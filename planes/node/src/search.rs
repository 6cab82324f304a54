//! The search of this host for secrets in logs (OPS-2): what zones hide from each other, their node can read.

use crate::folders::{is_zone, tenant_of_data};
use api::placement::{HostSearch, PLACEMENTS_MAX};
use core::pin::Pin;
use host::files;
use host::secrets::{Search, Wanted};
use serve::client::CallError;
use serve::identity::ControlPlane;
use std::path::{Path, PathBuf};
use terms::{TenantId, Timestamp};

/// The largest answer to a report: none.
const ANSWER_MAX: usize = 16 * 1024;

/// Most bytes of a data plane's root key.
const KEY_FILE_MAX: usize = 256;

type UnderWay = Pin<Box<dyn Future<Output = Result<(), CallError>> + Send>>;

/// One search for each question, beside supervision.
pub(crate) struct Searches {
    to: ControlPlane,
    state_dir: PathBuf,
    /// The question that is answered, or is being answered.
    asked_at: Option<Timestamp>,
    under_way: Option<UnderWay>,
}

impl Searches {
    pub(crate) const fn new(to: ControlPlane, state_dir: PathBuf) -> Self {
        Self { to, state_dir, asked_at: None, under_way: None }
    }

    /// The control plane asks, again and again until it has its answer.
    pub(crate) fn wanted(&mut self, asked_at: Timestamp) {
        if self.asked_at == Some(asked_at) {
            return;
        }
        self.asked_at = Some(asked_at);
        let (to, state_dir) = (self.to.clone(), self.state_dir.clone());
        self.under_way = Some(Box::pin(async move {
            let searching = tokio::task::spawn_blocking(move || search(&state_dir, asked_at));
            // A search that failed has no answer, which is not green either.
            let Ok(found) = searching.await else { return Ok(()) };
            to.post("/v1/placements/search", &found, ANSWER_MAX).await
        }));
    }

    /// Goes on with the search that is under way, if there is one. A call that is dropped before it resolves goes on
    /// the next time.
    pub(crate) async fn carry(&mut self) {
        let Some(under_way) = &mut self.under_way else { return core::future::pending().await };
        let told = under_way.await;
        self.under_way = None;
        if let Err(error) = told {
            tracing::debug!(%error, "what a search found could not be told");
            self.asked_at = None;
        }
    }
}

/// Searches the node's own folder and log, and those of every tenant's zones.
fn search(state_dir: &Path, asked_at: Timestamp) -> HostSearch {
    let names = std::fs::read_dir(state_dir).into_iter().flatten().flatten();
    let zones: Vec<String> = names
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name == "node" || is_zone(name))
        .collect();
    let mut wanted = Wanted::shapes();
    for zone in &zones {
        // What seals a data plane's journal must not stand in a log either.
        if let Ok(key) = files::read_foreign(&state_dir.join(zone).join("root.key"), KEY_FILE_MAX) {
            wanted = wanted.and(key.trim_ascii());
        }
    }
    let mut found = Search::default();
    for zone in &zones {
        wanted.look_in_folder(&state_dir.join(zone), &[], &mut found);
    }
    wanted.look_in_own_start(&mut found);
    wanted.look_in_own_log(&mut found);
    let tenants = zones.iter().filter_map(|zone| tenant_of_data(zone)).take(PLACEMENTS_MAX);
    HostSearch {
        asked_at,
        tenants: tenants.collect::<Vec<TenantId>>(),
        secrets_sought: wanted.count(),
        bytes_searched: found.bytes,
        unread: found.unread,
        found_in: found.found_in,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serve::ca::Authority;
    use serve::identity::ControlPlaneAt;
    use std::fs::{create_dir_all, write};

    #[tokio::test]
    async fn a_question_is_answered_once_and_again_if_its_answer_was_not_heard() {
        let site = tempfile::tempdir().unwrap();
        let mut searches = Searches::new(nobody(), site.path().to_owned());
        let asked_at = Timestamp::from_unix_s(1_000);
        searches.wanted(asked_at);
        searches.wanted(asked_at);
        assert!(searches.under_way.is_some());
        searches.carry().await;
        assert!(searches.under_way.is_none() && searches.asked_at.is_none(), "nobody has heard it");
        searches.wanted(asked_at);
        assert!(searches.under_way.is_some());
        searches.under_way = Some(Box::pin(async { Ok(()) }));
        searches.carry().await;
        searches.wanted(asked_at);
        assert!(searches.under_way.is_none(), "it has been heard");
        searches.wanted(asked_at.plus_ms(1));
        assert!(searches.under_way.is_some(), "another question");
    }

    /// A control plane that is away.
    fn nobody() -> ControlPlane {
        let domain = "palisade.internal".parse().unwrap();
        let authority = Authority::create(Timestamp::from_unix_s(0), &domain, 86_400_000).unwrap();
        let at = ControlPlaneAt::new("https://127.0.0.1:1", authority.certificate_pem()).unwrap();
        ControlPlane::anonymous(&at).unwrap()
    }

    #[test]
    fn every_zone_of_the_host_is_searched_and_nothing_else() {
        let site = tempfile::tempdir().unwrap();
        let tenant = TenantId::from_bytes([7; 16]);
        let (data, meter, run) =
            (format!("data-{tenant}"), format!("meter-{tenant}"), format!("run-{tenant}"));
        let leak = "-----BEGIN PRIVATE KEY-----";
        let journal_key = "cd".repeat(32);
        for (folder, file, text) in [
            (data.as_str(), "root.key", journal_key.as_str()),
            (&data, "data.toml", "listen = 1"),
            (&meter, "metering.journal", leak),
            (&run, "dump", leak),
            ("node/logs", "data.log", &journal_key),
            ("control", "log", leak),
            ("home", "notes", leak),
        ] {
            create_dir_all(site.path().join(folder)).unwrap();
            write(site.path().join(folder).join(file), text).unwrap();
        }
        let mut found = search(site.path(), Timestamp::EPOCH);
        found.found_in.sort();
        let expected =
            ["node/logs/data.log".to_owned(), format!("{meter}/metering.journal"), format!("{run}/dump")];
        let mut expected = expected.map(|file| site.path().join(file).display().to_string());
        expected.sort();
        assert_eq!(found.found_in, expected);
        assert_eq!(found.tenants, [tenant]);
        assert!(found.bytes_searched > 0 && found.secrets_sought > 7);
    }
}
