//! Which server it is, whether it is ready, and how it is asked.
//!
//! Ready is who has generated a token: a health check says yes before kernels are compiled and graphs captured. The same
//! first question finds out which of the counts the server streams, so that no measured question is refused for its form.

use std::{collections::BTreeMap, time::Duration};

use hyper::{StatusCode, header::SERVER};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;
use tokwatt_domain::{run::FailureClass, time::Stamp};

use super::{
    OpenAiSettings,
    answer::{Answer, or_empty},
    asking::{COMPLETIONS, unstreamed},
    events::Events,
    refusal,
    request::{Cold, Dialect, StreamedCounts},
};
use crate::backend::{
    BackendError, ModelCard, Question,
    http::{self, Client, HttpError},
};

/// A server that answers, and how it is asked.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    pub(super) card: ModelCard,
    pub(super) dialect: Dialect,
    /// When the answer to the first question was complete, which is one token.
    pub(super) first_token: Stamp,
}

/// Why a server is not ready.
enum Unready {
    /// Nobody is there, yet or any more.
    Absent(HttpError),
    /// It says that it will be, or takes its time.
    Loading(String),
    /// Waiting does not help.
    Never(BackendError),
}

/// Servers that differ in how they are asked or described.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Family {
    LlamaCpp,
    Vllm,
    Sglang,
    TensorRtLlm,
    Transformers,
    Other,
}

/// The answer of `/v1/models`.
#[derive(Debug, Default, Deserialize)]
struct Models {
    #[serde(deserialize_with = "or_empty")]
    data: Vec<Model>,
}

#[derive(Debug, Deserialize)]
struct Model {
    id: String,
    #[serde(default)]
    aliases: Vec<String>,
    owned_by: Option<String>,
    max_model_len: Option<u64>,
    meta: Option<BTreeMap<String, Value>>,
    /// Of servers that load what they are asked for.
    status: Option<Value>,
}

/// What a server says of itself.
#[derive(Debug)]
struct Description {
    family: Family,
    engine: String,
    cold: Cold,
    flags: BTreeMap<String, String>,
    facts: BTreeMap<String, String>,
    /// By the server's word on its weights.
    precision: Option<String>,
    /// Whether it sees pictures, where it says so.
    has_vision: Option<bool>,
}

