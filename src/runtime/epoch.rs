//! The epoch: an opaque name for this life of the machine.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::sys;

/// The epoch, which is made when it is first asked for: nothing is minted before it is needed, since a sandbox's
/// memory may be cloned before that.
#[derive(Debug)]
pub(super) struct Epoch {
    file: PathBuf,
    value: OnceLock<String>,
}

/// What `$PROMPTD_HOME/epoch.json` holds, so that a restart of the server is no new epoch.
#[derive(Serialize, Deserialize)]
struct Kept {
    boot_id: String,
    epoch: String,
}

impl Epoch {
    pub(super) fn of(home: &Path) -> Self {
        Self {
            file: home.join("epoch.json"),
            value: OnceLock::new(),
        }
    }

    pub(super) fn get(&self) -> String {
        self.value.get_or_init(|| self.find_or_make()).clone()
    }

    fn find_or_make(&self) -> String {
        let boot_id = sys::boot_id().unwrap_or_default();
        let kept = std::fs::read(&self.file)
            .ok()
            .and_then(|text| serde_json::from_slice::<Kept>(&text).ok());
        if let Some(kept) = kept.filter(|kept| kept.boot_id == boot_id) {
            return kept.epoch;
        }
        // Without randomness the boot id must do: it is unique, too, only not to clones.
        let epoch = sys::random().map_or_else(
            |_| boot_id.clone(),
            |random: [u8; 8]| format!("{:016x}", u64::from_be_bytes(random)),
        );
        let kept = Kept { boot_id, epoch };
        let written = serde_json::to_vec(&kept)
            .map_err(std::io::Error::from)
            .and_then(|text| sys::replace(&self.file, &text));
        if let Err(error) = written {
            tracing::warn!(path = %self.file.display(), %error, "the epoch cannot be kept; a restart will look like a resume");
        }
        kept.epoch
    }
}
