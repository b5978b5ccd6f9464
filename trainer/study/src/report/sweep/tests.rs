//! What the page, the picture and the tables must hold, on invented figures.

use roxmltree::{Document, Node};

use super::fits::fits;
use super::*;
use crate::schema::sweep::{Row, RowLayer, RowSchedule, Sweep};
use crate::schema::{Accuracy, Bench, Board, Dataset, Eval, Inspect, Model};

/// A sweep with invented figures: dense, two good ones, and one that is both dear and bad.
pub(crate) fn invented() -> Sweep {
    let row = |prune: f64, accuracy: f64, share: f64, measured: bool| {
        let full = 100_000.0;
        let bytes = |of: f64| (full * of) as u64;
        let name = if prune == 0.0 { "dense".to_owned() } else { format!("g{prune}") };
        let layer = |name: &str, rank: u64| RowLayer {
            name: name.to_owned(),
            rank: (prune > 0.0).then_some(rank),
            energy_kept: (prune > 0.0).then_some(0.999),
            singular_values: (0..16).map(|at| f64::from(100 - 6 * at) / 100.0).collect(),
        };
        let board = Board {
            board: "qemu-mps2-an386".into(),
            core: Some("Cortex-M4F".into()),
            counter: "instructions".into(),
            total: bytes(share * 100.0),
            text_bytes: Some(80 << 10),
            static_bytes: Some(2048),
            stack_bytes: Some(4096),
            arena_bytes: Some(60_000),
            ..Board::default()
        };
        Row {
            prune,
            run: name.clone(),
            epochs: 2,
            epochs_in_all: 2,
            file_bytes: bytes(4.5 * share),
            arenas: crate::boards::Board::all().map(|board| (board.name.to_owned(), 60_000)).collect(),
            schedule: Some(RowSchedule {
                ram: "least".into(),
                written: false,
                layers_bytes: 60_000,
                arena_bytes: bytes(0.25 + 0.05 * share),
                cost: 1.25,
            }),
            layers: vec![layer("conv1", 6), layer("layer1.0.conv1", 9)],
            model: Model {
                name,
                inspect: Some(Inspect {
                    network: "resnet8".into(),
                    macs: bytes(125.0 * share),
                    macs_dense: bytes(125.0),
                    arena_bytes: 60_000,
                    ..Inspect::default()
                }),
                eval: Some(Eval {
                    runtime: Some(Accuracy { accuracy, images: 10_000, ..Accuracy::default() }),
                    candle: Some(Accuracy { accuracy, images: 10_000, ..Accuracy::default() }),
                }),
                bench: Some(Bench { median_ms: 0.5 * share, ..Bench::default() }),
                boards: if measured { vec![board] } else { Vec::new() },
                ..Model::default()
            },
            ..Row::default()
        }
    };
    Sweep {
        command: "lrpet sweep --net resnet8".into(),
        created: "2026-01-02T03:04:05Z".into(),
        network: "resnet8".into(),
        dataset: Dataset { name: "fashion-mnist".into(), ..Dataset::default() },
        warm_start: "none".into(),
        rows: vec![
            row(0.0, 0.92, 1.0, true),
            row(0.3, 0.90, 1.05, false),
            row(0.5, 0.915, 0.6, true),
            row(0.7, 0.89, 0.4, true),
        ],
        ..Sweep::default()
    }
}

/// The page's body, which is well-formed XML once its script, which has its own syntax, is gone.
fn body(page: &str) -> String {
    let start = page.find("<body>").expect("a page has a body");
    let end = page.find("</body>").expect("a body ends") + "</body>".len();
    let body = &page[start..end];
    let script = body.rfind("<script>").expect("a script");
    let after = body.rfind("</script>").expect("its end") + "</script>".len();
    let body = format!("{}{}", &body[..script], &body[after..]);
    // Elements and attributes that HTML writes without an end or a value.
    let inputs: Vec<&str> = body.split("<input").collect();
    let closed = inputs.iter().enumerate().map(|(index, part)| match index {
        0 => (*part).to_owned(),
        _ => format!("<input{}", part.replacen('>', "/>", 1)),
    });
    closed.collect::<String>().replace(" hidden>", " hidden=\"\">")
}

fn by_class<'a>(document: &'a Document, class: &str) -> Vec<Node<'a, 'a>> {
    let has = |node: &Node| node.attribute("class").is_some_and(|of| of.split(' ').any(|one| one == class));
    document.descendants().filter(has).collect()
}

#[test]
fn the_front_is_what_nothing_beats() {
    assert_eq!(pareto(&[(3.0, 0.9), (1.0, 0.5), (2.0, 0.4), (3.0, 0.8)]), [true, true, false, false]);
    assert_eq!(pareto(&[(1.0, 0.5), (1.0, 0.5)]), [true, true], "equals do not beat each other");
    assert_eq!(pareto(&[]), [false; 0]);
}

