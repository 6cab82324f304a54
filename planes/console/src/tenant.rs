//! Tenants.

use crate::client::{Call, Client, LIST_MAX};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Card, Output, Row};
use api::tenant::{CreateTenant, SuspendReason, SuspendTenant, TenantView};
use terms::{Name, TenantRef};

/// Creates, lists and suspends tenants
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Creates a tenant; a node then starts its data plane and sidecar
    #[command(after_help = "Examples:\n  palisade tenant create acme")]
    Create {
        /// Its name: 1 to 63 characters of a-z, 0-9 and `-`
        name: Name,
    },
    /// Lists tenants
    #[command(after_help = "Examples:\n  palisade tenant list\n  palisade tenant list -o json")]
    List {
        /// Most tenants to list
        #[arg(long, default_value_t = LIST_MAX)]
        limit: u32,
    },
    /// Shows a tenant
    #[command(after_help = "Examples:\n  palisade tenant show acme")]
    Show {
        /// Its name or id
        #[arg(value_parser = reference)]
        tenant: String,
    },
    /// Stops a tenant from starting anything new
    #[command(after_help = "\
Examples:
  palisade tenant suspend acme
  palisade tenant suspend acme --reason incident")]
    Suspend {
        /// Its name or id
        #[arg(value_parser = reference)]
        tenant: String,
        /// Why, for the audit log
        #[arg(long, value_enum, default_value_t)]
        reason: Reason,
    },
    /// Lets a suspended tenant run again
    #[command(after_help = "Examples:\n  palisade tenant resume acme")]
    Resume {
        /// Its name or id
        #[arg(value_parser = reference)]
        tenant: String,
    },
    /// Deletes a tenant and everything that it owns
    #[command(after_help = "Examples:\n  palisade tenant delete acme --yes")]
    Delete {
        /// Its name or id
        #[arg(value_parser = reference)]
        tenant: String,
        /// Says that it is meant: nothing of the tenant comes back
        #[arg(long)]
        yes: bool,
    },
}

/// Why a tenant is suspended.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
pub(crate) enum Reason {
    /// An operator decided so
    #[default]
    Operator,
    /// An incident is being contained
    Incident,
    /// Bills are open
    Billing,
    /// The customer asked for it
    CustomerRequest,
}

/// Which tenant a command is about.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Choice {
    /// The tenant's name or id; may be left out while there is exactly one
    #[arg(long, value_name = "TENANT", value_parser = reference)]
    pub tenant: Option<String>,
}

/// Runs a command about tenants.
///
/// # Errors
/// [`Failure`].
pub(crate) async fn run(command: Command, client: &Client, output: &mut Output<'_>) -> Outcome {
    let shown: TenantView = match command {
        Command::Create { name } => {
            client.send(Call::to("create_tenant").body(&CreateTenant { name })).await?
        }
        Command::List { limit } => {
            return output.list::<TenantView>(&client.list(Call::to("list_tenants"), limit).await?);
        }
        Command::Show { tenant } => client.send(Call::to("show_tenant").at(tenant)).await?,
        Command::Suspend { tenant, reason } => {
            let body = SuspendTenant { reason: reason.into() };
            client.send(Call::to("suspend_tenant").at(tenant).body(&body)).await?
        }
        Command::Resume { tenant } => client.send(Call::to("resume_tenant").at(tenant)).await?,
        Command::Delete { tenant, yes } => return delete(&tenant, yes, client, output).await,
    };
    output.one(&shown)
}

async fn delete(tenant: &str, is_meant: bool, client: &Client, output: &mut Output<'_>) -> Outcome {
    if !is_meant {
        return Err(Failure::usage(
            format!("deleting `{tenant}` destroys its workflows, executions, outputs and keys for good"),
            format!("say that it is meant: palisade tenant delete {tenant} --yes"),
        ));
    }
    let () = client.send(Call::to("delete_tenant").at(tenant)).await?;
    output.text(&format!("deleted `{tenant}`\n"))
}

impl Choice {
    /// The tenant that was named, or the only one there is.
    ///
    /// # Errors
    /// When there is none, or more than one to choose from.
    pub(crate) async fn pick(&self, client: &Client) -> Outcome<String> {
        if let Some(tenant) = &self.tenant {
            return Ok(tenant.clone());
        }
        let tenants: Vec<TenantView> = client.list(Call::to("list_tenants"), AMBIGUOUS).await?;
        only(&tenants).map(|tenant| tenant.id.to_string())
    }
}

/// How many tenants are enough to know that there is more than one.
const AMBIGUOUS: u32 = 2;

fn only(tenants: &[TenantView]) -> Outcome<&TenantView> {
    match tenants {
        [only] => Ok(only),
        [] => Err(Failure::new(
            Exit::NotFound,
            "not_found",
            "there is no tenant yet",
            "create one: palisade tenant create NAME",
        )),
        _ => Err(Failure::usage(
            "there is more than one tenant",
            "name one: --tenant NAME (palisade tenant list shows them)",
        )),
    }
}

/// Reads a tenant's name or id from the command line.
pub(crate) fn reference(text: &str) -> Result<String, terms::NameError> {
    text.parse::<TenantRef>().map(|_| text.to_owned())
}

impl From<Reason> for SuspendReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Operator => Self::Operator,
            Reason::Incident => Self::Incident,
            Reason::Billing => Self::Billing,
            Reason::CustomerRequest => Self::CustomerRequest,
        }
    }
}

impl Row for TenantView {
    const COLUMNS: &'static [&'static str] = &["NAME", "STATE", "CREATED", "ID"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.to_string(),
            self.state.as_str().to_owned(),
            self.created_at.to_string(),
            self.id.to_string(),
        ]
    }
}

impl Card for TenantView {
    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("name", self.name.to_string()),
            ("id", self.id.to_string()),
            ("state", self.state.as_str().to_owned()),
            ("created", self.created_at.to_string()),
            ("updated", self.updated_at.to_string()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::tenant::TenantState;
    use terms::{TenantId, Timestamp};

    #[test]
    fn the_only_tenant_needs_no_name_and_of_two_one_must_be_named() {
        let (a, b) = (tenant("a"), tenant("b"));
        assert_eq!(only(core::slice::from_ref(&a)).unwrap().name.as_str(), "a");
        assert_eq!(only(&[]).unwrap_err().exit, Exit::NotFound);
        assert_eq!(only(&[a, b]).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn a_reference_that_could_leave_its_place_in_a_url_is_refused() {
        for bad in ["", "a/b", "..", "A", "a b", "0190A000-0000-7000-8000-000000000000"] {
            assert!(reference(bad).is_err(), "{bad}");
        }
        assert!(reference("acme").is_ok() && reference("0190a000-0000-7000-8000-000000000000").is_ok());
    }

    fn tenant(name: &str) -> TenantView {
        TenantView {
            id: TenantId::from_bytes([1; 16]),
            name: name.parse().unwrap(),
            state: TenantState::Active,
            created_at: Timestamp::EPOCH,
            updated_at: Timestamp::EPOCH,
        }
    }
}
