//! The binary runs on any Linux: it needs no loader and no library.

use std::io::Read as _;

/// The ELF type of a position-independent executable.
const ET_DYN: u16 = 3;
/// The program header that names a loader.
const PT_INTERP: u32 = 3;
/// The program header that lists libraries and relocations.
const PT_DYNAMIC: u32 = 2;
/// The entry of that list which names a library.
const DT_NEEDED: u64 = 1;

fn number<const N: usize>(bytes: &[u8], at: u64) -> [u8; N] {
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk().copied())
        .unwrap_or([0; N])
}

fn u16_at(bytes: &[u8], at: u64) -> u16 {
    u16::from_le_bytes(number(bytes, at))
}

fn u32_at(bytes: &[u8], at: u64) -> u32 {
    u32::from_le_bytes(number(bytes, at))
}

fn u64_at(bytes: &[u8], at: u64) -> u64 {
    u64::from_le_bytes(number(bytes, at))
}

#[test]
fn binary_is_a_static_pie() {
    let mut bytes = Vec::new();
    let mut file = std::fs::File::open(env!("CARGO_BIN_EXE_promptd")).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    assert_eq!(
        bytes.get(..6),
        Some(&b"\x7fELF\x02\x01"[..]),
        "a little-endian 64-bit ELF"
    );
    assert_eq!(u16_at(&bytes, 16), ET_DYN, "position-independent");
    let (table, size, count) = (u64_at(&bytes, 32), u16_at(&bytes, 54), u16_at(&bytes, 56));
    let headers = (0..u64::from(count)).map(|index| table + index * u64::from(size));
    let kinds: Vec<u32> = headers.clone().map(|at| u32_at(&bytes, at)).collect();
    assert!(
        !kinds.is_empty() && !kinds.contains(&PT_INTERP),
        "it names a loader: {kinds:?}"
    );
    for header in headers.filter(|at| u32_at(&bytes, *at) == PT_DYNAMIC) {
        let (offset, size) = (u64_at(&bytes, header + 8), u64_at(&bytes, header + 32));
        let tags = (0..size / 16).map(|index| u64_at(&bytes, offset + index * 16));
        assert!(
            !tags.take_while(|tag| *tag != 0).any(|tag| tag == DT_NEEDED),
            "it needs a library"
        );
    }
}