/// Waits until the server has generated a token.
///
/// # Errors
/// Nobody answers, it is not ready in time, or it is not to be asked as it is set up.
pub(super) async fn find(
    client: &Client,
    settings: &OpenAiSettings,
) -> Result<Ready, BackendError> {
    let (began, url) = (Instant::now(), &settings.endpoint.url);
    loop {
        let waited = began.elapsed();
        match attempt(client, settings).await {
            Ok(ready) => return Ok(ready),
            Err(Unready::Never(error)) => return Err(error),
            Err(Unready::Absent(error)) if waited >= settings.patience.listening => {
                let message = error.words();
                return Err(BackendError::Absent { message });
            }
            Err(Unready::Loading(words)) if waited >= settings.patience.ready => {
                let message = format!(
                    "{url} is not ready after {:.0} s; it says: {words}",
                    waited.as_secs_f64()
                );
                return Err(BackendError::Absent { message });
            }
            Err(Unready::Absent(_) | Unready::Loading(_)) => {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }
}

async fn attempt(client: &Client, settings: &OpenAiSettings) -> Result<Ready, Unready> {
    let health = get(client, "/health").await?;
    if health.head.status == StatusCode::SERVICE_UNAVAILABLE {
        return Err(Unready::Loading(refusal::excerpt(&health.body)));
    }
    let listed = get(client, "/v1/models").await?;
    let models = match models(client, &listed) {
        // Without a folder of downloads transformers cannot list any, and serves the one that is named all the same.
        Err(_) if is_broken(&listed) && by_paths(client).await? == Family::Transformers => {
            Models::default()
        }
        models => models?,
    };
    let server = listed.head.headers.get(SERVER);
    let server = server.and_then(|server| server.to_str().ok());
    let mut description = describe(client, &models, server).await?;
    let model = choose(&models.data, settings, description.family).map_err(Unready::Never)?;
    if settings.has_pictures && description.has_vision == Some(false) {
        return Err(Unready::Never(setup(format!(
            "{} serves `{model}` without vision, and the suite asks about pictures: start the server with the model's picture projector (--mmproj), or choose a suite of texts",
            settings.endpoint.url
        ))));
    }
    let mut dialect = Dialect {
        cold: description.cold,
        counts: description.family.counts(),
        model: model.clone(),
    };
    let first_token = generate(client, settings, &mut dialect).await?;
    if settings.has_pictures && description.has_vision.is_none() {
        look(client, settings, &dialect).await?;
    }
    let flags = &mut description.flags;
    flags.insert("cold_cache".to_owned(), dialect.cold.as_str().to_owned());
    if settings.is_streaming && dialect.counts == StreamedCounts::None {
        flags.insert("stream_options".to_owned(), "refused".to_owned());
    }
    if !settings.endpoint.url.is_loopback() {
        tracing::warn!(url = %settings.endpoint.url, "the server is not at this machine's own address: if it is another machine, power and memory are not its");
        flags.insert("server".to_owned(), "remote".to_owned());
    }
    Ok(Ready {
        card: card(description, &model, settings),
        dialect,
        first_token,
    })
}

/// One token, and with it the question in which form the server takes questions.
async fn generate(
    client: &Client,
    settings: &OpenAiSettings,
    dialect: &mut Dialect,
) -> Result<Stamp, Unready> {
    let question = Question {
        is_streaming: settings.is_streaming,
        ..Question::new("Say yes.".to_owned(), None, 1)
    };
    loop {
        let exchange = client.post(COMPLETIONS, dialect.body(&question));
        let answer = exchange.answer(BODY_BYTES_MAX, settings.patience.ready);
        let answer = answer.await.map_err(Unready::from)?;
        let status = answer.head.status;
        // vLLM knows the field, and its older engine refuses it.
        if is_about_form(status) && dialect.cold == Cold::Salt && is_about_salt(&answer.body) {
            tracing::info!(%status, "the server takes no cache_salt; questions begin with random words instead");
            dialect.cold = Cold::Nonce;
            continue;
        }
        let simpler = dialect.counts.simpler().filter(|_| settings.is_streaming);
        match simpler {
            Some(simpler) if is_about_form(status) => {
                tracing::info!(%status, "the server refuses the first question; asked again in a simpler form");
                dialect.counts = simpler;
                continue;
            }
            _ => {}
        }
        if !status.is_success() {
            return Err(unready(client, &answer, &dialect.model));
        }
        return match heard(&answer.body, settings.is_streaming) {
            Ok(()) => Ok(answer.at),
            Err(error) => Err(Unready::Never(refused(&error, |error| {
                let url = &settings.endpoint.url;
                format!("{url} does not answer as servers of its kind do: {error}")
            }))),
        };
    }
}

/// A question about a picture, for servers that do not say whether they see.
async fn look(
    client: &Client,
    settings: &OpenAiSettings,
    dialect: &Dialect,
) -> Result<(), Unready> {
    let picture = grey_picture().map_err(|error| Unready::Never(setup(error.to_string())))?;
    let question = Question {
        is_streaming: settings.is_streaming,
        ..Question::new("What is it?".to_owned(), Some(picture.into()), 1)
    };
    let exchange = client.post(COMPLETIONS, dialect.body(&question));
    let answer = exchange.answer(BODY_BYTES_MAX, settings.patience.ready);
    let answer = answer.await.map_err(Unready::from)?;
    let heard = match answer.head.status.is_success() {
        true => heard(&answer.body, settings.is_streaming),
        false if answer.head.status == StatusCode::SERVICE_UNAVAILABLE => {
            return Err(unready(client, &answer, &dialect.model));
        }
        false => Err(refusal::within(&answer.body)),
    };
    heard.map_err(|error| {
        Unready::Never(refused(&error, |error| {
            format!(
                "{} answers a text and refuses a picture, and the suite asks about pictures: does `{}` see? {error}",
                settings.endpoint.url, dialect.model
            )
        }))
    })
}

/// Large enough for every encoder's patches.
fn grey_picture() -> Result<Vec<u8>, png::EncodingError> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, GREY_SIDE, GREY_SIDE);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&[128; 3 * (GREY_SIDE * GREY_SIDE) as usize])?;
    writer.finish()?;
    Ok(file)
}

/// Whether an answer has an end.
fn heard(body: &[u8], is_streaming: bool) -> Result<(), BackendError> {
    let mut answer = Answer::new();
    if !is_streaming {
        answer.read(body)?;
        return answer.finish().map(drop);
    }
    if body.trim_ascii_start().starts_with(b"{") {
        return Err(unstreamed(&String::from_utf8_lossy(body)));
    }
    let (mut events, mut found) = (Events::default(), Vec::new());
    let read = events.read(body, &mut found);
    read.map_err(|flood| setup(flood.to_string()))?;
    found.extend(events.end());
    for event in &found {
        answer.read_event(event)?;
    }
    answer.finish().map(drop)
}

