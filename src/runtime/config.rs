//! x
pub struct Flags; pub struct ConfigError; pub fn settings(){}
