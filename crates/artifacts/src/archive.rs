//! An archive of changed files.
//!
//! Each file is opened below the working directory without following symbolic links (`openat2`), so the archive cannot
//! contain other files, whatever the agent does meanwhile. A symbolic link is archived as a link.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use tar::{Builder, EntryType, Header};

use crate::change::{Change, ChangeStatus};
use crate::error::{ArtifactError, io_error};

/// Writes the existing files as a `tar.gz`.
pub fn write(cwd: &Path, files: &[Change], out: impl Write) -> Result<(), ArtifactError> {
    let mut builder = Builder::new(GzEncoder::new(out, Compression::fast()));
    let failed = |path: &Path| io_error(&cwd.join(path));
    let existing: Vec<_> = files
        .iter()
        .filter(|file| file.status != ChangeStatus::Deleted)
        .collect();
    // An empty archive needs no folder.
    if !existing.is_empty() {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = open(cwd, flags, Mode::empty()).map_err(|errno| io_error(cwd)(errno.into()))?;
        for file in existing {
            append(&mut builder, &root, &file.path).map_err(failed(&file.path))?;
        }
    }
    let end = builder
        .into_inner()
        .and_then(GzEncoder::finish)
        .and_then(|mut out| out.flush());
    end.map_err(io_error(cwd))
}

fn append(builder: &mut Builder<impl Write>, root: &OwnedFd, path: &Path) -> io::Result<()> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let found = match openat2(root, path, how) {
        Ok(found) => found,
        // It was deleted or its folder was replaced after the files were listed.
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    let stat = fstat(&found)?;
    let mut header = header(&stat);
    match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFLNK => {
            let target = readlinkat(&found, "")?;
            header.set_entry_type(EntryType::Symlink);
            header.set_size(0);
            builder.append_link(&mut header, path, target)
        }
        SFlag::S_IFREG => {
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            header.set_entry_type(EntryType::Regular);
            header.set_size(size);
            // Opened for reading only now that it is known to be a regular file and not a device.
            let file = File::open(format!("/proc/self/fd/{}", found.as_raw_fd()))?;
            // The header has this size, even if the file changes meanwhile.
            let content = file.chain(io::repeat(0)).take(size);
            builder.append_data(&mut header, path, content)
        }
        _ => Ok(()),
    }
}

fn header(stat: &FileStat) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(stat.st_mode & 0o7777);
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    // Owners in the sandbox mean nothing elsewhere.
    header.set_uid(0);
    header.set_gid(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    fn change(path: &str) -> Change {
        Change {
            path: PathBuf::from(path),
            from: None,
            status: ChangeStatus::Added,
            size: None,
        }
    }

    #[test]
    fn symbolic_links_are_not_followed() {
        let root = promptd_sys::TemporaryFolder::new("archive").unwrap();
        std::fs::create_dir_all(root.join("cwd")).unwrap();
        std::fs::create_dir_all(root.join("outside")).unwrap();
        std::fs::write(root.join("outside/secret"), "secret").unwrap();
        let cwd = root.join("cwd");
        symlink("../outside", cwd.join("folder")).unwrap();
        symlink("../outside/secret", cwd.join("link")).unwrap();
        nix::unistd::mkfifo(&cwd.join("fifo"), Mode::S_IRWXU).unwrap();
        let long = "long/".repeat(60) + "name";
        std::fs::create_dir_all(cwd.join(&long).parent().unwrap()).unwrap();
        std::fs::write(cwd.join(&long), "content").unwrap();
        let files: Vec<_> = [
            "folder",
            "folder/secret",
            "link",
            "fifo",
            "gone",
            "../outside/secret",
            &long,
        ]
        .map(change)
        .to_vec();
        let mut packed = Vec::new();
        write(&cwd, &files, &mut packed).unwrap();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed.as_slice()));
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            let path = entry.path().unwrap().display().to_string();
            let link = entry.link_name().unwrap().map(|link| link.display().to_string());
            found.push((path, link, content));
        }
        let link = |path: &str, to: &str| (path.to_owned(), Some(to.to_owned()), String::new());
        assert_eq!(
            found,
            [
                link("folder", "../outside"),
                link("link", "../outside/secret"),
                (long, None, "content".to_owned())
            ]
        );
    }
}
