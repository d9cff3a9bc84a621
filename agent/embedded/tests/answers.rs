//! The engine with the shipped model on drawn pictures: the same answers as llama.cpp's own server and transformers give.
//!
//! The pictures are the first of `suites draw --seed 30000000 --size 96`, which training never saw.

#![cfg(feature = "tiny-model")]

use std::{ops::ControlFlow, path::Path};

use serde::Deserialize;
use tokwatt_embedded::{
    Answer, Ask, Engine, EngineError, Finish, LoadOptions, Sampling, Speaker, Turn, shipped,
};

fn engine(precision: &str) -> Engine {
    let folder = tempfile::tempdir().expect("a folder for this test");
    let unpacked = shipped::unpack(precision, folder.path()).expect("the shipped model");
    Engine::load(&LoadOptions {
        model: unpacked.model,
        mmproj: unpacked.mmproj,
        precision: Some(precision.to_owned()),
        threads: 1,
        context: 2048,
        gpu_layers: 0,
    })
    .expect("the shipped model loads")
}

fn picture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures");
    std::fs::read(folder.join(name)).expect("a picture of these tests")
}

fn ask(engine: &mut Engine, ask: &Ask<'_>) -> Result<(String, Answer), EngineError> {
    let mut text = Vec::new();
    let answer = engine.ask(ask, |_, bytes| {
        text.extend_from_slice(bytes);
        ControlFlow::Continue(())
    })?;
    Ok((String::from_utf8_lossy(&text).into_owned(), answer))
}

fn greedy<'a>(picture: &'a [u8], prompt: &'a str) -> Ask<'a> {
    Ask {
        history: &[],
        picture: Some(picture),
        prompt,
        max_tokens: 96,
        is_fixed_length: false,
        sampling: Sampling::Greedy,
    }
}

const CAPTION: &str = "Describe this image in one sentence.";
const COUNTS: &str = "List the objects and their counts.";
const ATTRIBUTES: &str = "List each object with its size and color.";
const SPATIAL: &str = "Describe the spatial relationships between the objects.";
const SCENE: &str = "Describe the scene context: place, time and weather.";

/// Picture, question, answer, prompt tokens and answer tokens, as xllamacpp 2026.10.11549
/// (llama.cpp's HTTP server) gives them for the same files in F32.
const BY_LLAMA_SERVER: [(&str, &str, &str, u32, u32); 9] = [
    (
        "scene_0000.png",
        CAPTION,
        " A rainy snowy field at night with two white stars, one green car and one white star.",
        93,
        20,
    ),
    ("scene_0000.png", COUNTS, " car: 1, star: 3", 93, 10),
    (
        "scene_0000.png",
        ATTRIBUTES,
        " small white star, large white star, small green car, small white star",
        95,
        16,
    ),
    (
        "scene_0000.png",
        SPATIAL,
        " The white star is left of the white star. The white star is below the green car. The green car is above the white star.",
        94,
        29,
    ),
    (
        "scene_0000.png",
        SCENE,
        " place: snow, time: night, weather: rainy",
        97,
        12,
    ),
    ("scene_0003.png", COUNTS, " car: 3", 93, 5),
    (
        "scene_0004.png",
        CAPTION,
        " A rainy desert during the day with one green ring, one red ring, one white box and one orange box.",
        93,
        24,
    ),
    ("scene_0008.png", ATTRIBUTES, " large yellow car", 95, 4),
    (
        "scene_0011.png",
        CAPTION,
        " A room at night with one white star, one white house, two purple hearts, one blue heart and one white star.",
        93,
        26,
    ),
];

#[test]
fn answers_are_those_of_llama_server() {
    let mut engine = engine("f32");
    for (file, question, text, prompt_tokens, completion_tokens) in BY_LLAMA_SERVER {
        let (given, answer) = ask(&mut engine, &greedy(&picture(file), question)).unwrap();
        assert_eq!(given, text, "{file}: {question}");
        assert_eq!(answer.finish, Finish::Stop);
        assert_eq!(answer.prompt_tokens, prompt_tokens);
        assert_eq!(answer.completion_tokens, completion_tokens);
        assert_eq!(answer.image_tokens, 72, "two views of 36 tokens");
        assert!(answer.image_encode.unwrap() < answer.prefill);
    }
}

