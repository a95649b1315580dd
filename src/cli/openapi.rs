//! `promptd openapi`: the API's description.

use clap::Args;

use super::error::{CliError, exit};
use super::output::print;
use super::serving;

const AFTER_HELP: &str = "\
Examples:
  promptd openapi > openapi.json
  promptd openapi | jq '.paths | keys'";

/// Print the OpenAPI document of this version
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct OpenapiArgs {}

pub(super) fn openapi() -> Result<u8, CliError> {
    let document = serving::openapi_json();
    print(&document)?;
    if !document.ends_with('\n') {
        print("\n")?;
    }
    Ok(exit::DONE)
}
