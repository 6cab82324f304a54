//! What control checks found.

use crate::error::StoreError;
use crate::permit::reach_platform;
use crate::repositories::AssuranceResults;
use crate::sql::{self, Columns, Source, ms, sql};
use crate::tx::Tx;
use terms::{Digest, Permit, Timestamp};

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssuranceResult {
    /// The control's id.
    pub control: String,
    /// When it was checked.
    pub time: Timestamp,
    /// The outcome's stable text.
    pub outcome: String,
    /// What was seen, JSON; no personal data.
    pub facts: String,
    /// SHA-256 over the evidence.
    pub evidence_digest: Option<Digest>,
}

impl<S: Source> AssuranceResults<'_, S> {
    /// The latest result of each control.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn latest(&mut self, permit: &Permit) -> Result<Vec<AssuranceResult>, StoreError> {
        reach_platform(permit)?;
        let statement = sql(
            "SELECT control, time, outcome, facts, evidence_digest FROM assurance_results AS r \
             WHERE time = (SELECT max(time) FROM assurance_results WHERE control = r.control) ORDER BY control",
        );
        let mut results = Vec::new();
        for row in sql::all(self.0, statement).await? {
            let mut columns = Columns::of(&row);
            results.push(AssuranceResult {
                control: columns.text()?,
                time: columns.time()?,
                outcome: columns.text()?,
                facts: columns.text()?,
                evidence_digest: columns.digest_or_none("assurance_results.evidence_digest")?,
            });
        }
        Ok(results)
    }
}

impl AssuranceResults<'_, Tx> {
    /// Keeps a result.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn insert(&mut self, permit: &Permit, result: &AssuranceResult) -> Result<(), StoreError> {
        reach_platform(permit)?;
        let statement =
            sql("INSERT INTO assurance_results (control, time, outcome, facts, evidence_digest) \
                             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (control, time) DO NOTHING")
            .bind(result.control.clone())
            .bind(ms(result.time))
            .bind(result.outcome.clone())
            .bind(result.facts.clone())
            .bind(result.evidence_digest.map(|digest| digest.as_bytes().to_vec()));
        sql::run(self.0, statement).await.map(drop)
    }
}
