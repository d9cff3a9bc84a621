//! What every picture keeps to, whatever it shows.

use tokwatt_domain::{metrics::dictionary::Better, power::Provenance};

use super::*;

fn axis(label: &str, unit: &str, better: Better) -> Axis {
    Axis {
        label: label.to_owned(),
        unit: unit.to_owned(),
        better,
    }
}

fn chart(drawing: Drawing) -> Chart {
    Chart {
        name: "a picture".to_owned(),
        title: "Speed <b>of</b> things".to_owned(),
        subtitle: vec!["task caption_brief, load closed(1)".to_owned()],
        provenance: Provenance::Measured,
        drawing,
        notes: vec!["n/a: not measured".to_owned()],
    }
}

fn with_interval(value: f64) -> Datum {
    Datum {
        interval: Some((0.9 * value, 1.1 * value)),
        ..Datum::number(value)
    }
}

fn names(n: usize) -> Vec<String> {
    (0..n)
        .map(|number| format!("device-with-a-very-long-name-{number} <i>&\u{1}"))
        .collect()
}

fn value(number: usize) -> f64 {
    1.5 + 3.25 * number as f64
}

fn bars(n: usize) -> Drawing {
    let mut rows: Vec<(String, Datum)> = names(n)
        .into_iter()
        .enumerate()
        .map(|(number, name)| (name, with_interval(value(number))))
        .collect();
    rows.push(("gone".to_owned(), Datum::absent()));
    Drawing::Bars(Bars {
        axis: axis("decode_tps", "tok/s", Better::Higher),
        groups: vec![
            Group {
                name: "orin".to_owned(),
                rows: rows.clone(),
            },
            Group {
                name: "thor".to_owned(),
                rows,
            },
        ],
    })
}

fn heat_map(n: usize) -> Drawing {
    let cells = |row: usize| {
        (0..n)
            .map(|column| Datum::number(value(row + column)))
            .chain([Datum::absent()])
            .collect()
    };
    Drawing::HeatMap(HeatMap {
        axis: axis("decode_tps", "tok/s", Better::Higher),
        keys: ["device".to_owned(), "model".to_owned()],
        columns: names(n + 1),
        rows: names(n)
            .into_iter()
            .enumerate()
            .map(|(row, name)| (name, cells(row)))
            .collect(),
    })
}

fn boxes(n: usize) -> Drawing {
    let data = |number: usize| {
        let values: Vec<f64> = (0..50)
            .map(|step| value(number) + f64::from(step * step))
            .collect();
        Quartiles::of(&values, number).unwrap()
    };
    Drawing::Boxes(Boxes {
        axis: axis("request_latency", "s", Better::Lower),
        groups: vec![Group {
            name: String::new(),
            rows: names(n)
                .into_iter()
                .enumerate()
                .map(|(number, name)| (name, data(number)))
                .collect(),
        }],
    })
}

fn lines(n: usize) -> Drawing {
    let series = |(number, name): (usize, String)| Series {
        name,
        points: [1.0, 2.0, 4.0, 8.0]
            .map(|x| (x, with_interval(x * value(number))))
            .into(),
    };
    Drawing::Lines(Lines {
        x: Axis::plain("requests at once", ""),
        y: axis("output_tps", "tok/s", Better::Higher),
        is_doubling: true,
        has_markers: true,
        series: names(n).into_iter().enumerate().map(series).collect(),
        stretches: Vec::new(),
    })
}

fn scatter(n: usize) -> Drawing {
    let dot = |(number, name): (usize, String)| {
        (
            name,
            [
                with_interval(value(number)),
                with_interval(100.0 - value(number % 7)),
            ],
        )
    };
    Drawing::Scatter(Scatter {
        x: axis("decode_tps", "tok/s", Better::Higher),
        y: axis("counts_f1", "share", Better::Higher),
        dots: names(n).into_iter().enumerate().map(dot).collect(),
    })
}

fn panels(n: usize) -> Drawing {
    let panel = |drawing| Panel {
        title: "a part".to_owned(),
        drawing,
    };
    Drawing::Panels([bars(n), lines(n), heat_map(n), boxes(n)].map(panel).into())
}

/// Every kind, with one thing, a few, and more than anybody wants.
fn all() -> Vec<Chart> {
    let kinds: [fn(usize) -> Drawing; 6] = [bars, heat_map, boxes, lines, scatter, panels];
    let sizes = [1, 3, 40];
    kinds
        .iter()
        .flat_map(|kind| sizes.map(|n| chart(kind(n))))
        .collect()
}

#[test]
fn every_picture_is_xml_with_a_title_and_a_description_and_nothing_that_runs() {
    for chart in all() {
        let svg = svg(&chart);
        resvg::usvg::Tree::from_str(&svg, &Default::default()).unwrap();
        assert!(
            svg.contains("role=\"img\"")
                && svg.contains("<title id=\"a-picture-title\">Speed &lt;b&gt;"),
            "{svg}"
        );
        assert!(!svg.contains("<b>") && !svg.contains("<script") && !svg.contains("href"));
        assert!(!svg.contains('\u{1}'));
        assert_eq!(svg.matches("http").count(), 1, "its own namespace");
    }
}

