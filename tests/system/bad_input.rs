//! What a person can get wrong: each time a message that names the thing, exit code 2, and nothing lost.

use std::{fs, path::Path, process::Output};

use tokwatt_harness::{CollectorProcess, agent, program};

fn run(data: &Path, arguments: &[&str]) -> Output {
    agent(data).args(arguments).output().unwrap()
}

#[track_caller]
fn refuses(output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for word in words {
        assert!(said.contains(word), "does not say `{word}`: {said}");
    }
}

fn model(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/embedded/model");
    folder.join(name).to_str().unwrap().to_owned()
}

#[test]
fn a_wrong_command_line_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    refuses(
        &run(data, &["bench", "--suite", "edge-visoin"]),
        &["edge-visoin", "edge-vision"],
    );
    refuses(&run(data, &["bench", "--fast"]), &["--fast"]);
    refuses(
        &run(data, &["bench", "--backend", "magic"]),
        &["magic", "embedded"],
    );
    refuses(
        &run(data, &["bench", "--precision", "f12"]),
        &["f12", "q8_0"],
    );
    refuses(
        &run(data, &["bench", "--power", "magic"]),
        &["magic", "tegrastats"],
    );
    refuses(
        &run(data, &["bench", "--collector", "http://10.1.2.3:7413"]),
        &["10.1.2.3", "plain text"],
    );
    refuses(
        &run(data, &["bench", "--size", "20000"]),
        &["20000", "1024"],
    );
    refuses(&run(data, &["bench", "--timeout", "0s"]), &["--timeout"]);
    refuses(
        &run(data, &["bench", "--power-interval", "1ms"]),
        &["1ms", "--power-interval"],
    );
    refuses(
        &run(data, &["probe", "--host-root", "/nowhere"]),
        &["/nowhere", "--host-root"],
    );
}

#[test]
fn an_interval_in_the_configuration_is_checked_like_the_flag() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    fs::write(&file, "[power]\ninterval_ms = 5\n").unwrap();
    refuses(
        &run(
            folder.path(),
            &["--config", file.to_str().unwrap(), "config", "check"],
        ),
        &["5ms", "power.interval_ms"],
    );
}

/// A value of the weights' header that passes every check on the way and fails an assertion of the engine.
#[test]
fn a_model_that_makes_the_engine_abort_is_a_failed_run_with_its_last_words() {
    let folder = tempfile::tempdir().unwrap();
    let key = b"llama.attention.layer_norm_rms_epsilon";
    let mut weights = fs::read(model("tiny-vlm-f32.gguf")).unwrap();
    let start = weights
        .windows(key.len())
        .position(|window| window == key)
        .unwrap();
    let value = start + key.len() + size_of::<u32>();
    weights[value..value + 4].copy_from_slice(&(-1.0_f32).to_le_bytes());
    let path = folder.path().join("negative.gguf");
    fs::write(&path, weights).unwrap();
    let output = run(
        folder.path(),
        &[
            "bench",
            "--limit",
            "1",
            "--repeat",
            "1",
            "--power",
            "none",
            "--model",
            path.to_str().unwrap(),
            "--mmproj",
            &model("tiny-vlm-mmproj-f32.gguf"),
        ],
    );
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let failed: Vec<_> = said
        .lines()
        .filter(|line| line.starts_with("failed: "))
        .collect();
    assert_eq!(failed.len(), 1, "one reason is said once: {said}");
    assert!(failed[0].contains("GGML_ASSERT(eps >= 0.0f)"), "{said}");
    assert!(failed[0].contains("and 4 more runs"), "{said}");
    assert!(said.contains("records wait safely"), "{said}");
}

#[test]
fn a_wrong_suite_file_is_named_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let suite = folder.path().join("mine.toml");
    let path = suite.to_str().unwrap();
    let good = fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/suites/edge-vision.toml"),
    )
    .unwrap();
    fs::write(&suite, format!("colour = 1\n{good}")).unwrap();
    refuses(
        &run(folder.path(), &["bench", "--suite", path]),
        &["mine.toml", "colour"],
    );
    let without_tasks = good.split("[[task").next().unwrap();
    fs::write(&suite, without_tasks).unwrap();
    refuses(
        &run(folder.path(), &["bench", "--suite", path]),
        &["mine.toml", "task"],
    );
    let with = |task: &str, words: &[&str]| {
        fs::write(&suite, format!("{good}\n[[task]]\nname = \"own\"\n{task}")).unwrap();
        refuses(&run(folder.path(), &["suites", "show", path]), words);
    };
    with(
        "prompt = \"x\"\nscoring = \"number\"\nchart = \"height\"",
        &["mine.toml", "height", "bar_value"],
    );
    with(
        "scoring = \"facts\"\n[[task.question]]\nname = \"one\"\nprompt = \"x\"",
        &["mine.toml", "`own`", "`one`", "`facts`"],
    );
    with(
        "scoring = \"json\"\nschema = { pattern = \"x\" }\n[[task.question]]\nname = \"one\"\nprompt = \"x\"\njson = 1",
        &["mine.toml", "pattern", "additionalProperties"],
    );
}

