//! Which values are secret.

pub(crate) mod file_secrets;
pub(crate) mod masks;
