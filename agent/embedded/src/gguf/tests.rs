//! Claims about files that are and are not GGUF.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;

/// A small file: one text, one number, one array, one tensor of 2 × 3 32-bit weights.
fn small() -> Vec<u8> {
    let mut file = b"GGUF".to_vec();
    file.extend(3_u32.to_le_bytes());
    file.extend(1_u64.to_le_bytes());
    file.extend(3_u64.to_le_bytes());
    put_text(&mut file, "general.architecture");
    file.extend(8_u32.to_le_bytes());
    put_text(&mut file, "llama");
    put_text(&mut file, "general.file_type");
    file.extend(4_u32.to_le_bytes());
    file.extend(7_u32.to_le_bytes());
    put_text(&mut file, "tokens");
    file.extend(9_u32.to_le_bytes());
    file.extend(8_u32.to_le_bytes());
    file.extend(2_u64.to_le_bytes());
    put_text(&mut file, "a");
    put_text(&mut file, "b");
    put_text(&mut file, "weights");
    file.extend(2_u32.to_le_bytes());
    file.extend(2_u64.to_le_bytes());
    file.extend(3_u64.to_le_bytes());
    file.extend(0_u32.to_le_bytes());
    file.extend(0_u64.to_le_bytes());
    file.resize(file.len().next_multiple_of(32), 0);
    file.extend([0; 24]);
    file
}

fn put_text(file: &mut Vec<u8>, text: &str) {
    file.extend((text.len() as u64).to_le_bytes());
    file.extend(text.as_bytes());
}

fn read(file: &[u8]) -> Result<Gguf, GgufError> {
    Gguf::read(Cursor::new(file), file.len() as u64)
}

#[track_caller]
fn is_refused(file: &[u8], words: &str) {
    let message = read(file).unwrap_err().to_string();
    assert!(message.contains(words), "{message}");
}

#[test]
fn a_file_says_what_it_is() {
    let gguf = read(&small()).unwrap();
    assert_eq!(gguf.text("general.architecture"), Some("llama"));
    assert_eq!(gguf.precision(), Some("q8_0"));
    assert_eq!(gguf.n_weights(), 6);
    assert_eq!(gguf.text("tokens"), None);
    assert_eq!(gguf.facts().len(), 2);
}

#[test]
fn what_is_no_gguf_is_refused() {
    is_refused(
        b"PK\x03\x04 a zip file",
        "not a GGUF file: it begins with [50, 4b, 03, 04]",
    );
    is_refused(b"GG", "truncated: the magic");
    is_refused(b"GGUF\x01\0\0\0", "version 1 is not supported");
}

#[test]
fn every_cut_is_noticed() {
    let whole = small();
    for length in 4..whole.len() {
        is_refused(&whole[..length], "truncated");
    }
}

#[test]
fn a_count_from_the_file_is_not_believed() {
    let mut file = small();
    file[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    is_refused(&file, "tensor count is 18446744073709551615");
}

#[test]
fn a_text_longer_than_any_is_refused_before_it_is_read() {
    let mut file = small();
    file[24..32].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    is_refused(&file, "a key is a text of 1099511627776 bytes");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(read(&bytes).is_err());
        bytes.splice(..bytes.len().min(8), *b"GGUF\x03\0\0\0");
        drop(read(&bytes));
    }

    #[test]
    fn no_damage_makes_it_panic(place in 8_usize..200, value in any::<[u8; 8]>()) {
        let mut file = small();
        let end = file.len().min(place + 8);
        file[place..end].copy_from_slice(&value[..end - place]);
        drop(read(&file));
    }
}
