//! The notary at its boundary: vectors for each signed format, and models of rotation and of the key cache.

#[cfg(test)]
mod envelope;
#[cfg(test)]
mod host_networks;
#[cfg(test)]
mod key_cache;
#[cfg(test)]
mod key_ring;
#[cfg(test)]
mod note;
#[cfg(test)]
mod plan_key;
#[cfg(test)]
mod plan_token;
#[cfg(test)]
mod plan_token_cases;
