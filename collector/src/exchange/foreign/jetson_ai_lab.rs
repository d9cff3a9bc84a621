//! The table of Jetson AI Lab, `src/data/benchmarks.json`: a vendor's numbers, with no spread, no power and no date.

use std::collections::BTreeMap;

use super::{
    ForeignError, Readings, Tool,
    node::Node,
    reading::{Reading, Unit, closed, count},
};

pub(super) fn recognises(node: &Node) -> bool {
    let is_table = node.get("products").is_some() && node.get("models").is_some();
    is_table || is_first_form(node)
}

/// Of 2025: an entry for each model, with `orin` and `thor`.
fn is_first_form(node: &Node) -> bool {
    node.get("modelId").is_some() && (node.get("orin").is_some() || node.get("thor").is_some())
}

/// A run for each cell of the table.
///
/// # Errors
/// There are more than are read.
pub(super) fn read(
    node: &Node,
    place: &str,
    readings: &mut Readings<'_>,
) -> Result<(), ForeignError> {
    match is_first_form(node) {
        true => first_form(node, place, readings),
        false => table(node, place, readings),
    }
}

fn first_form(node: &Node, place: &str, readings: &mut Readings<'_>) -> Result<(), ForeignError> {
    for (product, device) in [
        ("orin", "Jetson AGX Orin 64GB"),
        ("thor", "Jetson Thor T5000"),
    ] {
        let speeds = node.get(product).and_then(Node::object);
        for (load, speed) in speeds.into_iter().flatten() {
            let mut reading = Reading::new(format!("{place}.{product}.{load}"));
            let model = node.get("modelName").and_then(Node::text);
            reading.model = model.map(str::to_owned);
            reading.device = Some(device.to_owned());
            reading.engine = Some("vLLM".to_owned());
            reading.task = "2048/128".to_owned();
            put(&mut reading, load, speed, "output_tps", "output_tps");
            readings.push(reading)?;
        }
    }
    Ok(())
}

fn table(node: &Node, place: &str, readings: &mut Readings<'_>) -> Result<(), ForeignError> {
    let products: BTreeMap<&str, &str> = node
        .get("products")
        .map(Node::list)
        .unwrap_or_default()
        .iter()
        .filter_map(|product| Some((product.get("id")?.text()?, product.get("fullName")?.text()?)))
        .collect();
    let models = node.get("models").map(Node::list).unwrap_or_default();
    for (position, model) in models.iter().enumerate() {
        let place = format!("{place} models[{position}]");
        let engines = model.get("engines").and_then(Node::object);
        for (engine, precisions) in engines.into_iter().flatten() {
            for (precision, loads) in precisions.object().into_iter().flatten() {
                let place = format!("{place}.{engine}.{precision}");
                let labels = [engine.as_str(), precision, &place];
                speeds(model, labels, loads, &products, readings)?;
            }
        }
        if let Some(loads) = model.get("performance") {
            let text = |key| model.get(key).and_then(Node::text).unwrap_or("not stated");
            let labels = [text("framework"), text("quantization"), &place];
            speeds(model, labels, loads, &products, readings)?;
        }
    }
    Ok(())
}

fn speeds(
    model: &Node,
    [engine, precision, place]: [&str; 3],
    loads: &Node,
    products: &BTreeMap<&str, &str>,
    readings: &mut Readings<'_>,
) -> Result<(), ForeignError> {
    let number = |key| model.get(key).and_then(Node::number);
    // Of TensorRT Edge-LLM the table has the speed of generating alone.
    let (id, source) = match engine {
        "Edge-LLM" => ("decode_tps_server", "generation throughput"),
        _ => ("output_tps", "output throughput"),
    };
    for (load, values) in loads.object().into_iter().flatten() {
        for (product, speed) in values.object().into_iter().flatten() {
            let mut reading = Reading::new(format!("{place}.{load}.{product}"));
            reading.model = model.get("name").and_then(Node::text).map(str::to_owned);
            reading.precision = Some(precision.to_ascii_lowercase());
            reading.engine = Some(engine.to_owned());
            let device = products.get(product.as_str()).copied().unwrap_or(product);
            reading.device = Some(device.to_owned());
            let (isl, osl) = (number("isl"), number("osl"));
            reading.asked("isl", isl);
            reading.asked("osl", osl);
            reading.task = format!(
                "text {}/{}",
                isl.unwrap_or_default(),
                osl.unwrap_or_default()
            );
            reading.max_tokens = osl.and_then(count);
            put(&mut reading, load, speed, id, source);
            readings.push(reading)?;
        }
    }
    Ok(())
}

/// A cell of the table; an empty one is none.
fn put(reading: &mut Reading, load: &str, speed: &Node, id: &str, source: &str) {
    let concurrency = load
        .strip_prefix("concurrency")
        .and_then(|number| number.parse().ok());
    reading.load = closed(concurrency);
    reading.put_remarked(
        id,
        speed.number(),
        Unit::TokensPerSecond,
        source,
        Some("a vendor's table: no spread, no power"),
    );
    reading.note(
        "vendor_table",
        format!(
            "{} gives one number, and not how often it was measured",
            Tool::JetsonAiLab
        ),
    );
}
