//! The node at its boundary.

#[cfg(test)]
mod control;
#[cfg(test)]
mod desired;
#[cfg(test)]
mod model;
#[cfg(test)]
mod networks;
#[cfg(test)]
mod site;
#[cfg(test)]
mod whole;
#[cfg(test)]
mod world;
