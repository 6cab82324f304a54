//! The supervisor at its boundary.

#[cfg(test)]
mod model;
#[cfg(test)]
mod site;
#[cfg(test)]
mod whole;
