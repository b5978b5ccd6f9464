//! What every web page made here has around its contents.

use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Style of every page, and of the charts in them.
const STYLE: &str = concat!(include_str!("chart.css"), include_str!("style.css"));

/// A whole page in light and dark, with `styles` behind the common style. `policy` is its content security policy: a page
/// that may load nothing can be opened without a thought, wherever it comes from.
pub(crate) fn frame(title: &str, policy: Option<&str>, styles: &[&str], body: Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                @if let Some(policy) = policy {
                    meta http-equiv="Content-Security-Policy" content=(policy);
                }
                meta name="color-scheme" content="light dark";
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(STYLE)) @for style in styles { (PreEscaped(style)) } }
            }
            body { (body) }
        }
    };
    // Characters that HTML forbids, whatever brought them here, and those that turn the direction of writing.
    lrpet_report::visible_lines(&page.into_string()).replace('\t', " ")
}