fn is_broken(listed: &http::Answer) -> bool {
    listed.head.status == StatusCode::INTERNAL_SERVER_ERROR
}

fn models(client: &Client, listed: &http::Answer) -> Result<Models, Unready> {
    let url = &client.endpoint().url;
    if listed.head.status == StatusCode::NOT_FOUND {
        return Err(Unready::Never(setup(format!(
            "{url} has no /v1/models: it is no server of the OpenAI interface, or its paths begin elsewhere (--url {url}/PREFIX)"
        ))));
    }
    if !listed.head.status.is_success() {
        return Err(unready(client, listed, "?"));
    }
    serde_json::from_slice(&listed.body).map_err(|error| {
        let body = refusal::excerpt(&listed.body);
        Unready::Never(setup(format!(
            "{url} answers /v1/models with something else than a list of models ({error}): {body}"
        )))
    })
}

/// The model to ask for, by the name that the server knows it by.
fn choose(
    models: &[Model],
    settings: &OpenAiSettings,
    family: Family,
) -> Result<String, BackendError> {
    let url = &settings.endpoint.url;
    let names: Vec<&str> = models.iter().map(|model| model.id.as_str()).collect();
    let list = match names.as_slice() {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    match (&settings.model, names.as_slice()) {
        (None, [only]) => Ok((*only).to_owned()),
        (None, []) => Err(setup(format!(
            "{url} lists no model: name it with --model NAME"
        ))),
        (None, _) => Err(setup(format!(
            "{url} serves several models: choose with --model NAME, of {list}"
        ))),
        (Some(name), _) => {
            let is_listed = models.iter().any(|model| model.is_called(name));
            let loads_on_demand =
                family == Family::Transformers || models.iter().any(|model| model.status.is_some());
            match is_listed || loads_on_demand {
                true => Ok(name.clone()),
                false => Err(setup(format!(
                    "--model: {url} does not serve `{name}`; it serves {list}"
                ))),
            }
        }
    }
}

impl Model {
    fn is_called(&self, name: &str) -> bool {
        self.id == name || self.aliases.iter().any(|alias| alias == name)
    }
}

async fn describe(
    client: &Client,
    models: &Models,
    server: Option<&str>,
) -> Result<Description, Unready> {
    let owner = models
        .data
        .iter()
        .find_map(|model| model.owned_by.as_deref());
    let family = match owner {
        Some("llamacpp") => Family::LlamaCpp,
        Some("vllm") => Family::Vllm,
        Some("sglang") => Family::Sglang,
        Some("tensorrt_llm") => Family::TensorRtLlm,
        _ => by_paths(client).await?,
    };
    let mut description = Description::of(family);
    let mut flag = |name: &str, value: Option<String>| {
        let value = value.filter(|value| !value.is_empty());
        description
            .flags
            .extend(value.map(|value| (name.to_owned(), value)));
    };
    let context = models.data.first().and_then(|model| model.max_model_len);
    flag("context", context.map(|context| context.to_string()));
    match family {
        Family::LlamaCpp => {
            let props = document(client, "/props").await?;
            description.add_llama_cpp(&props, models);
        }
        Family::Vllm | Family::TensorRtLlm => {
            let version = text(&document(client, "/version").await?, "/version");
            if family == Family::Vllm && !version.as_deref().is_some_and(knows_salt) {
                description.cold = Cold::Nonce;
            }
            description.add_version(version);
        }
        Family::Sglang => {
            let mut info = document(client, "/server_info").await?;
            if info.is_null() {
                info = document(client, "/get_server_info").await?;
            }
            flag("engine_slots", text(&info, "/max_running_requests"));
            flag("context", text(&info, "/context_length"));
            flag("dtype", text(&info, "/dtype"));
            flag("quantization", text(&info, "/quantization"));
            flag("tensor_parallel", text(&info, "/tp_size"));
            description.add_version(text(&info, "/version"));
        }
        Family::Transformers => {}
        Family::Other => {
            let of = server.map(|server| refusal::excerpt(server.as_bytes()));
            description.engine += &of.map(|of| format!(" ({of})")).unwrap_or_default();
        }
    }
    Ok(description)
}

/// For servers whose list of models does not tell.
async fn by_paths(client: &Client) -> Result<Family, Unready> {
    let props = document(client, "/props").await?;
    if props.get("total_slots").is_some() {
        return Ok(Family::LlamaCpp);
    }
    let interface = document(client, "/openapi.json").await?;
    let paths = interface.get("paths");
    let is_there = |path: &str| paths.is_some_and(|paths| paths.get(path).is_some());
    match is_there("/load_model") && is_there("/v1/responses") {
        true => Ok(Family::Transformers),
        false => Ok(Family::Other),
    }
}

impl Description {
    fn of(family: Family) -> Self {
        Self {
            family,
            engine: family.as_str().to_owned(),
            cold: family.cold(),
            flags: BTreeMap::new(),
            facts: BTreeMap::new(),
            precision: None,
            has_vision: None,
        }
    }

    fn add_version(&mut self, version: Option<String>) {
        if let Some(version) = version {
            self.engine = format!("{} {}", self.engine, refusal::excerpt(version.as_bytes()));
        }
    }

    fn add_llama_cpp(&mut self, props: &Value, models: &Models) {
        self.add_version(text(props, "/build_info"));
        let flags = [
            ("engine_slots", "/total_slots"),
            ("context", "/default_generation_settings/n_ctx"),
            ("vision", "/modalities/vision"),
            ("audio", "/modalities/audio"),
            (
                "speculative",
                "/default_generation_settings/params/speculative.types",
            ),
        ];
        for (name, place) in flags {
            let value = text(props, place);
            self.flags
                .extend(value.map(|value| (name.to_owned(), value)));
        }
        self.has_vision = props.pointer("/modalities/vision").and_then(Value::as_bool);
        let weights = text(props, "/model_ftype");
        self.precision = weights.as_deref().map(precision);
        self.facts
            .extend(weights.map(|weights| ("ftype".to_owned(), weights)));
        let meta = models.data.first().and_then(|model| model.meta.as_ref());
        for (name, value) in meta.into_iter().flatten() {
            if value.is_number() {
                self.facts.insert(name.clone(), value.to_string());
            }
        }
    }
}

impl Family {
    fn as_str(self) -> &'static str {
        match self {
            Self::LlamaCpp => "llama.cpp server",
            Self::Vllm => "vLLM",
            Self::Sglang => "SGLang",
            Self::TensorRtLlm => "TensorRT-LLM",
            Self::Transformers => "transformers serve",
            Self::Other => "unknown server",
        }
    }

    fn cold(self) -> Cold {
        match self {
            Self::LlamaCpp => Cold::NoCachePrompt,
            Self::Vllm => Cold::Salt,
            Self::Transformers => Cold::Always,
            Self::Sglang | Self::TensorRtLlm | Self::Other => Cold::Nonce,
        }
    }

    fn counts(self) -> StreamedCounts {
        match self {
            Self::Vllm => StreamedCounts::Running,
            _ => StreamedCounts::Total,
        }
    }
}

