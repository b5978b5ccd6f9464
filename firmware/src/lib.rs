//! What every board runs: self-check and bench, on embedded-hal and embedded-io traits.
#![no_std]
