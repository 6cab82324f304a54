//! DATA-1 and DATA-7: the database at rest, and TLS.

use super::facts::Facts;
use crate::observation::{Database, DatabaseFile, DatabaseServer, Listener};

/// The suites of DATA-7, in its order.
pub const SUITES: [&str; 3] =
    ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

/// The one protocol version.
const VERSION: &str = "TLSv1.3";

/// The version before it, which a scan must at least have offered.
const VERSION_BEFORE: &str = "TLSv1.2";

pub(super) fn database(database: &Database, facts: &mut Facts) {
    match database {
        Database::File(file) => database_file(file, facts),
        Database::Server(server) => database_server(server, facts),
    }
}

fn database_file(file: &DatabaseFile, facts: &mut Facts) {
    facts.check("page cipher", &file.cipher, !file.cipher.is_empty(), "there");
    facts.check("opens without the key", file.opens_without_key, !file.opens_without_key, "false");
    facts.some("known plaintexts", file.canaries_stored);
    facts.none("known plaintexts found", file.canaries_found);
    facts.some("bytes searched", file.bytes_searched);
}

fn database_server(server: &DatabaseServer, facts: &mut Facts) {
    facts.check("encryption of files", "the operator's volume, not checked here", true, "");
    facts.some("sensitive columns", server.sensitive_columns);
    facts.none("unsealed columns", server.unsealed_columns);
    facts.some("known plaintexts", server.canaries_stored);
    facts.none("known plaintexts found", server.canaries_found);
}

pub(super) fn listeners(listeners: &[Listener], facts: &mut Facts) {
    facts.some("listeners", listeners.len() as u64);
    for listener in listeners {
        let accepted = &listener.versions_accepted;
        let name = format!("{} versions accepted", listener.name);
        facts.check(&name, accepted.join(", "), accepted == &[VERSION], VERSION);
        let refused = &listener.versions_refused;
        let name = format!("{} versions refused", listener.name);
        let tried = refused.iter().any(|version| version == VERSION_BEFORE);
        facts.check(&name, refused.join(", "), tried, VERSION_BEFORE);
        let name = format!("{} suites", listener.name);
        facts.check(&name, listener.suites.join(", "), listener.suites == SUITES, &SUITES.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::ControlId::{Data1, Data7};
    use crate::judge::tests::{assert_each_breaks, outcome};
    use crate::observation::Observation;
    use crate::outcome::CheckOutcome::Fail;

    #[test]
    fn an_encrypted_file_passes_and_each_part_can_break_it() {
        let good = DatabaseFile {
            cipher: "4.6.1 community".to_owned(),
            opens_without_key: false,
            canaries_stored: 3,
            canaries_found: 0,
            bytes_searched: 1_000,
        };
        assert_each_breaks(
            Data1,
            good,
            |f| Observation::Database(Database::File(f)),
            &[
                |f| f.cipher.clear(),
                |f| f.opens_without_key = true,
                |f| f.canaries_stored = 0,
                |f| f.canaries_found = 1,
                |f| f.bytes_searched = 0,
            ],
        );
    }

    #[test]
    fn a_server_with_sealed_columns_passes_and_each_part_can_break_it() {
        let good = DatabaseServer {
            sensitive_columns: 9,
            unsealed_columns: 0,
            canaries_stored: 3,
            canaries_found: 0,
        };
        assert_each_breaks(
            Data1,
            good,
            |s| Observation::Database(Database::Server(s)),
            &[
                |s| s.sensitive_columns = 0,
                |s| s.unsealed_columns = 1,
                |s| s.canaries_stored = 0,
                |s| s.canaries_found = 1,
            ],
        );
    }

    #[test]
    fn listeners_pass_and_each_part_of_each_can_break_them() {
        let listener = |name: &str| Listener {
            name: name.to_owned(),
            versions_accepted: vec!["TLSv1.3".to_owned()],
            versions_refused: vec!["TLSv1.2".to_owned(), "TLSv1.1".to_owned()],
            suites: SUITES.map(str::to_owned).to_vec(),
        };
        let good = vec![listener("api"), listener("metrics")];
        assert_each_breaks(
            Data7,
            good,
            Observation::Listeners,
            &[
                |l| l[1].versions_accepted.push("TLSv1.2".to_owned()),
                |l| l[0].versions_accepted.clear(),
                |l| l[1].versions_refused.retain(|v| v != "TLSv1.2"),
                |l| l[0].suites.swap(0, 1),
                |l| l[1].suites.truncate(2),
                |l| l[1].suites.push("TLS_AES_128_CCM_SHA256".to_owned()),
            ],
        );
        assert_eq!(outcome(Data7, Observation::Listeners(vec![])), Fail);
    }
}