#[test]
fn what_a_suite_without_scenes_cannot_do_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let pictures = data.join("pictures");
    let pictures = pictures.to_str().unwrap();
    refuses(
        &run(data, &["suites", "draw", pictures, "--suite", "german-plc"]),
        &["--suite", "german-plc", "no picture"],
    );
    refuses(
        &run(data, &["bench", "--suite", "german-plc", "--size", "256"]),
        &["a size", "german-plc"],
    );
    refuses(
        &run(data, &["bench", "--suite", "charts", "--images", pictures]),
        &["peak_month", "not about scenes"],
    );
}

#[test]
fn a_wrong_model_file_is_named_before_anything_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let weights = fs::read(model("tiny-vlm-f32.gguf")).unwrap();
    let mmproj = fs::read_dir(model(""))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_str().unwrap().contains("mmproj"))
        .unwrap();
    let mmproj = mmproj.to_str().unwrap();
    let bench = |model: &str, mmproj: &str| {
        run(
            data,
            &[
                "bench", "--limit", "1", "--power", "none", "--model", model, "--mmproj", mmproj,
            ],
        )
    };

    let text = data.join("text.gguf");
    fs::write(&text, "this is a text").unwrap();
    refuses(
        &bench(text.to_str().unwrap(), mmproj),
        &["text.gguf", "GGUF"],
    );
    let cut = data.join("cut.gguf");
    fs::write(&cut, &weights[..weights.len() / 2]).unwrap();
    refuses(
        &bench(cut.to_str().unwrap(), mmproj),
        &["cut.gguf", "truncated"],
    );
    refuses(
        &bench(data.join("none.gguf").to_str().unwrap(), mmproj),
        &["none.gguf"],
    );
    refuses(
        &bench(&model("tiny-vlm-f32.gguf"), &model("tiny-vlm-f16.gguf")),
        &["tiny-vlm-f16.gguf"],
    );
}

#[test]
fn a_wrong_picture_or_label_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let pictures = data.join("pictures");
    run(
        data,
        &["suites", "draw", pictures.to_str().unwrap(), "--count", "2"],
    );
    let png = fs::read(pictures.join("scene_0000.png")).unwrap();
    let own = data.join("own");
    fs::create_dir(&own).unwrap();
    let path = own.to_str().unwrap();
    let bench = || run(data, &["bench", "--power", "none", "--images", path]);
    refuses(&bench(), &["own", "picture"]);
    fs::write(own.join("a.png"), &png).unwrap();
    fs::write(
        own.join("labels.jsonl"),
        "{\"file\": \"a.png\", \"trouth\": {}}\n",
    )
    .unwrap();
    refuses(&bench(), &["labels.jsonl", "trouth"]);
    fs::remove_file(own.join("labels.jsonl")).unwrap();
    fs::write(own.join("b.png"), &png[..png.len() / 2]).unwrap();
    refuses(&bench(), &["b.png"]);
    let mut huge = png.clone();
    huge[16..20].copy_from_slice(&20_000_u32.to_be_bytes());
    fs::write(own.join("b.png"), huge).unwrap();
    refuses(&bench(), &["b.png", "20000"]);
}

#[test]
fn a_disk_that_cannot_be_written_is_named_before_anything_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let below = file.join("data");
    refuses(
        &run(&below, &["bench", "--limit", "1", "--power", "none"]),
        &["file/data", "--data"],
    );
    let out = file.join("out");
    refuses(
        &run(
            folder.path(),
            &[
                "bench",
                "--limit",
                "1",
                "--power",
                "none",
                "--out",
                out.to_str().unwrap(),
            ],
        ),
        &["--out"],
    );
}

#[test]
fn a_port_in_use_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let first = CollectorProcess::start(&folder.path().join("one")).unwrap();
    let address = first.url().trim_start_matches("http://").to_owned();
    let second = std::process::Command::new(program("tokwatt-collector"))
        .args(["serve", "--listen", &address, "--data"])
        .arg(folder.path().join("two"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    // 1, not 2: another start may succeed, and the service manager makes one.
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains(&address) && said.contains("in use"), "{said}");
}
