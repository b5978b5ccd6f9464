//! What the macro of `lrpet-model` expands to.

/// A type of its own for a model.
#[doc(hidden)]
#[macro_export]
macro_rules! __built {
    (
        { $(#[$outer:meta])* $vis:vis struct $name:ident }
        file $file:literal
        header { $($header:tt)* }
        streams $streams:literal
        weights { $weights:expr }
        whole [$({ check { $check:expr } layers { $($layers:tt)* } })?]
        $($layouts:tt)*
    ) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug)]
        $vis struct $name;

        const _: () = {
            use $crate::built::{Built, BuiltIn, Parts, put_together};
            use $crate::kernel::{Operations, Set};
            use $crate::model::{Aligned, Header, InputKind, Needs, OutputKind, Shape};

            // So that a change of the file builds the program anew.
            const _: &[u8] = ::core::include_bytes!($file);
            static WEIGHTS: &Aligned<[u8]> = &Aligned(*$weights);
            const PARTS: Parts = $crate::__layout!($($layouts)*);

            impl Operations for $name {
                const USED: Set = PARTS.used;
            }

            $(impl $crate::built::Whole for $name {
                const FILE: &'static [u8] = &WEIGHTS.0;
                const LAYERS: &'static [$crate::model::LayerFacts<'static>] = {
                    static LAYERS: &[$crate::model::LayerFacts<'static>] = &[$($layers)*];
                    LAYERS
                };
                const SELF_CHECK: ::core::option::Option<[[usize; 2]; 3]> = $check;
            })?

            impl BuiltIn for $name {
                const MODEL: Built = put_together(
                    Header { $($header)* },
                    &WEIGHTS.0,
                    PARTS,
                    $streams,
                );
            }

            impl $name {
                /// Bytes of the arena.
                pub const ARENA_BYTES: usize = <Self as BuiltIn>::MODEL.arena_bytes();
                /// Bytes of flash that weights and tables take.
                pub const FLASH_BYTES: usize = <Self as BuiltIn>::MODEL.flash_bytes();
                /// Number of values of the result: of a classifier, its classes.
                pub const CLASSES: usize = <Self as BuiltIn>::MODEL.header().classes as usize;
                /// Rows that `push_rows` of a session takes at a time: any multiple, and at the end what is left.
                pub const ROWS_TOGETHER: usize = <Self as BuiltIn>::MODEL.rows_together();
                /// Channels, height and width of the input.
                pub const INPUT: [usize; 3] = {
                    let shape = <Self as BuiltIn>::MODEL.header().input;
                    [shape.channels as usize, shape.height as usize, shape.width as usize]
                };
                /// Number of values of the input: the bytes of an image.
                pub const INPUT_VALUES: usize = Self::INPUT[0] * Self::INPUT[1] * Self::INPUT[2];

                /// Memory for a session, all zero.
                pub const fn arena() -> $crate::session::Arena<{ <$name as BuiltIn>::MODEL.arena_bytes() }> {
                    $crate::session::Arena([0; <$name as BuiltIn>::MODEL.arena_bytes()])
                }

                /// A session. Fails where the processor is not one for which the program was built.
                pub fn session(
                    arena: &mut $crate::session::Arena<{ <$name as BuiltIn>::MODEL.arena_bytes() }>,
                ) -> ::core::result::Result<$crate::session::Session<'_, $name>, $crate::session::SessionError<'static>> {
                    <$name as BuiltIn>::session(&mut arena.0)
                }
            }
        };
    };
}

/// One of the layouts: the one for this target.
#[cfg(all(target_arch = "arm", target_os = "none", target_abi = "eabihf", not(cortex_m55)))]
#[doc(hidden)]
#[macro_export]
macro_rules! __layout {
    ({ $($m:tt)* } { $($m55:tt)* } { $($half:tt)* } { $($neon:tt)* } { $($plain:tt)* }) => { $crate::__parts!(CortexM $($m)*) };
}

/// One of the layouts: the one for this target.
#[cfg(all(cortex_m55, not(feature = "cortex-m55-f16")))]
#[doc(hidden)]
#[macro_export]
macro_rules! __layout {
    ({ $($m:tt)* } { $($m55:tt)* } { $($half:tt)* } { $($neon:tt)* } { $($plain:tt)* }) => { $crate::__parts!(CortexM55 $($m55)*) };
}

/// One of the layouts: the one for this target.
#[cfg(all(cortex_m55, feature = "cortex-m55-f16"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __layout {
    ({ $($m:tt)* } { $($m55:tt)* } { $($half:tt)* } { $($neon:tt)* } { $($plain:tt)* }) => { $crate::__parts!(CortexM55Half $($half)*) };
}

/// One of the layouts: the one for this target.
#[cfg(target_arch = "aarch64")]
#[doc(hidden)]
#[macro_export]
macro_rules! __layout {
    ({ $($m:tt)* } { $($m55:tt)* } { $($half:tt)* } { $($neon:tt)* } { $($plain:tt)* }) => { $crate::__parts!(Neon $($neon)*) };
}

/// One of the layouts: the one for this target.
#[cfg(not(any(
    target_arch = "aarch64",
    all(target_arch = "arm", target_os = "none", target_abi = "eabihf")
)))]
#[doc(hidden)]
#[macro_export]
macro_rules! __layout {
    ({ $($m:tt)* } { $($m55:tt)* } { $($half:tt)* } { $($neon:tt)* } { $($plain:tt)* }) => { $crate::__parts!(Portable $($plain)*) };
}

/// The parts of a layout.
#[doc(hidden)]
#[macro_export]
macro_rules! __parts {
    ($isa:ident error $text:literal) => {
        ::core::compile_error!($text)
    };
    (
        $isa:ident plan { $($plan:tt)* } image $image:literal streamed $streamed:literal rows $rows:literal used $used:literal
        steps $count:literal { $($steps:tt)* } parts { $($parts:tt)* }
        cuts $cut:literal { $($cuts:tt)* } nodes $length:literal { $($nodes:tt)* }
    ) => {
        $crate::built::Parts {
            isa: $crate::kernel::Isa::$isa,
            plan: $crate::plan::Plan { $($plan)* },
            image: $image,
            streamed: $streamed,
            rows: $rows,
            used: $crate::kernel::Set($used),
            steps: {
                static STEPS: [$crate::built::Step; $count] = $crate::built::steps([$($steps)*]);
                &STEPS
            },
            parts: {
                static PARTS: &[[u32; 2]] = &[$($parts)*];
                PARTS
            },
            cuts: {
                static CUTS: [$crate::built::Cut; $cut] = $crate::built::cuts([$($cuts)*]);
                &CUTS
            },
            nodes: {
                static NODES: [$crate::built::Node; $length] = $crate::built::nodes([$($nodes)*]);
                &NODES
            },
        }
    };
}