impl StreamedCounts {
    fn simpler(self) -> Option<Self> {
        match self {
            Self::Running => Some(Self::Total),
            Self::Total => Some(Self::None),
            Self::None => None,
        }
    }
}

fn card(description: Description, model: &str, settings: &OpenAiSettings) -> ModelCard {
    let precision = settings.precision.clone().or(description.precision);
    ModelCard {
        engine: description.engine,
        engine_flags: description.flags,
        model: family_name(model),
        precision: precision.unwrap_or_else(|| "unknown".to_owned()),
        facts: description.facts,
        digest: None,
        mmproj_digest: None,
        mmproj_precision: None,
        // It was there before.
        load_time: None,
    }
}

/// llama.cpp calls a model by its file's path unless it is told a name.
fn family_name(model: &str) -> String {
    let file = model.rsplit('/').next().unwrap_or(model);
    file.strip_suffix(".gguf").unwrap_or(model).to_owned()
}

/// llama.cpp's word on weights, such as `all F32`, `Q4_K - Medium` or `IQ4_NL - 4.5 bpw`, as we have it: `f32`, `q4_k_m`, `iq4_nl`.
fn precision(ftype: &str) -> String {
    let words = ftype.to_ascii_lowercase();
    let words = words
        .trim_start_matches("all ")
        .trim_start_matches("mostly ")
        .trim_end_matches(" (guessed)");
    let (class, size) = words.split_once(" - ").unwrap_or((words, ""));
    match size.chars().next().filter(char::is_ascii_alphabetic) {
        Some(size) => format!("{class}_{size}"),
        None => class.to_owned(),
    }
}

