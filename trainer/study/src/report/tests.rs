//! What the renderings must hold, on a report of invented figures.

use std::collections::HashSet;

use roxmltree::{Document, Node};

use super::*;
use crate::schema;
use crate::schema::{Board, Dataset, LayerCost, LayerTicks, Training};

/// The page's body, which is well-formed XML.
fn body(page: &str) -> &str {
    let start = page.find("<body>").expect("a page has a body");
    let end = page.find("</body>").expect("a body ends") + "</body>".len();
    &page[start..end]
}

/// All text of a section.
fn section(document: &Document, id: &str) -> String {
    let node =
        document.descendants().find(|node| node.attribute("id") == Some(id)).expect("the section is there");
    node.descendants().filter_map(|node| node.text().filter(|_| node.is_text())).collect::<Vec<_>>().join(" ")
}

fn titles<'a>(document: &'a Document) -> HashSet<&'a str> {
    let title = |node: Node<'a, '_>| {
        if node.tag_name().name() == "title" { node.text() } else { node.attribute("title") }
    };
    document.descendants().filter_map(title).collect()
}

fn class<'a>(node: &Node<'a, '_>, name: &str) -> bool {
    node.attribute("class").is_some_and(|classes| classes.split(' ').any(|class| class == name))
}

fn spaced(text: &str) -> String {
    text.replace('\u{a0}', " ")
}

#[test]
fn the_page_is_one_well_formed_file_that_loads_nothing() {
    let page = html(&fixture());
    Document::parse(body(&page)).expect("well-formed");
    for loaded in ["<script", "http://", "https://", " src=", "url(", "@import"] {
        assert!(!page.contains(loaded), "{loaded}");
    }
    assert!(page.starts_with("<!DOCTYPE html>"));
    assert!(page.contains("prefers-color-scheme: dark") && page.contains("@media print"));
}

#[test]
fn every_figure_of_the_table_is_in_every_rendering() {
    let report = fixture();
    let page = html(&report);
    let document = Document::parse(body(&page)).unwrap();
    let comparison = section(&document, "comparison");
    let titles = titles(&document);
    let (markdown, text) = (markdown(&report), text(&report));
    let table = table::Table::of(&report);
    assert_eq!(table.rows.len(), 12);
    for row in &table.rows {
        for cell in row.cells.iter().flatten() {
            assert!(comparison.contains(&cell.text), "{} {}", row.label, cell.text);
            assert!(titles.contains(cell.exact.as_str()), "{} {}", row.label, cell.exact);
            for shown in [Some(&cell.text), cell.versus.as_ref()].into_iter().flatten() {
                assert!(comparison.contains(shown.as_str()), "{} {shown}", row.label);
                assert!(markdown.contains(shown.as_str()), "{} {shown}", row.label);
                assert!(text.contains(shown.as_str()), "{} {shown}", row.label);
            }
        }
    }
}

#[test]
fn figures_are_those_of_the_report() {
    let report = fixture();
    let plain = spaced(&text(&report));
    let line = |start: &str| {
        let line = plain
            .lines()
            .find(|line| line.starts_with(start))
            .unwrap_or_else(|| panic!("{start} in\n{plain}"));
        line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).skip(1).collect::<Vec<_>>()
    };
    assert_eq!(line("Top-1 accuracy, runtime"), ["92.12 %", "91.36 %", "−0.76 points"]);
    assert_eq!(line("Multiply-adds"), ["9.35 M", "4.06 M", "0.43×"]);
    assert_eq!(line("Flash: weights"), ["152 KB", "69.4 KB", "0.46×"]);
    assert_eq!(line("RAM: arena, activations"), ["50.1 KB", "50.1 KB", "1.00×"]);
    let page = html(&report);
    let document = Document::parse(body(&page)).unwrap();
    let titles: HashSet<_> = titles(&document).into_iter().map(spaced).collect();
    for model in &report.models {
        let inspect = model.inspect.as_ref().unwrap();
        let board = &model.boards[0];
        for exact in [
            format!("{} MACs", units::grouped(inspect.macs as f64)),
            format!("{} bytes", units::grouped(inspect.weight_bytes as f64)),
            format!("{} instructions", units::grouped(board.total as f64)),
            format!("{} bytes", units::grouped(board.flash_bytes.unwrap() as f64)),
            format!("{} ms", model.bench.as_ref().unwrap().median_ms),
        ] {
            assert!(titles.contains(&spaced(&exact)), "{exact}");
        }
    }
    let sentence = spaced(&summary(&report));
    assert!(
        sentence.starts_with(
            "lowrank classifies 91.36 % of 10 000 test images right, −0.76 points against dense"
        )
    );
    assert!(sentence.contains("43 % of the multiply-adds"), "{sentence}");
}