#[test]
fn nothing_is_drawn_outside_the_sheet() {
    for chart in all() {
        let options = resvg::usvg::Options::default();
        let text = svg(&chart);
        let tree = resvg::usvg::Tree::from_str(&text, &options).unwrap();
        let (sheet, drawn) = (tree.size(), tree.root().abs_bounding_box());
        assert!(drawn.left() >= -1.0 && drawn.top() >= -1.0, "{drawn:?}");
        assert!(
            drawn.right() <= sheet.width() + 1.0 && drawn.bottom() <= sheet.height() + 1.0,
            "{drawn:?} in {sheet:?}"
        );
    }
}

#[test]
fn the_same_picture_has_the_same_bytes() {
    for chart in all() {
        assert_eq!(svg(&chart), svg(&chart.clone()));
    }
    let chart = chart(scatter(3));
    assert_eq!(png(&chart).unwrap(), png(&chart).unwrap());
}

#[test]
fn every_number_that_is_drawn_stands_in_the_table_and_the_other_way_round() {
    let Drawing::HeatMap(map) = heat_map(3) else {
        unreachable!()
    };
    let chart = chart(Drawing::HeatMap(map));
    let text = svg(&chart);
    let drawing = text.split_once("</desc>").unwrap().1;
    for (_, table) in tables(&chart) {
        for cell in table.rows.iter().flat_map(|row| row.iter().skip(1)) {
            assert!(drawing.contains(&format!("\n{cell}\n")), "{cell}");
        }
    }
}

#[test]
fn what_is_absent_is_said_and_never_a_bar() {
    let chart = chart(Drawing::Bars(Bars {
        axis: axis("energy", "J", Better::Lower),
        groups: vec![Group {
            name: String::new(),
            rows: vec![("orin".to_owned(), Datum::absent())],
        }],
    }));
    let text = svg(&chart);
    assert!(text.contains("\nn/a\n"));
    let category = "#0072B2";
    assert!(!text.contains(category), "{text}");
    assert_eq!(tables(&chart)[0].1.rows[0][1], "n/a");
}

#[test]
fn what_is_not_measured_says_so_in_the_picture() {
    for (provenance, word) in [
        (Provenance::Simulated, "SIMULATED"),
        (Provenance::Imported, "IMPORTED"),
        (Provenance::Estimated, "ESTIMATED"),
    ] {
        let simulated = Chart {
            provenance,
            ..chart(bars(1))
        };
        let text = svg(&simulated);
        assert_eq!(
            text.matches(&format!("{word}, NOT MEASURED")).count(),
            2,
            "title and picture"
        );
    }
    assert!(!svg(&chart(bars(1))).contains("NOT MEASURED"));
}

#[test]
fn the_front_has_what_nothing_beats_in_both() {
    let dot = |name: &str, x: f64, y: f64| (name.to_owned(), [Datum::number(x), Datum::number(y)]);
    let mut front = Scatter {
        x: axis("ttft", "s", Better::Lower),
        y: axis("quality", "share", Better::Higher),
        dots: vec![
            dot("fast", 1.0, 0.5),
            dot("good", 3.0, 0.9),
            dot("beaten", 3.0, 0.5),
            dot("middle", 2.0, 0.7),
        ],
    };
    assert_eq!(front.front(), [true, true, false, true]);
    front.dots[0].1[0].is_blocked = true;
    assert_eq!(front.front(), [false, true, false, true]);
    // What may be as good is not beaten.
    front.dots[2].1[0].interval = Some((0.5, 4.0));
    front.dots[2].1[1].interval = Some((0.4, 0.95));
    assert_eq!(front.front(), [false, true, true, true]);
}

#[test]
fn quarters_are_of_the_nearest_rank() {
    let quartiles = Quartiles::of(&[4.0, 1.0, 3.0, 2.0, 100.0], 2).unwrap();
    assert_eq!(
        (quartiles.lower, quartiles.median, quartiles.upper),
        (2.0, 4.0, f64::INFINITY)
    );
    assert_eq!(quartiles.whiskers, (1.0, 100.0));
    assert_eq!((quartiles.n, quartiles.n_failed), (5, 2));
    let all = Quartiles::of(&[4.0, 1.0, 3.0, 2.0, 100.0], 0).unwrap();
    assert_eq!((all.lower, all.median, all.upper), (2.0, 3.0, 4.0));
    assert_eq!((all.whiskers, all.outliers), ((1.0, 4.0), vec![100.0]));
    assert_eq!(Quartiles::of(&[f64::INFINITY], 0), None);
}

#[test]
fn names_of_files_are_safe() {
    assert_eq!(
        file_name("decode_tps by Device/../x"),
        "decode_tps-by-device-..-x"
    );
    assert_eq!(file_name("../../etc/passwd"), "etc-passwd");
    assert_eq!(file_name("…"), "unnamed");
    assert!(file_name(&"x".repeat(500)).len() <= 100);
}