/// `cache_salt` came with vLLM 0.9; versions before take the field and do nothing.
fn knows_salt(version: &str) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(0), Some(minor)) => minor >= 9,
        (Some(_), _) => true,
        (None, _) => false,
    }
}

/// Where there is one: JSON, and nothing else.
async fn document(client: &Client, path: &str) -> Result<Value, Unready> {
    let found = get(client, path).await?;
    if !found.head.status.is_success() {
        return Ok(Value::Null);
    }
    Ok(serde_json::from_slice(&found.body).unwrap_or_default())
}

fn text(document: &Value, place: &str) -> Option<String> {
    match document.pointer(place)? {
        Value::Null => None,
        Value::String(text) => Some(refusal::excerpt(text.as_bytes())),
        other => Some(other.to_string()),
    }
}

async fn get(client: &Client, path: &str) -> Result<http::Answer, Unready> {
    let asked = client.get(path).answer(BODY_BYTES_MAX, LOOK_TIME).await;
    asked.map_err(Unready::from)
}

fn unready(client: &Client, answer: &http::Answer, model: &str) -> Unready {
    if answer.head.status == StatusCode::SERVICE_UNAVAILABLE {
        return Unready::Loading(refusal::excerpt(&answer.body));
    }
    let words = String::from_utf8_lossy(&answer.body);
    let error = refusal::by_status(&answer.head, &words, client.endpoint(), model);
    Unready::Never(refused(&error, ToString::to_string))
}

/// A server that refuses what it is asked first is not set up for it, unless it has no memory for it: that is a result.
fn refused(error: &BackendError, words: impl Fn(&BackendError) -> String) -> BackendError {
    let message = words(error);
    match error {
        BackendError::Request { class, .. } | BackendError::Engine { class, .. }
            if *class == FailureClass::OutOfMemory =>
        {
            BackendError::Engine {
                class: *class,
                message,
            }
        }
        _ => setup(message),
    }
}

fn is_about_form(status: StatusCode) -> bool {
    [StatusCode::BAD_REQUEST, StatusCode::UNPROCESSABLE_ENTITY].contains(&status)
}

fn is_about_salt(body: &[u8]) -> bool {
    String::from_utf8_lossy(body).contains("cache_salt")
}

fn setup(message: String) -> BackendError {
    BackendError::Setup { message }
}

impl From<HttpError> for Unready {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Refused { .. }
            | HttpError::Unreachable { .. }
            | HttpError::Closed { .. } => Self::Absent(error),
            HttpError::Late { .. } => Self::Loading(error.words()),
            _ => Self::Never(setup(error.words())),
        }
    }
}

/// As often as a load time needs it.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A server that takes longer for a list of its models is busy loading one.
const LOOK_TIME: Duration = Duration::from_secs(10);

const GREY_SIDE: u32 = 96;

/// Lists of models and descriptions of interfaces are long, but not so long.
const BODY_BYTES_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_called_by_its_name_not_by_its_path() {
        assert_eq!(family_name("/models/tiny-vlm-f32.gguf"), "tiny-vlm-f32");
        assert_eq!(family_name("Qwen/Qwen2.5-VL-7B"), "Qwen/Qwen2.5-VL-7B");
    }

    #[test]
    fn a_salt_is_for_versions_that_know_it() {
        assert!(knows_salt("0.9.0") && knows_salt("0.32.0+cpu") && knows_salt("1.0"));
        assert!(!knows_salt("0.8.5.post1") && !knows_salt("0.1.dev12+g1") && !knows_salt("dev"));
    }

    #[test]
    fn weights_have_one_word_for_their_precision() {
        for (ftype, want) in [
            ("all F32", "f32"),
            ("F16", "f16"),
            ("BF16", "bf16"),
            ("Q8_0", "q8_0"),
            ("mostly Q4_0", "q4_0"),
            ("Q4_K - Medium", "q4_k_m"),
            ("Q4_K - Small (guessed)", "q4_k_s"),
            ("Q8_0 (guessed)", "q8_0"),
            ("IQ4_NL - 4.5 bpw", "iq4_nl"),
            ("Q4_K - größer", "q4_k_g"),
            ("Q4_K - Übergröße", "q4_k"),
            ("Q4_K - ", "q4_k"),
        ] {
            assert_eq!(precision(ftype), want);
        }
    }
}
