//! A flow that is open: what may be said about it, and that it ends when its tenant is not live any more.

use super::super::volley::{End, Ends, Shot};
use super::super::wire::{self, FRAGMENTATION_NEEDED, Load, Packet, UNREACHABLE};
use super::super::world::{HOST, Spot};
use super::bench::{Bench, Fault, LATE, LOOK};
use super::odd::{data_plane, tenant};
use rustix::net::sockopt;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Somebody on the internet who talks.
pub(super) const FRIEND: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 35);

/// Another kind of error, of which ICMP has no fourth (RFC 792).
const TIME_EXCEEDED: u8 = 11;

/// Whether the router's table that is loaded now does with a flow of tenant 1 what it should.
pub(super) async fn are_cut(bench: &mut Bench) -> Result<(), Fault> {
    let namespace = bench.world.spot(tenant(1)).await;
    let to = SocketAddr::new(IpAddr::V4(FRIEND), 443);
    let connected = namespace.enter(move |_| TcpStream::connect_timeout(&to, LATE)).await.unwrap();
    let mut stream = connected.map_err(|error| other(format!("tenant 1 cannot connect: {error}")))?;
    // Its end makes it silent: it would repeat itself for minutes.
    sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    let said = say(bench, &mut stream);
    let out = arrival(bench, said, Spot::Internet).await?;
    let back = arrival(bench, said, tenant(1)).await?;
    let errors = [
        error(UNREACHABLE, FRAGMENTATION_NEEDED, &out, End::At(tenant(1))),
        error(UNREACHABLE, 1, &out, End::Nowhere),
        error(TIME_EXCEEDED, FRAGMENTATION_NEEDED, &out, End::Nowhere),
        error_from_tenant(&back),
    ];
    related(bench, &errors, 3).await?;
    bench.run("delete element inet palisade live { 1 }".to_owned()).await;
    let late = error(UNREACHABLE, FRAGMENTATION_NEEDED, &out, End::Nowhere);
    let dead = match is_cut(bench, &mut stream).await {
        Ok(()) => related(bench, &[late], 1).await,
        Err(fault) => Err(fault),
    };
    bench.run("add element inet palisade live { 1 }".to_owned()).await;
    dead?;
    is_cut(bench, &mut stream).await
}

/// Whether what the flow says goes nowhere, and is counted.
async fn is_cut(bench: &mut Bench, stream: &mut TcpStream) -> Result<(), Fault> {
    let before = bench.counts()["dropped_cut"];
    let said = say(bench, stream);
    let start = Instant::now();
    while start.elapsed() < LATE {
        let count = bench.counts()["dropped_cut"];
        if bench.range.arrival(said, Spot::Internet).is_some() {
            return Err(Fault::Leak("a flow that was cut goes on".to_owned()));
        }
        if count > before {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(other("a flow that was cut is not counted"))
}

fn say(bench: &mut Bench, stream: &mut TcpStream) -> u32 {
    let number = bench.range.number();
    stream.write_all(&wire::trailer(number)).unwrap();
    number
}

/// How a part of the stream looked when it arrived there.
async fn arrival(bench: &mut Bench, number: u32, spot: Spot) -> Result<Vec<u8>, Fault> {
    let start = Instant::now();
    while start.elapsed() < LATE {
        if let Some(packet) = bench.range.arrival(number, spot) {
            return Ok(packet.to_vec());
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(other("an open flow is not answered"))
}

/// Whether the errors end where they should, and as many were counted.
async fn related(bench: &mut Bench, errors: &[Shot], dropped: u64) -> Result<(), Fault> {
    let wanted = Ends::wanted(errors);
    let before = bench.counts()["dropped_related"];
    let first = bench.range.throw(errors);
    let start = Instant::now();
    loop {
        let more = bench.counts()["dropped_related"] - before;
        let ends = bench.range.ends(first, errors.len());
        if let Some(leak) = ends.leak(&wanted, errors) {
            return Err(Fault::Leak(leak));
        }
        let loss = ends.loss(&wanted, errors);
        if loss.is_none() && more == dropped {
            return Ok(());
        }
        if start.elapsed() > LATE {
            return Err(other(loss.unwrap_or_else(|| format!("{more} errors were counted, not {dropped}"))));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// An error about a packet of tenant 1, from whom it was for.
fn error(kind: u8, code: u8, about: &[u8], end: End) -> Shot {
    let load = Load::Error { kind, code, about: about.to_vec() };
    let packet = Packet { source: FRIEND.into(), destination: HOST.into(), load };
    Shot::new(format!("ICMP {kind} {code} about an open flow"), Spot::Internet, packet, end)
}

/// An error about an answer to tenant 1, from itself.
fn error_from_tenant(about: &[u8]) -> Shot {
    let load = Load::Error { kind: UNREACHABLE, code: FRAGMENTATION_NEEDED, about: about.to_vec() };
    let packet = Packet { source: data_plane(1).into(), destination: FRIEND.into(), load };
    Shot::new("an error from tenant 1", tenant(1), packet, End::Nowhere)
}

fn other(what: impl Into<String>) -> Fault {
    Fault::Other(what.into())
}
