//! Asks for names on behalf of tenants, so many at once and no more.

use crate::config;
use crate::start::StartError;
use ::names::{Ask, Outcome, Query};
use resolve::{Resolver, Transport, Unanswered, servers_of_this_host};
use serve::tls::{self, Roots};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use terms::TenantId;

/// Questions under way at once: a hundredfold of what servers that answer need, and little memory if they do not.
const AT_ONCE: usize = 128;

/// Questions of one tenant under way at once: its zones may be as slow as they like, and others still get a turn.
const OF_A_TENANT: usize = 16;

/// Where this host's own name servers stand.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Asks for names.
#[derive(Debug)]
pub(crate) struct Names {
    /// None if this host names no servers: then nobody knows any name.
    resolver: Option<Resolver>,
    under_way: Mutex<UnderWay>,
}

/// Says that too much is asked at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overloaded;

/// What came of a query, for its answer and for those who watch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) outcome: Outcome,
    /// Why nobody knows.
    pub(crate) unanswered: Option<Unanswered>,
    /// Addresses that were left out because they are not public.
    pub(crate) not_public: u64,
}

#[derive(Debug, Default)]
struct UnderWay {
    all: usize,
    of: BTreeMap<TenantId, usize>,
}

/// One question's place; it is given back however the question ends.
struct Place<'a> {
    names: &'a Names,
    tenant: TenantId,
}

// === impl Names ===

impl Names {
    /// Asks the configured servers, or those that this host asks itself.
    pub(crate) fn open(config: Option<&config::Names>) -> Result<Self, StartError> {
        let resolver = match config {
            Some(config) => Some(Resolver::new(&config.upstreams, &transport(config)?)?),
            None => match servers_of_this_host(Path::new(RESOLV_CONF)) {
                Ok(servers) => Some(Resolver::new(&servers, &Transport::Tcp)?),
                Err(error) => {
                    tracing::warn!(%error, "no data plane can resolve names here; set `[names] upstreams`");
                    None
                }
            },
        };
        Ok(Self { resolver, under_way: Mutex::default() })
    }

    /// Finds out what a query asks for.
    pub(crate) async fn answer(&self, tenant: TenantId, query: &Query) -> Result<Answered, Overloaded> {
        let host = match query.ask() {
            Ask::Settled(outcome) => return Ok(Answered::of(outcome)),
            Ask::Addresses(host) => host,
        };
        let Some(resolver) = &self.resolver else {
            return Ok(Answered::unanswered(Unanswered::Unreachable));
        };
        let _place = self.place(tenant)?;
        match resolver.resolve(&host).await {
            Ok(outcome) => {
                let (outcome, dropped) = outcome.public();
                Ok(Answered { not_public: dropped as u64, ..Answered::of(outcome) })
            }
            Err(why) => Ok(Answered::unanswered(why)),
        }
    }

    fn place(&self, tenant: TenantId) -> Result<Place<'_>, Overloaded> {
        let mut under_way = self.under_way();
        let own = under_way.of.get(&tenant).copied().unwrap_or(0);
        if under_way.all >= AT_ONCE || own >= OF_A_TENANT {
            return Err(Overloaded);
        }
        under_way.all += 1;
        under_way.of.insert(tenant, own + 1);
        Ok(Place { names: self, tenant })
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut under_way = self.names.under_way();
        under_way.all = under_way.all.saturating_sub(1);
        match under_way.of.get_mut(&self.tenant) {
            Some(own) if *own > 1 => *own -= 1,
            Some(_) | None => drop(under_way.of.remove(&self.tenant)),
        }
    }
}

// === impl Answered ===

impl Answered {
    const fn of(outcome: Outcome) -> Self {
        Self { outcome, unanswered: None, not_public: 0 }
    }

    const fn unanswered(why: Unanswered) -> Self {
        Self { outcome: Outcome::Failed, unanswered: Some(why), not_public: 0 }
    }

    /// Why somebody should look at it, if anybody should.
    pub(crate) fn denied(&self) -> Option<&'static str> {
        if self.not_public > 0 {
            return Some("name.not_public");
        }
        (self.outcome == Outcome::Refused).then_some("name.refused")
    }
}

