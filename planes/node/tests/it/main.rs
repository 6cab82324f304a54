//! The node at its boundary.

#[cfg(test)]
mod desired;
#[cfg(test)]
mod model;
#[cfg(test)]
mod site;
#[cfg(test)]
mod whole;