#[test]
fn curves_have_one_point_an_epoch_and_dots_where_weights_were_projected() {
    let report = fixture();
    let page = html(&report);
    let document = Document::parse(body(&page)).unwrap();
    let count = |name| document.descendants().filter(|node| class(node, name)).count();
    // training loss, validation loss and validation accuracy of two models over 12 epochs
    assert_eq!(count("reach"), 3 * 2 * 12);
    // the low-rank model's training loss and validation accuracy, and the dot of the legend
    assert_eq!(count("dot"), 2 * 12 + 1);
    let lines = document.descendants().filter(|node| node.tag_name().name() == "polyline");
    assert!(lines.clone().all(|line| line.attribute("points").unwrap().split(' ').count() == 12));
    assert!(titles(&document).iter().any(|title| title.starts_with("lowrank, epoch 7\nloss ")));
}

#[test]
fn layers_show_rank_and_every_measure_against_dense() {
    let report = fixture();
    let page = html(&report);
    let document = Document::parse(body(&page)).unwrap();
    let table = document.descendants().find(|node| class(node, "layers")).unwrap();
    let rows: Vec<_> = table.descendants().filter(|node| node.tag_name().name() == "tr").collect();
    let layers = &report.models[1].inspect.as_ref().unwrap().layers;
    assert_eq!(rows.len(), layers.len() + 2, "a head, the layers, the whole network");
    for (row, layer) in rows[1..].iter().zip(layers) {
        let text: String = row.descendants().filter(Node::is_text).filter_map(|node| node.text()).collect();
        assert!(text.starts_with(&layer.name), "{text}");
        if let Some(rank) = layer.rank {
            assert!(text.contains(&format!("{rank} of {}", layer.max_rank.unwrap())), "{text}");
        }
        let bars = row.descendants().filter(|node| class(node, "bar")).count();
        assert_eq!(bars, if layer.macs > 0 { 8 } else { 4 }, "{text}");
    }
}

#[test]
fn layers_that_share_a_name_are_told_apart_by_their_order() {
    let mut report = fixture();
    let model = &mut report.models[1];
    let add = LayerCost { name: "add".into(), ..LayerCost::default() };
    model.inspect.as_mut().unwrap().layers = vec![add.clone(), add];
    model.boards[0].layers = [111, 222, 333].map(|ticks| LayerTicks { name: "add".into(), ticks }).into();
    model.bench = None;
    let page = html(&report);
    let document = Document::parse(body(&page)).unwrap();
    let text = section(&document, "layers");
    let found: Vec<_> = ["111", "222", "333"].iter().map(|ticks| text.matches(ticks).count()).collect();
    // the third was measured but is not in the cost list: it gets a row of its own
    assert_eq!(found, [2, 2, 2], "each once as a figure and once as a bar's title: {text}");
}

