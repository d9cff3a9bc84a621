//! Files that cannot be loaded: each is refused with its name and what to do, and nothing crashes.

#![cfg(feature = "tiny-model")]

use std::{error::Error, fs, path::Path};

use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokwatt_embedded::{
    Engine, LoadOptions,
    shipped::{self, Unpacked},
};

struct Shipped {
    folder: TempDir,
    files: Unpacked,
}

fn unpacked() -> Shipped {
    let folder = tempfile::tempdir().expect("a folder for this test");
    let files = shipped::unpack("q8_0", folder.path()).expect("the shipped model");
    Shipped { folder, files }
}

/// The whole chain of reasons for refusing a pair of files.
fn refusal(model: &Path, mmproj: &Path, precision: Option<&str>) -> String {
    let error = Engine::load(&LoadOptions {
        model: model.to_owned(),
        mmproj: mmproj.to_owned(),
        precision: precision.map(str::to_owned),
        threads: 1,
        context: 2048,
        gpu_layers: 0,
    })
    .err()
    .expect("it should be refused");
    let source = error.source().map(ToString::to_string).unwrap_or_default();
    format!("{error}: {source}")
}

#[track_caller]
fn has(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

#[test]
fn shipped_files_are_what_their_digests_say() {
    let folder = tempfile::tempdir().unwrap();
    for file in shipped::MODELS {
        let path = shipped::unpack(file.precision, folder.path())
            .unwrap()
            .model;
        check_digest(&path, file.sha256);
    }
    let mmproj = shipped::unpack("f32", folder.path()).unwrap().mmproj;
    check_digest(&mmproj, shipped::MMPROJ.sha256);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 5);
}

#[track_caller]
fn check_digest(path: &Path, want: &str) {
    let digest = Sha256::digest(fs::read(path).expect("it was just written"));
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digits, want);
}

#[test]
fn a_shipped_file_that_lost_its_end_is_written_again() {
    let shipped = unpacked();
    let model = shipped.files.model.clone();
    fs::OpenOptions::new()
        .write(true)
        .open(&model)
        .unwrap()
        .set_len(1000)
        .unwrap();
    shipped::unpack("q8_0", shipped.folder.path()).unwrap();
    assert_eq!(fs::metadata(&model).unwrap().len(), 1_514_304);
}

#[test]
fn the_shipped_model_names_its_precisions() {
    let error = shipped::unpack("q4_k_m", Path::new("anywhere")).unwrap_err();
    has(&error.to_string(), &["q4_k_m", "f32, f16, bf16, q8_0"]);
}

#[test]
fn what_is_no_gguf_is_refused() {
    let shipped = unpacked();
    let notes = shipped.folder.path().join("notes.txt");
    fs::write(&notes, "not a model").unwrap();
    has(
        &refusal(&notes, &shipped.files.mmproj, None),
        &["notes.txt", "not a GGUF file"],
    );
    let missing = shipped.folder.path().join("nowhere.gguf");
    has(
        &refusal(&missing, &shipped.files.mmproj, None),
        &["nowhere.gguf"],
    );
}

#[test]
fn a_truncated_model_is_refused() {
    let shipped = unpacked();
    let cut = shipped.folder.path().join("cut.gguf");
    let whole = fs::read(&shipped.files.model).unwrap();
    for length in [1_000, 40_000, whole.len() - 1] {
        fs::write(&cut, &whole[..length]).unwrap();
        has(
            &refusal(&cut, &shipped.files.mmproj, None),
            &["cut.gguf", "truncated"],
        );
    }
}

#[test]
fn exchanged_files_are_told_apart() {
    let shipped = unpacked();
    let Unpacked { model, mmproj } = &shipped.files;
    has(
        &refusal(mmproj, mmproj, None),
        &["mmproj-f32.gguf", "is a projector: give it as mmproj"],
    );
    has(
        &refusal(model, model, None),
        &["q8_0.gguf", "is a language model (llama), not a projector"],
    );
}

#[test]
fn a_precision_that_is_not_the_files_is_refused() {
    let shipped = unpacked();
    let Unpacked { model, mmproj } = &shipped.files;
    has(
        &refusal(model, mmproj, Some("f16")),
        &["holds weights in q8_0, not in f16"],
    );
}

#[test]
fn a_projector_of_another_model_is_refused() {
    let shipped = unpacked();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let message = refusal(
        &shipped.files.model,
        &fixtures.join("other-mmproj.gguf"),
        None,
    );
    has(
        &message,
        &["other-mmproj.gguf", "does not fit the model", "q8_0.gguf"],
    );
}
