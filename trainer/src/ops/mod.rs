//! Operations of our own behind candle's custom ops, where candle's are slow on a CPU.