#[test]
fn hostile_text_is_taken_literally() {
    let hostile = "</style><script>alert('x')</script>\"&amp;|`\u{1b}[31m\u{0}\r\n**bold** [a](b)";
    let mut report = fixture();
    report.title = Some(hostile.into());
    report.command = Some(hostile.into());
    report.dataset = Some(Dataset { name: hostile.into(), ..Dataset::default() });
    let model = &mut report.models[1];
    model.name = hostile.into();
    model.file = Some(hostile.into());
    model.boards[0].core = Some(hostile.into());
    model.boards[0].counter = hostile.into();
    model.inspect.as_mut().unwrap().layers[0].name = hostile.into();
    let page = html(&report);
    assert!(!page.contains("<script") && page.matches("</style>").count() == 1);
    assert!(!page.contains(['\u{1b}', '\u{0}', '\r']));
    let document = Document::parse(body(&page)).expect("well-formed");
    assert!(section(&document, "comparison").contains("</style><script>alert('x')</script>\"&amp;|`"));

    let text = text(&report);
    assert!(!text.contains(['\u{1b}', '\u{0}', '\r']));
    let markdown = markdown(&report);
    let columns = |line: &str| line.replace("\\\\", "").replace("\\|", "").matches('|').count();
    let wanted = columns(markdown.lines().next().unwrap());
    assert_eq!(wanted, 5);
    assert!(markdown.lines().all(|line| columns(line) == wanted && line.starts_with('|')), "{markdown}");
    assert!(markdown.contains("\\<script\\>") && !markdown.contains("**bold**"), "{markdown}");
}

#[test]
fn a_missing_part_leaves_its_section_out_with_a_sentence() {
    type Remove = fn(&mut Model);
    let removals: [(&str, &str, Remove); 5] = [
        ("training", "No training curves", |m| m.training = None),
        ("layers", "No figures by layer", |m| m.inspect = None),
        ("memory", "No memory figures", |m| m.boards.clear()),
        ("comparison", "Not measured, and left out: host latency.", |m| m.bench = None),
        ("comparison", "left out: accuracy of the trainer, accuracy of the runtime.", |m| m.eval = None),
    ];
    let complete = html(&fixture());
    for (id, sentence, remove) in removals {
        let mut report = fixture();
        report.models.iter_mut().for_each(remove);
        let page = html(&report);
        let document = Document::parse(body(&page)).expect("well-formed");
        assert!(
            section(&document, id).split_whitespace().collect::<Vec<_>>().join(" ").contains(sentence),
            "{sentence}"
        );
        assert!(!complete.contains(sentence), "{sentence}");
    }
}

#[test]
fn reports_without_models_or_measurements_render() {
    let bare = Model { name: "bare".into(), ..Model::default() };
    let curveless = Model { training: Some(Training::default()), ..bare.clone() };
    for models in [vec![], vec![bare], vec![curveless]] {
        let report = Report { models, ..Report::default() };
        let page = html(&report);
        let document = Document::parse(body(&page)).expect("well-formed");
        assert!(section(&document, "comparison").contains("Nothing was measured"));
        assert!(text(&report).contains("Not measured: host latency."));
        assert!(markdown(&report).starts_with("| "));
    }
}

#[test]
fn merged_models_are_compared_with_the_dense_model_of_their_own_run() {
    let mut other = fixture();
    other.models[0].inspect.as_mut().unwrap().macs *= 2;
    let merged = merge(vec![("a".into(), fixture()), ("b".into(), other)]);
    let names: Vec<_> = merged.models.iter().map(|model| model.name.as_str()).collect();
    assert_eq!(names, ["a/dense", "a/lowrank", "b/dense", "b/lowrank"]);
    let table = table::Table::of(&merged);
    let row = table.rows.iter().find(|row| row.label == "Multiply-adds").unwrap();
    let ratios: Vec<_> = row.cells.iter().flatten().map(|cell| cell.versus.as_deref()).collect();
    assert_eq!(ratios, [None, Some("0.43×"), None, Some("0.22×")]);
    let page = html(&merged);
    let document = Document::parse(body(&page)).expect("well-formed");
    let made = section(&document, "made");
    assert!(made.contains("a/dense") && made.contains("b/lowrank"));
    assert_eq!(document.descendants().filter(|node| node.tag_name().name() == "details").count(), 2);
}

