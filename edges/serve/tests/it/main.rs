//! Listener and client against each other over real sockets: who is let in, and what the other side is told.

#[cfg(test)]
mod authority;
#[cfg(test)]
mod calls;
#[cfg(test)]
mod handshakes;
#[cfg(test)]
mod site;
