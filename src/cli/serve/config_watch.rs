//! Notices that the configuration file was changed, created or removed.

use std::ffi::OsString;
use std::future::pending;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use promptd_sys as sys;

/// Watches one file by its directory: editors and deployments replace files instead of writing to them.
#[derive(Debug)]
pub(super) struct ConfigWatch {
    /// `None` if the kernel has no watch left; then only SIGHUP reloads.
    inotify: Option<sys::Registered<Inotify>>,
    name: OsString,
}

impl ConfigWatch {
    pub(super) fn new(file: &Path) -> Self {
        let watched = watch_directory(file);
        if let Err(error) = &watched {
            tracing::warn!(%error, file = %file.display(), "changes of the configuration are not noticed; SIGHUP reloads it");
        }
        Self {
            inotify: watched.ok(),
            name: file.file_name().unwrap_or_default().to_owned(),
        }
    }

    /// Waits until the file may have changed.
    pub(super) async fn changed(&mut self) {
        let Some(inotify) = &self.inotify else {
            return pending().await;
        };
        loop {
            let Ok(mut ready) = inotify.readable().await else {
                return pending().await;
            };
            match ready.get_inner().read_events() {
                Ok(events) if events.iter().any(|event| event.name.as_ref() == Some(&self.name)) => return,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(_) => return pending().await,
            }
        }
    }
}

fn watch_directory(file: &Path) -> io::Result<sys::Registered<Inotify>> {
    let directory = file
        .parent()
        .filter(|directory| !directory.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    let changes = AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_DELETE;
    inotify.add_watch(directory, changes)?;
    sys::register_inotify(inotify)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn writing_or_replacing_the_file_wakes() {
        let folder = std::env::temp_dir().join(format!("promptd-config-watch-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("config.toml");
        let mut watch = ConfigWatch::new(&file);
        let mut wakes = async |within| {
            tokio::time::timeout(Duration::from_millis(within), watch.changed())
                .await
                .is_ok()
        };
        std::fs::write(folder.join("other"), "x").unwrap();
        assert!(!wakes(50).await, "a neighbour");
        std::fs::write(&file, "grace = 1").unwrap();
        assert!(wakes(5_000).await, "written");
        std::fs::rename(folder.join("other"), &file).unwrap();
        assert!(wakes(5_000).await, "replaced");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