#[test]
fn models_of_other_networks_or_data_are_not_compared() {
    let mut other = fixture();
    other.models.remove(0);
    other.models[0].inspect.as_mut().unwrap().network = "resnet20".into();
    let mut elsewhere = fixture();
    elsewhere.models.remove(0);
    elsewhere.dataset.as_mut().unwrap().name = "cifar10".into();
    let merged = merge(vec![("a".into(), fixture()), ("b".into(), other), ("c".into(), elsewhere)]);
    let table = table::Table::of(&merged);
    let names: Vec<_> =
        table.columns.iter().map(|column| column.baseline.map(|dense| dense.name.as_str())).collect();
    assert_eq!(names, [None, Some("dense"), None, None]);
    assert_eq!(table.rows[0].label, "Data set");
}

#[test]
fn a_reference_must_be_known_to_be_of_the_same_kind() {
    let mut report = fixture();
    let names = |report: &Report| -> Vec<Option<String>> {
        let table = table::Table::of(report);
        table.columns.iter().map(|column| column.baseline.map(|dense| dense.name.clone())).collect()
    };
    assert_eq!(names(&report), [None, Some("dense".to_owned())]);
    // A dense training, which has no costs, says what it is of.
    let training = Model {
        inspect: None,
        network: Some("resnet8".to_owned()),
        dataset: Some("fashion-mnist".to_owned()),
        classes: Some(10),
        input: Some([1, 28, 28]),
        ..report.models[0].clone()
    };
    type Change = fn(&mut Model);
    let changes: [(Change, bool); 7] = [
        (|_| (), true),
        (|m| m.network = None, false),
        (|m| m.network = Some("resnet20".to_owned()), false),
        (|m| m.dataset = Some("cifar10".to_owned()), false),
        (|m| m.classes = Some(100), false),
        (|m| m.input = Some([3, 32, 32]), false),
        (|m| (m.classes, m.input) = (None, None), true),
    ];
    for (change, compared) in changes {
        report.models[0] = training.clone();
        change(&mut report.models[0]);
        assert_eq!(names(&report)[1].is_some(), compared, "{:?}", report.models[0]);
        // Its costs are still against those of its own dense network.
        let table = table::Table::of(&report);
        let macs = table.rows.iter().find(|row| row.label == "Multiply-adds").unwrap();
        assert_eq!(macs.cells[1].as_ref().unwrap().versus.as_deref(), Some("0.43×"));
        let against = if compared { "against dense" } else { "against its dense network" };
        let page = html(&report);
        let document = Document::parse(body(&page)).unwrap();
        assert!(section(&document, "comparison").contains(against), "{against}");
        assert!(text(&report).contains(against) && markdown(&report).contains(against), "{against}");
    }
    // One of which more is known is preferred.
    report.models = vec![training.clone(), fixture().models.remove(0), fixture().models.remove(1)];
    report.models[0].name = "training".to_owned();
    assert_eq!(names(&report)[2].as_deref(), Some("dense"));
}

#[test]
fn a_title_of_several_data_sets_names_none() {
    let model = |network: &str, dataset: Option<&str>| Model {
        name: network.to_owned(),
        network: Some(network.to_owned()),
        dataset: dataset.map(str::to_owned),
        ..Model::default()
    };
    for (models, title) in [
        (vec![model("a", Some("x")), model("a", Some("x"))], "a on x"),
        (vec![model("a", Some("x")), model("b", Some("x"))], "2 models on x"),
        (vec![model("a", Some("x")), model("a", Some("y"))], "a, not all of one data set"),
        (vec![model("a", Some("x")), model("b", None)], "2 models, not all of one data set"),
        (vec![model("a", None), model("b", None)], "2 models"),
        (vec![model("a", None)], "a"),
    ] {
        assert_eq!(title_of(&Report { models, ..Report::default() }), title);
    }
}

