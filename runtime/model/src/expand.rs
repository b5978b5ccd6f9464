//! Reads the file, lays it out for each kind of target, and writes what the runtime's macros take.

use std::path::PathBuf;

use lrpet_runtime::built::Layout;
use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::{Header, InputKind, LayerFacts, Model, OutputKind, SelfCheck, Shape};
use proc_macro2::{Literal, TokenStream};
use quote::{ToTokens, quote};
use syn::{Error, Result};

use crate::input::Input;

/// In the order in which the runtime's macro takes them.
const LAYOUTS: [Isa; 5] = [Isa::CortexM, Isa::CortexM55, Isa::CortexM55Half, Isa::Neon, Isa::Portable];

pub(crate) fn expand(input: &Input) -> Result<TokenStream> {
    let path = path(input);
    let shown = path.display();
    let error = |text: String| Error::new(input.file.span(), text.replace('\n', " "));
    let bytes = std::fs::read(&path).map_err(|reason| error(format!("cannot read {shown}: {reason}")))?;
    let bytes = AlignedBytes::copy_of(&bytes);
    let model = Model::new_checked(bytes.as_slice()).map_err(|reason| error(format!("{shown}: {reason}")))?;
    let model = match input.layers {
        true => model.with_schedule(&[]).map_err(|reason| error(format!("{shown}: {reason}")))?,
        false => model,
    };
    let streams = model.program().schedule().has_streams();
    // Weights are the same for all.
    let (mut weights, mut layouts, mut refused) = (None, Vec::new(), None);
    for isa in LAYOUTS {
        let layout = match input.whole {
            true => Layout::in_file(&model, isa, input.room),
            false => Layout::new(&model, isa, input.room),
        };
        match layout {
            // Not with f16 in the place of weights of 8 bits.
            Ok(layout) if input.whole && layout.weights != bytes.as_slice() => {
                let text = format!("{shown}: the kernels of {} do not use its weights in place", isa.name());
                layouts.push(quote!(error #text));
            }
            Ok(layout) => {
                layouts.push(parts(&layout));
                weights = Some(layout.weights);
            }
            // Of no interest unless it is this target's.
            Err(reason) => {
                let text = format!("{shown}: {reason}");
                layouts.push(quote!(error #text));
                refused = Some(text);
            }
        }
    }
    let Some(weights) = weights else { return Err(error(refused.unwrap_or_default())) };
    let header = header(model.program().header());
    let head = &input.head;
    let file = path.to_string_lossy();
    let (weights, whole) = match input.whole {
        true => (quote!(::core::include_bytes!(#file)), whole(&model)),
        false => (Literal::byte_string(&weights).into_token_stream(), TokenStream::new()),
    };
    Ok(quote! {
        ::lrpet_runtime::__built! {
            { #head }
            file #file
            header { #header }
            streams #streams
            weights { #weights }
            whole [#whole]
            #({ #layouts })*
        }
    })
}

/// Where the file is.
fn path(input: &Input) -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    package.join(input.file.value())
}

fn shape(shape: &Shape) -> TokenStream {
    let (channels, height, width) = (shape.channels, shape.height, shape.width);
    quote!(Shape { channels: #channels, height: #height, width: #width })
}

fn header(header: &Header) -> TokenStream {
    let Header { version, input, kind, mean, std, classes, output, result, needs, ops } = header;
    let kind = match kind {
        InputKind::Picture => quote!(Picture),
        InputKind::Values => quote!(Values),
    };
    let result = match result {
        OutputKind::Classes => quote!(Classes),
        OutputKind::Values => quote!(Values),
    };
    let (input, output, needs) = (shape(input), shape(output), needs.0);
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    let (mean, std) = (bits(mean), bits(std));
    quote! {
        version: #version,
        input: #input,
        kind: InputKind::#kind,
        mean: [#(f32::from_bits(#mean)),*],
        std: [#(f32::from_bits(#std)),*],
        classes: #classes,
        output: #output,
        result: OutputKind::#result,
        needs: Needs(#needs),
        ops: #ops,
    }
}

/// What is known of a file that is kept.
fn whole(model: &Model<'_>) -> TokenStream {
    let ranges = |check: SelfCheck<'_>| check.ranges(model).map(|range| [range.start, range.end].map(number));
    let check = match model.self_check().map(ranges) {
        Some([[i, j], [k, l], [m, n]]) => {
            quote!(::core::option::Option::Some([[#i, #j], [#k, #l], [#m, #n]]))
        }
        None => quote!(::core::option::Option::None),
    };
    let layers = model.program().layers().map(|layer| {
        let LayerFacts { name, rank, output, macs } = layer.facts();
        let output = shape(&output);
        quote!(::lrpet_runtime::model::LayerFacts { name: #name, rank: #rank, output: #output, macs: #macs },)
    });
    quote!({ check { #check } layers { #(#layers)* } })
}

fn parts(layout: &Layout) -> TokenStream {
    let plan = layout.plan;
    let [arena, fastest, table] = [plan.arena_bytes, plan.fastest_bytes, plan.table_bytes].map(number);
    let [activations, scratch, peak] =
        [plan.activation_bytes, plan.scratch_bytes, plan.peak_layer].map(number);
    let [image, rows, count, length] =
        [layout.image, layout.rows, layout.steps.len(), layout.nodes.len()].map(number);
    let (steps, nodes) = (words::<u32, _>(&layout.steps), words::<u16, _>(&layout.nodes));
    let (cut, cuts) = (number(layout.cuts.len()), words::<u16, _>(&layout.cuts));
    let (streamed, used) = (layout.streamed, layout.used.0);
    let joins = layout.parts.iter().map(|[offset, size]| quote!([#offset, #size],));
    quote! {
        plan {
            arena_bytes: #arena,
            fastest_bytes: #fastest,
            table_bytes: #table,
            activation_bytes: #activations,
            scratch_bytes: #scratch,
            peak_layer: #peak,
        }
        image #image
        streamed #streamed
        rows #rows
        used #used
        steps #count { #steps }
        parts { #(#joins)* }
        cuts #cut { #cuts }
        nodes #length { #nodes }
    }
}

/// A table as words: `[1, 2, 3], [4, 5, 6],`.
fn words<W: bytemuck::Pod + ToTokens, T: bytemuck::Pod>(table: &[T]) -> TokenStream {
    let rows = table.iter().map(|row| {
        let words: &[W] = bytemuck::cast_slice(std::slice::from_ref(row));
        quote!([#(#words),*],)
    });
    rows.collect()
}

/// A number without a type.
fn number(value: usize) -> impl ToTokens {
    Literal::usize_unsuffixed(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(input: &str) -> String {
        match syn::parse_str::<Input>(input) {
            Ok(input) => expand(&input).map_or_else(|error| error.to_string(), |tokens| tokens.to_string()),
            Err(error) => error.to_string(),
        }
    }

    const CLOTHES: &str = "../../models/fashion-mnist-resnet8-g0.6.safetensors";

    #[test]
    fn a_model_becomes_a_type() {
        for behind in ["", ";", ", ram = least", ", ram = fastest,", ", ram = 60_000;"] {
            let said = said(&format!("/// Text.\n pub(crate) struct Clothes = \"{CLOTHES}\"{behind}"));
            assert!(said.starts_with(":: lrpet_runtime :: __built !"), "{said}");
            assert!(said.contains("pub (crate) struct Clothes"), "{behind}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_by_the_compiler() {
        let file = |behind: &str| said(&format!("struct Clothes = \"{CLOTHES}\"{behind}"));
        let least = file(", ram = 1000");
        assert!(least.contains("the arena has 1000 bytes and must have "), "{least}");
        assert!(least.contains("fashion-mnist-resnet8-g0.6.safetensors"), "{least}");
        assert!(said("struct X = \"no/such/file\"").contains("cannot read "));
        assert!(said("struct X = \"Cargo.toml\"").contains("Cargo.toml: "));
        assert!(file(", ram = most").contains("expected bytes, `least` or `fastest`"));
        assert!(file(", flash = 3").contains("expected `ram = `"));
        assert!(said("enum X = \"Cargo.toml\"").contains("expected `struct`"));
    }
}