/// What transformers answers to a question about a picture.
#[derive(Deserialize)]
struct ByTransformers {
    picture: String,
    prompt: String,
    ids: Vec<i32>,
}

/// `train/record.py` wrote them down: the same weights as a Hugging Face folder in F32, in llama.cpp's prompt layout.
#[test]
fn answers_are_those_of_transformers_id_for_id() {
    let mut engine = engine("f32");
    let (mut n_answers, mut others) = (0, Vec::new());
    for line in include_str!("fixtures/transformers.jsonl").lines() {
        let recorded: ByTransformers = serde_json::from_str(line).unwrap();
        let mut ids = Vec::new();
        let picture = picture(&recorded.picture);
        engine
            .ask(&greedy(&picture, &recorded.prompt), |id, _| {
                ids.push(id);
                ControlFlow::Continue(())
            })
            .unwrap();
        n_answers += 1;
        if ids != recorded.ids {
            others.push((recorded.picture, recorded.prompt));
        }
    }
    assert!(n_answers > 100, "{n_answers}");
    assert!(others.len() * 50 <= n_answers, "above 2 %: {others:?}");
}

#[test]
fn every_precision_answers_and_says_what_it_is() {
    for precision in shipped::MODELS.map(|file| file.precision) {
        let mut engine = engine(precision);
        assert_eq!(engine.describe().precision.as_deref(), Some(precision));
        assert_eq!(engine.describe().mmproj_precision.as_deref(), Some("f32"));
        assert_eq!(engine.describe().name.as_deref(), Some("tiny-vlm"));
        assert_eq!(engine.describe().facts["general.architecture"], "llama");
        let picture = picture("scene_0004.png");
        let (text, _) = ask(&mut engine, &greedy(&picture, SCENE)).unwrap();
        assert_eq!(text, " place: desert, time: day, weather: rainy");
    }
}

#[test]
fn the_prompt_is_the_models_own() {
    let prompt = engine("q8_0").render(&[], "How many?", true).unwrap();
    assert_eq!(
        prompt,
        "<|im_start|>User: <__media__>How many?<end_of_utterance>\nAssistant:"
    );
}

#[test]
fn one_question_does_not_colour_the_next() {
    let mut engine = engine("q8_0");
    let (one, other) = (picture("scene_0000.png"), picture("scene_0008.png"));
    let first = ask(&mut engine, &greedy(&one, CAPTION)).unwrap().0;
    ask(&mut engine, &greedy(&other, SPATIAL)).unwrap();
    assert_eq!(ask(&mut engine, &greedy(&one, CAPTION)).unwrap().0, first);
}

#[test]
fn two_threads_answer_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let unpacked = shipped::unpack("f32", folder.path()).unwrap();
    let mut engine = Engine::load(&LoadOptions {
        model: unpacked.model,
        mmproj: unpacked.mmproj,
        precision: None,
        threads: 2,
        context: 2048,
        gpu_layers: 0,
    })
    .unwrap();
    let (text, _) = ask(&mut engine, &greedy(&picture("scene_0008.png"), ATTRIBUTES)).unwrap();
    assert_eq!(text, " large yellow car");
}

#[test]
fn the_limit_ends_an_answer() {
    let mut engine = engine("q8_0");
    let picture = picture("scene_0000.png");
    let short = Ask {
        max_tokens: 3,
        ..greedy(&picture, CAPTION)
    };
    let (text, answer) = ask(&mut engine, &short).unwrap();
    assert_eq!(text, " A rainy snowy");
    assert_eq!(
        (answer.finish, answer.completion_tokens),
        (Finish::Length, 3)
    );
}