#[test]
fn instructions_and_cycles_never_share_a_row() {
    let mut report = fixture();
    report.models[1].boards[0].counter = "cycles".into();
    let table = table::Table::of(&report);
    let figures = |label: &str| {
        let row = table.rows.iter().find(|row| row.label == label).unwrap();
        row.cells.iter().map(|cell| cell.as_ref().map(|cell| cell.versus.clone())).collect::<Vec<_>>()
    };
    assert_eq!(figures("Executed instructions"), [Some(None), None]);
    assert_eq!(figures("Cycles"), [None, Some(None)]);
}

#[test]
fn latencies_of_different_hosts_or_threads_are_not_compared() {
    let latencies = |report: &Report| {
        let table = table::Table::of(report);
        let rows = table.rows.iter().filter(|row| row.label == "Latency on the host, least");
        rows.map(|row| (row.detail.clone(), row.cells.iter().flatten().count())).collect::<Vec<_>>()
    };
    let mut report = fixture();
    report.models[1].bench.as_mut().unwrap().threads = Some(2);
    assert_eq!(latencies(&report), [("1 thread, portable".into(), 1), ("2 threads, portable".into(), 1)]);
    assert!(!summary(&report).contains("host latency"));
    let mut elsewhere = fixture();
    elsewhere.host.as_mut().unwrap().cpu = Some("Other CPU".into());
    let merged = merge(vec![("a".into(), fixture()), ("b".into(), elsewhere)]);
    let wanted = ["Fixture CPU @ 2.00GHz, 1 thread, portable", "Other CPU, 1 thread, portable"];
    assert_eq!(latencies(&merged), wanted.map(|detail| (detail.to_owned(), 2)));
}

#[test]
fn absurd_figures_do_not_stop_the_report() {
    let mut report = fixture();
    let model = &mut report.models[1];
    let board = &mut model.boards[0];
    board.ram_bytes = None;
    for bytes in
        [&mut board.arena_bytes, &mut board.static_bytes, &mut board.text_bytes, &mut board.model_bytes]
    {
        *bytes = Some(u64::MAX);
    }
    let inspect = model.inspect.as_mut().unwrap();
    (inspect.macs, inspect.weight_bytes) = (0, u64::MAX);
    model.eval.as_mut().unwrap().runtime.as_mut().unwrap().images = 0;
    let epochs = &mut model.training.as_mut().unwrap().epochs;
    (epochs[0].epoch, epochs[1].loss, epochs[2].loss) = (u64::MAX, Some(1e308), Some(-1e308));
    Document::parse(body(&html(&report))).expect("well-formed");
    assert!(text(&report).contains("17179869184 GB"));
}

#[test]
fn a_failed_self_check_stands_out() {
    let mut report = fixture();
    report.models[1].boards[0].self_check = Some(false);
    let page = html(&report);
    let document = Document::parse(body(&page)).unwrap();
    let bad: Vec<_> =
        document.descendants().filter(|node| class(node, "bad")).filter_map(|n| n.text()).collect();
    assert_eq!(bad, ["failed"]);
    assert!(text(&report).contains("failed"));
}

#[test]
fn ram_is_added_up_only_from_all_its_parts() {
    let board =
        Board { arena_bytes: Some(100), static_bytes: Some(20), stack_bytes: Some(3), ..Board::default() };
    assert_eq!(board.ram(), Some(123));
    assert_eq!(Board { stack_bytes: None, ..board.clone() }.ram(), None);
    assert_eq!(Board { ram_bytes: Some(200), ..board }.ram(), Some(200));
}