#[test]
fn the_page_loads_nothing_and_has_a_point_for_every_measured_run() {
    let sweep = invented();
    let page = html(&sweep);
    for forbidden in ["http:", "https:", "src=", "@import", "url(", "fetch(", "innerHTML"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    let text = body(&page);
    let document = Document::parse(&text).unwrap_or_else(|error| panic!("{error}"));
    let charts = by_class(&document, "scatter");
    let keys: Vec<_> = charts.iter().filter_map(|chart| chart.attribute("data-figure")).collect();
    assert_eq!(keys, ["macs", "flash", "ram", "rows", "host", "qemu-mps2-an386"]);
    for chart in charts {
        let points = chart.descendants().filter(|node| node.attribute("data-row").is_some());
        let rows: Vec<_> = points.filter_map(|node| node.attribute("data-row")).collect();
        let measured = chart.attribute("data-figure") == Some("qemu-mps2-an386");
        assert_eq!(rows, if measured { vec!["0", "2", "3"] } else { vec!["0", "1", "2", "3"] });
        let front = chart.descendants().filter(|node| {
            node.attribute("class").is_some_and(|class| class.contains("point") && class.contains("best"))
        });
        let front: Vec<_> = front.filter_map(|node| node.attribute("data-row")).collect();
        if chart.attribute("data-figure") != Some("ram") {
            assert_eq!(front, ["0", "2", "3"], "the dear and bad one is not on the front");
        }
    }
    let sliders = document.descendants().filter(|node| node.attribute("type") == Some("range"));
    assert_eq!(sliders.count(), 5, "flash, RAM by layers and in rows, host, board");
    assert!(page.contains("arena in rows, least") && page.contains("≈ 1.25×"), "{page}");
}

#[test]
fn names_cannot_break_out_of_the_page() {
    let mut sweep = invented();
    sweep.network = "</script><script>alert(1)</script>".into();
    sweep.rows[0].run = "</script><b>".into();
    let page = html(&sweep);
    assert_eq!(page.matches("<script").count(), 2);
    assert!(!page.contains("<b></b>") && !page.contains("</script><b>"));
}

#[test]
fn boards_say_yes_and_no_with_numbers() {
    let sweep = invented();
    let all = fits(&sweep);
    let of = |name: &str| &all.iter().find(|(board, _)| board.name == name).expect(name).1;
    let large = of("qemu-mps2-an386");
    assert!(large.iter().flatten().all(|fit| fit.fits()));
    let fit = large[0].as_ref().unwrap();
    assert_eq!((fit.flash, fit.ram), (450_000 + (80 << 10), 60_000 + 6144));
    assert_eq!(fit.measured_on.as_deref(), Some("qemu-mps2-an386"));
    // 512 KB of flash hold the dense model with its code no more, but the smaller ones.
    let small: Vec<bool> = of("nucleo-f446re").iter().flatten().map(|fit| fit.fits()).collect();
    assert_eq!(small, [false, true, true, true]);
    assert_eq!(of("nucleo-f446re")[1].as_ref().unwrap().measured_on, None, "no board measured that run");
    assert!(of("nucleo-f446re")[2].as_ref().unwrap().measured_on.is_some());
}

#[test]
fn rows_fit_where_layers_do_not() {
    let mut sweep = invented();
    for row in &mut sweep.rows {
        row.arenas.iter_mut().for_each(|(_, bytes)| *bytes = 200_000);
    }
    let in_rows = |sweep: &Sweep| -> Vec<(bool, bool)> {
        let all = fits(sweep);
        let small = &all.iter().find(|(board, _)| board.name == "nucleo-f446re").unwrap().1;
        small.iter().flatten().map(|fit| (fit.fits(), fit.fits_in_rows())).collect()
    };
    // Rows are no help to the dense model, whose flash is too large.
    assert_eq!(in_rows(&sweep), [(false, false), (false, true), (false, true), (false, true)]);
    let page = html(&sweep);
    assert!(
        page.contains("<b>in rows</b>") && page.contains("in rows, least, RAM 33.3 KB of 128 KB"),
        "{page}"
    );
    // Whose model files are in rows already, the arena that was planned is all there is.
    sweep.rows.iter_mut().filter_map(|row| row.schedule.as_mut()).for_each(|schedule| {
        (schedule.ram, schedule.written) = ("32768".into(), true);
    });
    assert_eq!(in_rows(&sweep), [(false, false); 4]);
    let page = html(&sweep);
    assert!(
        page.contains("arena in rows, within 32.0 KB") && page.contains("all runs were measured in them"),
        "{page}"
    );
}

/// What an older version wrote.
#[test]
fn a_sweep_without_schedules_is_shown_by_layers() {
    let mut sweep = invented();
    sweep.rows.iter_mut().for_each(|row| row.schedule = None);
    let json = serde_json::to_string(&sweep).unwrap();
    assert!(!json.contains("schedule"));
    assert_eq!(serde_json::from_str::<Sweep>(&json).unwrap(), sweep);
    let page = html(&sweep);
    assert!(page.contains("data-figure=\"ram\"") && !page.contains("data-figure=\"rows\""), "{page}");
    assert_eq!(sweep.rows[0].layers_bytes(), Some(60_000));
}

#[test]
fn the_picture_is_one_file_and_the_tables_have_every_run() {
    let sweep = invented();
    let picture = svg(&sweep);
    let document = Document::parse(&picture).unwrap();
    assert_eq!(by_class(&document, "scatter").len(), 6);
    let table = markdown(&sweep);
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with('|')).collect();
    assert_eq!(rows.len(), 2 + sweep.rows.len());
    assert!(rows.iter().all(|row| row.matches('|').count() == rows[0].matches('|').count()));
    assert!(
        table.contains("| g = 0.5 | 91.50 % (−0.50) |") && table.contains("lrpet sweep --net resnet8"),
        "{table}"
    );
    assert!(table.contains("g = 0.5: 91.50 % (−0.50 points) at 0.60× the multiply-adds"), "{table}");
    assert!(text(&sweep).lines().count() == 2 + sweep.rows.len());
}