#[test]
fn an_answer_of_fixed_length_has_every_token() {
    let mut engine = engine("q8_0");
    let picture = picture("scene_0000.png");
    for max_tokens in [1, 40, 150] {
        let fixed = Ask {
            max_tokens,
            is_fixed_length: true,
            ..greedy(&picture, COUNTS)
        };
        let mut given = 0;
        let answer = engine
            .ask(&fixed, |_, _| {
                given += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(
            (answer.finish, answer.completion_tokens, given),
            (Finish::Length, max_tokens, max_tokens)
        );
    }
    let (_, free) = ask(&mut engine, &greedy(&picture, COUNTS)).unwrap();
    assert_eq!((free.finish, free.completion_tokens), (Finish::Stop, 10));
}

#[test]
fn what_was_said_before_is_read_before_the_question() {
    let mut engine = engine("q8_0");
    let picture = picture("scene_0000.png");
    let history = [
        Turn {
            speaker: Speaker::System,
            text: "Answer in one sentence.",
        },
        Turn {
            speaker: Speaker::User,
            text: "What do you see?",
        },
        Turn {
            speaker: Speaker::Assistant,
            text: "A beach.",
        },
    ];
    assert_eq!(
        engine.render(&history, "How many?", true).unwrap(),
        "<|im_start|>System: Answer in one sentence.<end_of_utterance>\n\
         User: What do you see?<end_of_utterance>\n\
         Assistant: A beach.<end_of_utterance>\n\
         User: <__media__>How many?<end_of_utterance>\nAssistant:"
    );
    let alone = greedy(&picture, COUNTS);
    let later = Ask {
        history: &history,
        ..alone
    };
    let (_, alone) = ask(&mut engine, &alone).unwrap();
    let (_, later) = ask(&mut engine, &later).unwrap();
    assert_eq!(later.image_tokens, alone.image_tokens);
    assert!(later.prompt_tokens >= alone.prompt_tokens + 20, "{later:?}");
}

#[test]
fn an_abandoned_answer_leaves_the_engine_fit() {
    let mut engine = engine("q8_0");
    let picture = picture("scene_0000.png");
    let question = greedy(&picture, CAPTION);
    let answer = engine
        .ask(&question, |_, _| ControlFlow::Break(()))
        .unwrap();
    assert_eq!(
        (answer.finish, answer.completion_tokens),
        (Finish::Abandoned, 1)
    );
    assert_eq!(ask(&mut engine, &question).unwrap().1.finish, Finish::Stop);
}

#[test]
fn a_seed_repeats_its_answer() {
    let mut engine = engine("q8_0");
    let picture = picture("scene_0000.png");
    let mut draw = |seed| {
        let sampling = Sampling::Seeded {
            temperature: 3.0,
            seed,
        };
        let question = Ask {
            sampling,
            ..greedy(&picture, CAPTION)
        };
        ask(&mut engine, &question).unwrap().0
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}

#[test]
fn a_question_without_a_picture_is_answered() {
    let text_only = Ask {
        picture: None,
        ..greedy(&[], CAPTION)
    };
    let (_, answer) = ask(&mut engine("q8_0"), &text_only).unwrap();
    assert_eq!((answer.image_tokens, answer.image_encode), (0, None));
}

#[test]
fn a_question_that_does_not_fit_is_refused_with_the_numbers() {
    let picture = picture("scene_0000.png");
    let long = Ask {
        max_tokens: 2_000,
        ..greedy(&picture, CAPTION)
    };
    let error = ask(&mut engine("q8_0"), &long).unwrap_err();
    let message = "93 prompt tokens and up to 2000 of the answer do not fit a context of 2048";
    assert!(error.to_string().starts_with(message), "{error}");
}

#[test]
fn a_bad_picture_is_refused_and_the_next_one_answered() {
    let mut engine = engine("q8_0");
    let whole = picture("scene_0000.png");
    for bad in [&whole[..2_000], &whole[..20], b"no picture"] {
        let error = ask(&mut engine, &greedy(bad, CAPTION)).unwrap_err();
        assert!(matches!(error, EngineError::Picture(_)), "{error}");
        assert!(error.is_about_the_question());
    }
    assert!(ask(&mut engine, &greedy(&whole, CAPTION)).is_ok());
}
