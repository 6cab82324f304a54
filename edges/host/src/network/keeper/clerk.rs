//! One namespace's tables: loaded, listed and counted on a thread that stands in it.

use super::protocol::{Answer, Code, Generation};
use super::server::KeeperFault;
use super::{FLOOR_TABLE, TABLE, commands};
use crate::confine::{CapabilitySet, keep_thread_capabilities};
use crate::network::namespace::Inside;
use crate::network::nftables::Nftables;
use crate::network::{Nft, Watch};
use std::io;
use std::sync::mpsc::{self, Receiver, Sender};

/// What is at hand in a namespace.
pub(super) struct Clerk<'inside> {
    nft: Nft<'inside>,
    nftables: Nftables<'inside>,
    watch: Watch,
}

/// What a clerk is asked to do.
pub(super) enum Order {
    /// Run a ruleset.
    Load(String),
    /// List every table.
    List,
    /// Say the generation.
    Generation,
}

/// A clerk on another thread, which stays where it was begun.
pub(super) struct Remote {
    orders: Sender<(Order, Sender<Answer>)>,
}

impl<'inside> Clerk<'inside> {
    pub(super) fn open(inside: &'inside Inside) -> Result<Self, KeeperFault> {
        Ok(Self {
            nft: Nft::open(inside)?,
            nftables: Nftables::open(inside).map_err(KeeperFault::Nftables)?,
            watch: Watch::open(inside).map_err(KeeperFault::Watch)?,
        })
    }

    pub(super) fn carry_out(&mut self, order: Order) -> Answer {
        match order {
            Order::Load(ruleset) => self.load(&ruleset),
            Order::List => self.list(),
            Order::Generation => self.done(),
        }
    }

    /// How often things changed.
    pub(super) fn generation(&mut self) -> io::Result<Generation> {
        Ok(Generation { tables: self.nftables.generation()?, stack: self.watch.changes()? })
    }

    fn load(&mut self, ruleset: &str) -> Answer {
        if let Err(error) = commands::check(ruleset) {
            return refused(Code::NotARuleset, error);
        }
        if let Err(error) = self.nft.run(ruleset) {
            return refused(Code::Nftables, error);
        }
        match self.nftables.owner(TABLE) {
            Ok(Some(_)) => self.done(),
            Ok(None) => refused(Code::NotOwned, "the ruleset lacks `flags owner`"),
            Err(error) => refused(Code::Kernel, error),
        }
    }

    fn list(&mut self) -> Answer {
        // The number is read first: a change after it shows as a newer number later, never as a missed one.
        match self.generation() {
            Ok(generation) => match self.nft.list(&[TABLE, FLOOR_TABLE]) {
                Ok(json) => Answer::Listing { generation, json },
                Err(error) => refused(Code::Nftables, error),
            },
            Err(error) => refused(Code::Kernel, error),
        }
    }

    fn done(&mut self) -> Answer {
        match self.generation() {
            Ok(generation) => Answer::Done { generation },
            Err(error) => refused(Code::Kernel, error),
        }
    }
}

impl Remote {
    /// Begins a clerk in the namespace of the calling thread, which may leave it then.
    pub(super) fn begin() -> Result<Self, KeeperFault> {
        let (orders, received) = mpsc::channel();
        let (tell, begun) = mpsc::channel();
        std::thread::Builder::new()
            .name("host".to_owned())
            .spawn(move || serve(&received, &tell))
            .map_err(KeeperFault::Thread)?;
        begun.recv().map_err(|_| KeeperFault::Thread(gone()))??;
        Ok(Self { orders })
    }

    /// Has an order carried out.
    ///
    /// # Errors
    /// When the thread has ended.
    pub(super) fn carry_out(&self, order: Order) -> io::Result<Answer> {
        let (reply, answer) = mpsc::channel();
        self.orders.send((order, reply)).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())
    }
}

fn serve(orders: &Receiver<(Order, Sender<Answer>)>, begun: &Sender<Result<(), KeeperFault>>) {
    let inside = Inside::here();
    let clerk = Clerk::open(&inside).and_then(|clerk| {
        keep_thread_capabilities(CapabilitySet::NET_ADMIN).map_err(KeeperFault::Capabilities)?;
        Ok(clerk)
    });
    match clerk {
        Ok(mut clerk) => {
            let _waits = begun.send(Ok(()));
            for (order, reply) in orders {
                let _waits = reply.send(clerk.carry_out(order));
            }
        }
        Err(fault) => drop(begun.send(Err(fault))),
    }
}

/// Says no.
pub(super) fn refused(code: Code, why: impl ToString) -> Answer {
    Answer::Refused { code, detail: why.to_string() }
}

fn gone() -> io::Error {
    io::Error::other("the thread in the host's namespace has ended")
}