#[test]
fn the_picture_as_pixels_shows_points_lines_and_names() {
    let sweep = invented();
    let decoded = image::load_from_memory(&png(&sweep).unwrap()).unwrap().to_rgb8();
    let width = Document::parse(&svg(&sweep)).unwrap().root_element().attribute("width").unwrap().to_owned();
    assert_eq!(f64::from(decoded.width()), 2.0 * width.parse::<f64>().unwrap());
    let count = |colour: [u8; 3]| decoded.pixels().filter(|pixel| pixel.0 == colour).count();
    // Points on the front in six charts are discs of 10 pixels' radius.
    assert!(count([0x0b, 0x7a, 0x75]) > 6 * 250, "{}", count([0x0b, 0x7a, 0x75]));
    // Letters of the heads and the title: text is there only where a font was found.
    assert!(count([0x1b, 0x20, 0x24]) > 500, "{}", count([0x1b, 0x20, 0x24]));
    let page = count([0xfc, 0xfc, 0xfb]) as f64 / decoded.pixels().len() as f64;
    assert!((0.9..0.999).contains(&page), "{page}");
}

#[test]
fn names_of_equal_points_do_not_overlap() {
    let picture = svg(&invented());
    let document = Document::parse(&picture).unwrap();
    for chart in by_class(&document, "scatter") {
        let names = chart.descendants().filter(|node| {
            node.tag_name().name() == "text"
                && node.parent().is_some_and(|parent| parent.has_attribute("data-row"))
        });
        let at = |node: Node, axis: &str| node.attribute(axis).unwrap().parse::<f64>().unwrap();
        let places: Vec<_> = names.map(|node| (at(node, "x"), at(node, "y"))).collect();
        for (index, a) in places.iter().enumerate() {
            let near = |b: &&(f64, f64)| (a.0 - b.0).abs() < 20.0 && (a.1 - b.1).abs() < 10.0;
            assert!(
                !places[index + 1..].iter().any(|b| near(&b)),
                "{:?}: {places:?}",
                chart.attribute("data-figure")
            );
        }
        let ticks =
            chart.descendants().filter_map(|node| node.text()?.strip_suffix(" %")?.parse::<f64>().ok());
        assert!(ticks.fold(0.0, f64::max) <= 100.0);
    }
}

#[test]
fn names_of_points_off_the_front_stand_beside_them() {
    let picture = svg(&invented());
    let document = Document::parse(&picture).unwrap();
    let mut beside = 0;
    for point in by_class(&document, "point") {
        let child = |name: &str| point.children().find(|node| node.has_tag_name(name)).unwrap();
        let (circle, name) = (child("circle"), child("text"));
        let class = point.attribute("class").unwrap();
        if class.contains("best") || class.contains("dense") || name.attribute("text-anchor") != Some("start")
        {
            continue;
        }
        let y = |node: Node, axis: &str| node.attribute(axis).unwrap().parse::<f64>().unwrap();
        let lower = y(name, "y") - y(circle, "cy");
        assert!((0.0..10.0).contains(&lower), "{lower} px below: {:?}", name.text());
        beside += 1;
    }
    assert!(beside > 0);
}

#[test]
fn half_a_sweep_is_shown_too() {
    let mut sweep = invented();
    sweep.rows.remove(0);
    for row in &mut sweep.rows {
        row.model.bench = None;
        row.model.boards.clear();
        row.model.eval = None;
    }
    assert!(html(&sweep).contains("3 runs, none of them dense"));
    let mut one = invented();
    one.rows.drain(2..);
    one.rows.remove(0);
    let page = html(&one);
    assert!(page.contains("1 run, not a dense one") && page.contains("1 run ·") && !page.contains("1 runs"));
    Document::parse(&svg(&sweep)).unwrap();
    assert!(markdown(&sweep).contains("| g = 0.5 | – |"));
    sweep.rows.truncate(1);
    html(&sweep);
}
