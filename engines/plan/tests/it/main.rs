//! Admission and delivery at their boundary: each decision once, and a model of each over random steps.

#[cfg(test)]
mod admission;
#[cfg(test)]
mod delivery;
#[cfg(test)]
mod delivery_model;
