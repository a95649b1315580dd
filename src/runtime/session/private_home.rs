//! The home belongs to one user. Whoever else can write to it can put tokens, sessions and sockets there.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use crate::runtime::error::RuntimeError;
use promptd_sys as sys;

/// The permissions of group and others to write.
const OTHERS_WRITE: u32 = 0o022;

/// Refuses a home that other users can write to; a missing one will be made for its user alone.
pub fn check_private(home: &Path) -> Result<(), RuntimeError> {
    for folder in [home, &home.join("sessions")] {
        let metadata = match fs::metadata(folder) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(source) => {
                let path = folder.to_owned();
                return Err(RuntimeError::Io { path, source });
            }
        };
        let (problem, command) = if !sys::is_own_user(metadata.uid()) {
            ("belongs to another user", "chown \"$(id -u)\"")
        } else if metadata.permissions().mode() & OTHERS_WRITE != 0 {
            ("can be written to by other users", "chmod go-w")
        } else {
            continue;
        };
        return Err(RuntimeError::HomeNotPrivate {
            path: folder.to_owned(),
            problem,
            command: format!("{command} \"{}\"", folder.display()),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_that_others_may_write_to_is_refused_with_the_remedy() {
        let home = sys::TemporaryFolder::new("private-home").unwrap();
        assert!(check_private(&home.join("missing")).is_ok());
        fs::create_dir(home.join("sessions")).unwrap();
        for folder in [home.to_path_buf(), home.join("sessions")] {
            for mode in [0o777, 0o775, 0o757, 0o720, 0o1777] {
                fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
                let refused = check_private(&home).unwrap_err().to_string();
                assert!(
                    refused.contains(&format!("`chmod go-w \"{}\"`", folder.display())),
                    "{refused}"
                );
            }
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
            assert!(check_private(&home).is_ok());
        }
    }
}
