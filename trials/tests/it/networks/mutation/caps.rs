//! More connections than one may have.

use super::super::volley::{End, Shot};
use super::super::wire::Packet;
use super::super::world::Spot;
use super::bench::{Bench, Fault, LATE, LOOK};
use super::odd::{NOBODY, tcp};
use network::addresses::{CONTROL_MARK, CONTROL_PLANE};
use network::ruleset::{Atom, Ruleset};
use network::{Addresses, CONTROL_CONNECTIONS_MAX, Namespace as Place};
use std::time::Instant;

/// How many connections more than a cap are begun.
const ABOVE: u64 = 16;

/// How many may be counted that were begun before, the last of which the kernel has not cleared away.
const BEFORE_MAX: u64 = 40;

/// Whether the router's `table`, which is loaded now, stops everybody at his cap.
pub(super) async fn hold(bench: &mut Bench, table: &Ruleset, right: &Ruleset) -> Result<(), Fault> {
    let live = bench.world.desired.tenants().iter().filter(|tenant| tenant.live);
    let rows: Vec<_> = live
        .map(|live| {
            let from = Addresses::of(live.number).data_plane;
            (Spot::Of(Place::Tenant(live.number)), tcp(from, NOBODY, 443), live.connections_max)
        })
        .collect();
    for (spot, packet, max) in rows {
        holds(bench, spot, packet, max.into()).await?;
    }
    // The control plane's many connections take seconds: only where they can make a difference.
    let mark = [Atom::Number(CONTROL_MARK)];
    if table.sets["caps"].elements.get(&mark[..]) != right.sets["caps"].elements.get(&mark[..]) {
        let packet = tcp(CONTROL_PLANE, NOBODY, 5432);
        holds(bench, Spot::Of(Place::ControlPlane), packet, CONTROL_CONNECTIONS_MAX.into()).await?;
    }
    Ok(())
}

async fn holds(bench: &mut Bench, spot: Spot, packet: Packet, max: u64) -> Result<(), Fault> {
    let half_open = Shot::new("a connection of many", spot, packet, End::Nowhere);
    let shots = vec![half_open; usize::try_from(max + ABOVE).unwrap()];
    let before = bench.counts()["dropped_cap"];
    let first = bench.range.throw(&shots);
    let start = Instant::now();
    loop {
        let dropped = bench.counts()["dropped_cap"] - before;
        let arrived = u64::try_from(bench.range.ends(first, shots.len()).arrived.len()).unwrap();
        if arrived > max {
            return Err(Fault::Leak(format!("{arrived} connections of {spot:?} are more than {max}")));
        }
        if arrived + dropped == max + ABOVE && dropped <= ABOVE + BEFORE_MAX {
            return Ok(());
        }
        if start.elapsed() > LATE {
            let what = format!("of {spot:?}, {arrived} connections arrived and {dropped} were dropped");
            return Err(Fault::Other(what));
        }
        tokio::time::sleep(LOOK).await;
    }
}
