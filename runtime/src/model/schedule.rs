//! Which operations advance together: a program as a list of stretches.

use super::view::Program;

/// Most operations of a stream, with the image where it arrives in rows.
pub const MAX_STREAM: usize = 48;

/// True where this build runs streams; elsewhere a schedule is not looked at, and their code is left out.
pub(crate) const STREAMS: bool = cfg!(any(feature = "std", feature = "streams"));

/// Some operations that follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stretch {
    /// How many.
    pub ops: u16,
    /// Rows of the first value read that arrive before all compute what they can; 0 where each operation computes all of its
    /// result before the next begins.
    pub strip: u16,
    /// Of a stream: pixels of a plane that an operation waits for before it computes any, or all that are left; 0 where it computes
    /// whatever it can. A multiple of 4.
    pub pixels: u16,
    /// Of a stream: scratch of its operations in bytes, as far as they have a choice; 0 for what layers have. A multiple of 256.
    pub scratch: u16,
}

/// The stretches of a program, as the tensor [`SCHEDULE_TENSOR`](super::program::SCHEDULE_TENSOR) holds them, four bytes each. Of a
/// stream: operations, pixels / 4, strip, scratch / 256. Of layers: operations, little-endian, and two zeros. Operations
/// behind the last run layer by layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedule<'a> {
    bytes: &'a [u8],
}

/// Bytes of a stretch.
const BYTES: usize = 4;

/// What [`Stretch::pixels`] and [`Stretch::scratch`] are multiples of.
const PIXELS_UNIT: u16 = 4;
const SCRATCH_UNIT: u16 = 256;

/// Why a schedule is not one of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScheduleError {
    /// Its bytes are no whole number of stretches.
    Length(usize),
    /// A stretch has no operation.
    Empty {
        /// Its index.
        stretch: usize,
    },
    /// It has scratch and no strips: only a stream states its scratch.
    NoStream {
        /// Its index.
        stretch: usize,
    },
    /// A stream has more operations than [`MAX_STREAM`].
    TooLong {
        /// Its index.
        stretch: usize,
        /// Its operations.
        ops: u16,
    },
    /// The stretches have more operations than the program.
    Beyond {
        /// Operations of the stretches, up to the first that is not there.
        ops: usize,
        /// Operations of the program.
        program: usize,
    },
}

impl core::fmt::Display for ScheduleError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Length(bytes) => write!(f, "{bytes} bytes are no whole number of stretches of {BYTES}"),
            Self::Empty { stretch } => write!(f, "stretch {stretch} has no operation"),
            Self::TooLong { stretch, ops } => {
                write!(f, "stretch {stretch} is a stream of {ops} operations, more than {MAX_STREAM}")
            }
            Self::NoStream { stretch } => {
                write!(f, "stretch {stretch} states scratch and is no stream: its strips have no rows")
            }
            Self::Beyond { ops, program } => {
                write!(f, "the stretches have {ops} operations and the program {program}")
            }
        }
    }
}

impl core::error::Error for ScheduleError {}

impl<'a> Schedule<'a> {
    /// All operations layer by layer.
    pub const LAYERS: Schedule<'static> = Schedule { bytes: &[] };

    /// The schedule in `bytes`, checked against the number of operations of `program`. That each stream can be one is found
    /// when it is planned.
    pub fn new_checked(bytes: &'a [u8], program: &Program<'_>) -> Result<Schedule<'a>, ScheduleError> {
        if !bytes.len().is_multiple_of(BYTES) {
            return Err(ScheduleError::Length(bytes.len()));
        }
        let schedule = Schedule { bytes };
        let mut ops = 0;
        for (stretch, one) in schedule.stretches().enumerate() {
            if one.ops == 0 {
                return Err(ScheduleError::Empty { stretch });
            }
            // The image may be one more.
            if one.strip > 0 && usize::from(one.ops) >= MAX_STREAM {
                return Err(ScheduleError::TooLong { stretch, ops: one.ops });
            }
            if one.strip == 0 && one.scratch > 0 {
                return Err(ScheduleError::NoStream { stretch });
            }
            ops += usize::from(one.ops);
            if ops > program.len() {
                return Err(ScheduleError::Beyond { ops, program: program.len() });
            }
        }
        Ok(schedule)
    }

    /// The stretches in order.
    pub fn stretches(&self) -> impl Iterator<Item = Stretch> + 'a {
        self.bytes.chunks_exact(BYTES).map(|bytes| {
            let [a, b, c, d] = [0, 1, 2, 3].map(|at| bytes.get(at).copied().unwrap_or(0));
            let scratch = u16::from(d) * SCRATCH_UNIT;
            match c {
                0 => Stretch { ops: u16::from_le_bytes([a, b]), scratch, ..Stretch::default() },
                strip => Stretch {
                    ops: a.into(),
                    strip: strip.into(),
                    pixels: u16::from(b) * PIXELS_UNIT,
                    scratch,
                },
            }
        })
    }

    /// True where some operations advance together, and this build can let them.
    pub fn has_streams(&self) -> bool {
        STREAMS && self.stretches().any(|stretch| stretch.strip > 0)
    }

    /// The first stretch and the rest.
    pub(crate) fn split(self) -> Option<(Stretch, Schedule<'a>)> {
        if !STREAMS {
            return None;
        }
        let first = self.stretches().next()?;
        Some((first, Schedule { bytes: self.bytes.get(BYTES..)? }))
    }
}

impl Stretch {
    /// `ops` operations whose first value arrives in `strip` rows, in the scratch that layers have; layers where `strip` is 0.
    pub const fn new(ops: u16, strip: u16) -> Stretch {
        Stretch { ops, strip, pixels: 0, scratch: 0 }
    }

    /// The bytes of a schedule of these stretches. Numbers that are no multiples, or too large for a byte, become the next that fit.
    #[cfg(feature = "std")]
    pub fn bytes(stretches: &[Stretch]) -> std::vec::Vec<u8> {
        let byte = |number: u16| u8::try_from(number).unwrap_or(u8::MAX);
        let one = |stretch: &Stretch| match *stretch {
            Stretch { ops, strip: 0, .. } => {
                let [low, high] = ops.to_le_bytes();
                [low, high, 0, 0]
            }
            Stretch { ops, strip, pixels, scratch } => {
                let [pixels, scratch] = [pixels.div_ceil(PIXELS_UNIT), scratch.div_ceil(SCRATCH_UNIT)];
                [ops, pixels, strip, scratch].map(byte)
            }
        };
        stretches.iter().flat_map(one).collect()
    }
}
