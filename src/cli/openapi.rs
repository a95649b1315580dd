//! `promptd openapi`: the API's description.

use clap::Args;

use crate::api;
use crate::cli::error::{CliError, exit};
use crate::cli::stdio::print;

const AFTER_HELP: &str = "\
Examples:
  promptd openapi > openapi.json
  promptd openapi | jq '.paths | keys'";

/// Print the API's description (`OpenAPI`)
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct OpenapiArgs {}

pub(super) fn openapi() -> Result<u8, CliError> {
    let document = api::openapi_document();
    print(&document)?;
    if !document.ends_with('\n') {
        print("\n")?;
    }
    Ok(exit::DONE)
}