#[test]
fn time_that_a_machine_counted_is_shown_as_time() {
    let mut report = fixture();
    for model in &mut report.models {
        model.bench = None;
        let layers = vec![LayerTicks { name: "conv1".to_owned(), ticks: 12_300 }];
        let counter = "nanoseconds".to_owned();
        model.boards =
            vec![Board { board: "pi".to_owned(), counter, total: 1_040_000, layers, ..Board::default() }];
    }
    let page = html(&report);
    let document = Document::parse(body(&page)).unwrap();
    let shown = section(&document, "comparison") + &section(&document, "layers") + &summary(&report);
    let alone = Report { models: report.models[..1].to_vec(), ..report.clone() };
    for text in [shown, text(&report), markdown(&report), summary(&alone)] {
        assert!(!text.contains("nanoseconds"), "{text}");
        assert!(text.contains("1.04 ms") || text.contains("time on pi"), "{text}");
    }
    assert!(section(&document, "layers").contains("12.3 µs"));
    assert!(summary(&alone).contains("1.04 ms on pi"), "{}", summary(&alone));
}

#[test]
fn one_epoch_is_a_dot() {
    let mut report = fixture();
    for model in &mut report.models {
        model.training.as_mut().unwrap().epochs.truncate(1);
    }
    let page = html(&report);
    let document = Document::parse(body(&page)).unwrap();
    let charts = document.descendants().filter(|node| class(node, "line"));
    assert!(
        charts.clone().count() > 0
            && charts.into_iter().all(|line| line.children().any(|node| class(&node, "dot")))
    );
}

#[test]
fn the_matrix_of_few_classes_is_a_table_and_of_many_a_picture() {
    let accuracy = |count: usize| {
        let class = |class: usize| schema::ClassAccuracy {
            name: format!("<class {class}>"),
            images: if class == 1 { 0 } else { 4 },
            correct: if class == 1 { 0 } else { 3 },
            accuracy: (class != 1).then_some(0.75),
        };
        let cell = |class: usize, said: usize| match (class, said == class, said == (class + 1) % count) {
            (1, ..) => 0,
            (_, true, _) => 3,
            (_, _, next) => u64::from(next),
        };
        schema::Accuracy {
            accuracy: 0.75,
            images: 4 * (count as u64 - 1),
            of: Some(12_345),
            top5: Some(0.9),
            not_finite: 2,
            classes: (0..count).map(class).collect(),
            confusion: (0..count).map(|class| (0..count).map(|said| cell(class, said)).collect()).collect(),
        }
    };
    let tested = accuracy::Tested { model: "m", data: "d", engine: "e", command: "c" };
    for (count, cells) in [(4, 16), (40, 0)] {
        let page = accuracy::page(&tested, &accuracy(count));
        let document = Document::parse(body(&page)).expect("well-formed");
        let table = document.descendants().find(|node| class(node, "confusion"));
        let found =
            table.map_or(0, |table| table.descendants().filter(|node| node.has_tag_name("td")).count());
        assert_eq!(found, cells);
        // Many classes have labels on both sides, as far as they do not run together.
        let labels = document.descendants().filter(|node| class(node, "label")).count();
        assert_eq!(labels, if cells == 0 { 2 * count } else { 0 });
        // Classes in the picture: right ones and mistakes, of all classes but the one without images.
        let heat = document.descendants().find(|node| class(node, "heat"));
        let drawn = heat.map_or(0, |heat| {
            heat.descendants()
                .filter(|node| node.has_tag_name("title") && node.parent().unwrap().has_tag_name("rect"))
                .count()
        });
        assert_eq!(drawn, if cells == 0 { 2 * (count - 1) } else { 0 });
        let words = section(&document, "classes");
        assert!(spaced(&page).contains("of all 12 345 test images are classified right"));
        for part in ["No test image of class <class 1>", "of 2 images: the class said", "<class 2> taken for"]
        {
            assert!(
                words.contains(part) || titles(&document).iter().any(|title| title.contains(part)),
                "{part}: {words}"
            );
        }
        let text = accuracy::text(&accuracy(count));
        assert_eq!(text.contains("lowest accuracy of 40"), count == 40, "{text}");
        assert!(text.contains("No test image of class <class 1>"), "{text}");
    }
}
