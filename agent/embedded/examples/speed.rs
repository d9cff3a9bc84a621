//! Times the engine alone, without worker and pipe: one JSON line an answer, for `bench/compare.py` and `train/evaluate.py`.
//!
//! `speed MODEL MMPROJ THREADS ROUNDS PICTURE… -- QUESTION…`: each round asks each question of each picture.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::{error::Error, fs, ops::ControlFlow};

use tokwatt_embedded::{Ask, Engine, LoadOptions, Sampling};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [model, mmproj, threads, rounds, rest @ ..] = arguments.as_slice() else {
        return Err("usage: speed MODEL MMPROJ THREADS ROUNDS PICTURE… -- QUESTION…".into());
    };
    let cut = rest.iter().position(|argument| argument == "--");
    let (pictures, questions) = rest.split_at(cut.ok_or("no `--` before the questions")?);
    let mut engine = Engine::load(&LoadOptions {
        model: model.into(),
        mmproj: mmproj.into(),
        precision: None,
        threads: threads.parse()?,
        context: 2048,
        gpu_layers: 0,
    })?;
    println!("{{\"engine\": {:?}}}", engine.describe().engine);
    for _ in 0..rounds.parse()? {
        for picture in pictures {
            let file = fs::read(picture)?;
            for question in &questions[1..] {
                time(&mut engine, &file, question)?;
            }
        }
    }
    Ok(())
}

fn time(engine: &mut Engine, picture: &[u8], prompt: &str) -> Result<(), Box<dyn Error>> {
    let ask = Ask {
        history: &[],
        picture: Some(picture),
        prompt,
        max_tokens: 96,
        is_fixed_length: false,
        sampling: Sampling::Greedy,
    };
    let (mut ids, mut text) = (Vec::new(), Vec::new());
    let answer = engine.ask(&ask, |token, bytes| {
        ids.push(token);
        text.extend_from_slice(bytes);
        ControlFlow::Continue(())
    })?;
    println!(
        "{{\"text\": {:?}, \"ids\": {ids:?}, \"prompt_tokens\": {}, \"tokens\": {}, \"encode_us\": {}, \"prefill_us\": {}, \"decode_us\": {}}}",
        String::from_utf8_lossy(&text),
        answer.prompt_tokens,
        answer.completion_tokens,
        answer.image_encode.unwrap_or_default().as_micros(),
        answer.prefill.as_micros(),
        answer.decode.as_micros(),
    );
    Ok(())
}
