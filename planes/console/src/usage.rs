//! Usage, as the sidecars metered it.

use crate::client::{Call, Client};
use crate::failure::Outcome;
use crate::output::{Card, Format, Output, columns, or_dash};
use crate::tenant::Choice;
use api::usage::{UsageQuery, UsageView};
use terms::Timestamp;
use wire::heartbeat::Totals;

/// Shows a tenant's metered usage
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  palisade usage
  palisade usage --tenant acme --hours
  palisade usage --tenant acme --from 2026-11-01T00:00:00Z --to 2026-12-01T00:00:00Z -o json")]
pub(crate) struct Options {
    #[command(flatten)]
    tenant: Choice,
    /// From this hour, RFC 3339; the beginning if absent
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Up to, without, this hour; now if absent
    #[arg(long, value_name = "TIME")]
    to: Option<Timestamp>,
    /// Shows each hour too
    #[arg(long)]
    hours: bool,
}

/// Shows it.
///
/// # Errors
/// [`crate::failure::Failure`].
pub(crate) async fn run(options: Options, client: &Client, output: &mut Output<'_>) -> Outcome {
    let query = UsageQuery { from: options.from, to: options.to };
    let tenant = options.tenant.pick(client).await?;
    let usage: UsageView = client.send(Call::to("usage").at(tenant).query(&query)).await?;
    output.one(&usage)?;
    if options.hours && output.format() == Format::Table {
        output.text(&format!("\n{}", columns(&hours(&usage))))?;
    }
    Ok(())
}

fn hours(usage: &UsageView) -> Vec<Vec<String>> {
    let header = core::iter::once("HOUR".to_owned());
    let header = header.chain(Totals::UNITS.iter().map(|(name, _)| name.to_uppercase())).collect();
    let rows = usage.hours.iter().map(|hour| {
        let units = Totals::UNITS.iter().map(|(_, unit)| unit(&hour.added).to_string());
        core::iter::once(hour.hour.to_string()).chain(units).collect()
    });
    core::iter::once(header).chain(rows).collect()
}

impl Card for UsageView {
    fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![
            ("tenant", self.tenant.to_string()),
            ("as of", or_dash(self.as_of)),
            ("heartbeats", self.heartbeats.to_string()),
        ];
        fields.extend(Totals::UNITS.iter().map(|(name, unit)| (*name, unit(&self.totals).to_string())));
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::usage::UsageHour;
    use terms::TenantId;

    #[test]
    fn every_unit_is_shown_in_the_totals_and_in_each_hour() {
        let totals = Totals { steps: 41, ..Totals::default() };
        let usage = UsageView {
            tenant: TenantId::from_bytes([1; 16]),
            totals,
            as_of: None,
            heartbeats: 2,
            hours: vec![UsageHour { hour: Timestamp::EPOCH, added: totals }],
        };
        let fields = usage.fields();
        for (name, _) in Totals::UNITS {
            assert!(fields.iter().any(|(field, _)| *field == name), "{name}");
        }
        assert!(fields.contains(&("as of", "-".to_owned())));
        let table = hours(&usage);
        assert_eq!(table[0].len(), Totals::UNITS.len() + 1);
        assert!(table[1].contains(&"41".to_owned()));
    }
}
