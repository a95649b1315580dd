//! Tests of [`super`].

use super::*;
use promptd_sys::TemporaryFolder;
use std::io::Write as _;
use std::path::PathBuf;

fn take_all(stream: &mut StreamFile, end: bool) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), Vec::new());
    while let ReadResult::Bytes = stream.read(&mut buffer).unwrap() {
        let now = Instant::now();
        let taken: usize = stream.chunks(&buffer, end, now).map(|chunk| chunk.stream_len()).sum();
        all.extend_from_slice(&buffer[..taken]);
        stream.advance(&buffer, taken, now);
        if taken == 0 {
            break;
        }
    }
    all
}

fn file(name: &str) -> (TemporaryFolder, PathBuf, File) {
    let folder = TemporaryFolder::new(name).unwrap();
    let path = folder.join("stdout");
    let file = File::options().create(true).append(true).open(&path).unwrap();
    file.set_len(HOLE).unwrap();
    (folder, path, file)
}

#[test]
fn file_is_read_exactly_and_its_space_given_back() {
    use std::os::unix::fs::MetadataExt as _;
    let (_folder, path, mut file) = file("whole");
    let content: Vec<u8> = (0..6_000_000_u32)
        .map(|n| if n % 97 == 0 { b'\n' } else { b'a' })
        .collect();
    file.write_all(&content).unwrap();
    let mut stream = StreamFile::open(Stream::Stdout, &path, StreamOffset::default()).unwrap();
    assert!(take_all(&mut stream, true) == content);
    assert!(file.metadata().unwrap().blocks() * 512 < 3_000_000);
}

#[test]
fn truncation_is_detected_after_the_file_grew_again() {
    let (_folder, path, mut file) = file("truncated");
    let mut stream = StreamFile::open(Stream::Stdout, &path, StreamOffset::default()).unwrap();
    file.write_all(b"first\nlost").unwrap();
    assert_eq!(take_all(&mut stream, false), b"first\n");
    assert_eq!(stream.read(&mut Vec::new()).unwrap(), ReadResult::Bytes);
    std::fs::write(&path, b"another, longer than the first\n").unwrap();
    assert_eq!(
        stream.read(&mut Vec::new()).unwrap(),
        ReadResult::Truncated { lost: 4, to: 6 }
    );
    assert_eq!(take_all(&mut stream, false), b"another, longer than the first\n");
    assert_eq!(stream.offset_after(0), 37);
}

#[test]
fn truncation_before_the_first_read_is_detected() {
    let (_folder, path, mut file) = file("unseen");
    file.write_all(b"lost before anybody looked\n").unwrap();
    std::fs::write(&path, "x".repeat(2 * usize::try_from(HOLE).unwrap())).unwrap();
    let mut stream = StreamFile::open(Stream::Stdout, &path, StreamOffset::default()).unwrap();
    assert_eq!(
        stream.read(&mut Vec::new()).unwrap(),
        ReadResult::Truncated { lost: 0, to: 0 }
    );
}

#[test]
fn rewrite_with_the_same_length_is_detected() {
    let (_folder, path, mut file) = file("same-length");
    let mut stream = StreamFile::open(Stream::Stdout, &path, StreamOffset::default()).unwrap();
    file.write_all(b"first\n").unwrap();
    assert_eq!(take_all(&mut stream, false), b"first\n");
    std::fs::write(&path, b"again\n").unwrap();
    assert_eq!(
        stream.read(&mut Vec::new()).unwrap(),
        ReadResult::Truncated { lost: 0, to: 6 }
    );
    assert_eq!(take_all(&mut stream, false), b"again\n");
    std::fs::write(&path, b"third\n").unwrap();
    assert_eq!(
        stream.read(&mut Vec::new()).unwrap(),
        ReadResult::Truncated { lost: 0, to: 12 }
    );
}
