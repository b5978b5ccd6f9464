//! Runs low-rank f16 networks in place from flash or a memory map.
#![cfg_attr(not(feature = "std"), no_std)]

pub mod model;