fn transport(config: &config::Names) -> Result<Transport, StartError> {
    match config.server_name()? {
        None => Ok(Transport::Tcp),
        Some(name) => Ok(Transport::Tls { name, config: tls::client_config(&Roots::native(), None)? }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{Message, MessageType, OpCode, Query as Question};
    use hickory_proto::rr::rdata::A;
    use hickory_proto::rr::{Name, RData, Record, RecordType};
    use std::net::Ipv4Addr;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn addresses_that_are_not_public_are_left_out_and_said() {
        let names = names(serve().await);
        let public = Ipv4Addr::new(93, 184, 216, 34);
        let rows = [
            ("public.example", Some(public), 0, None),
            ("mixed.example", Some(public), 1, Some("name.not_public")),
            ("private.example", None, 2, Some("name.not_public")),
            ("metadata", None, 0, Some("name.refused")),
        ];
        for (host, address, not_public, denied) in rows {
            let answered = names.answer(tenant(1), &query(host)).await.unwrap();
            assert_eq!((answered.not_public, answered.denied()), (not_public, denied), "{host}");
            match (&answered.outcome, address) {
                (Outcome::Found(found), Some(address)) => assert_eq!(found.addresses(), [address], "{host}"),
                (Outcome::Refused, None) => {}
                (other, _) => panic!("{host}: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_host_without_name_servers_knows_no_name() {
        let names = Names { resolver: None, under_way: Mutex::default() };
        let answered = names.answer(tenant(1), &query("public.example")).await.unwrap();
        assert_eq!(answered, Answered::unanswered(Unanswered::Unreachable));
    }

    #[test]
    fn one_tenant_takes_its_share_of_places_and_no_more() {
        let names = Names { resolver: None, under_way: Mutex::default() };
        let mut own: Vec<_> = (0..OF_A_TENANT).map(|_| names.place(tenant(1)).unwrap()).collect();
        assert!(names.place(tenant(1)).is_err());
        let _other = names.place(tenant(2)).unwrap();
        own.pop();
        let _again = names.place(tenant(1)).unwrap();
    }

    #[test]
    fn all_tenants_together_take_what_there_is_and_give_it_back() {
        let names = Names { resolver: None, under_way: Mutex::default() };
        let places: Vec<_> = (0..AT_ONCE)
            .map(|n| names.place(tenant(u8::try_from(n / OF_A_TENANT).unwrap())).unwrap())
            .collect();
        assert!(names.place(tenant(0xff)).is_err());
        drop(places);
        assert!(names.under_way().all == 0 && names.under_way().of.is_empty());
        names.place(tenant(0xff)).unwrap();
    }

    #[tokio::test]
    async fn a_question_that_is_given_up_gives_its_place_back() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let names = names(silent.local_addr().unwrap());
        let query = query("public.example");
        let mut asking = core::pin::pin!(names.answer(tenant(1), &query));
        assert!(futures_util::poll!(asking.as_mut()).is_pending());
        assert_eq!(names.under_way().all, 1);
        asking.set(names.answer(tenant(1), &query));
        assert_eq!(names.under_way().all, 0);
    }

    fn names(server: std::net::SocketAddr) -> Names {
        Names::open(Some(&config::Names { upstreams: vec![server], tls_name: None })).unwrap()
    }

    fn tenant(n: u8) -> TenantId {
        TenantId::from_bytes([n; 16])
    }

    fn query(host: &str) -> Query {
        let mut message = Message::new(0, MessageType::Query, OpCode::Query);
        message.add_query(Question::query(Name::from_ascii(format!("{host}.")).unwrap(), RecordType::A));
        Query::read(&message.to_vec().unwrap()).unwrap()
    }

    /// A name server that knows three names.
    async fn serve() -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            while let Ok(length) = stream.read_u16().await {
                let mut bytes = vec![0; length.into()];
                stream.read_exact(&mut bytes).await.unwrap();
                let asked = Message::from_vec(&bytes).unwrap();
                let name = asked.queries[0].name.clone();
                let addresses: &[[u8; 4]] = match name.to_ascii().as_str() {
                    "public.example." => &[[93, 184, 216, 34]],
                    "mixed.example." => &[[10, 101, 0, 10], [93, 184, 216, 34]],
                    "private.example." => &[[169, 254, 169, 254], [127, 0, 0, 1]],
                    other => panic!("{other}"),
                };
                let mut answer = Message::response(asked.id, OpCode::Query);
                answer.add_query(asked.queries[0].clone());
                answer.add_answers(addresses.iter().map(|address| {
                    Record::from_rdata(name.clone(), 60, RData::A(A(Ipv4Addr::from(*address))))
                }));
                let bytes = answer.to_vec().unwrap();
                stream.write_u16(bytes.len().try_into().unwrap()).await.unwrap();
                stream.write_all(&bytes).await.unwrap();
            }
        });
        addr
    }
}
