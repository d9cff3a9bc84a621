//! One tensor's description: how many bytes it takes and whether the file has them.

use super::GgufError;

/// One tensor, without its data.
pub(super) struct Tensor {
    name: String,
    pub(super) n_elements: u64,
    bytes: u64,
    /// From the start of the data section.
    offset: u64,
}

impl Tensor {
    /// Works out its size from shape and storage type.
    pub(super) fn new(
        name: String,
        shape: &[u64],
        kind: u32,
        offset: u64,
    ) -> Result<Self, GgufError> {
        let Some(&(_, block, block_bytes)) = STORAGE.iter().find(|(known, ..)| *known == kind)
        else {
            let problem =
                format!("tensor `{name}` has storage type {kind}, unknown to this engine");
            return Err(GgufError::Damaged(problem));
        };
        let elements = shape
            .iter()
            .try_fold(1, |product: u64, side| product.checked_mul(*side));
        let row = shape.first().copied().unwrap_or(1);
        let bytes = elements.and_then(|elements| (elements / block).checked_mul(block_bytes));
        match (elements, bytes) {
            (Some(n_elements), Some(bytes)) if row.is_multiple_of(block) => Ok(Self {
                name,
                n_elements,
                bytes,
                offset,
            }),
            _ => Err(GgufError::Damaged(format!(
                "tensor `{name}` has shape {shape:?}"
            ))),
        }
    }

    /// Checks that its data ends before the file does.
    pub(super) fn check_within(&self, data_start: u64, length: u64) -> Result<(), GgufError> {
        let needed = data_start
            .saturating_add(self.offset)
            .saturating_add(self.bytes);
        if needed > length {
            return Err(GgufError::Truncated {
                what: format!("tensor `{}`", self.name),
                needed,
                length,
            });
        }
        Ok(())
    }
}

/// Storage type, elements in a block, bytes of a block.
const STORAGE: [(u32, u64, u64); 33] = [
    (0, 1, 4),      // F32
    (1, 1, 2),      // F16
    (2, 32, 18),    // Q4_0
    (3, 32, 20),    // Q4_1
    (6, 32, 22),    // Q5_0
    (7, 32, 24),    // Q5_1
    (8, 32, 34),    // Q8_0
    (9, 32, 36),    // Q8_1
    (10, 256, 84),  // Q2_K
    (11, 256, 110), // Q3_K
    (12, 256, 144), // Q4_K
    (13, 256, 176), // Q5_K
    (14, 256, 210), // Q6_K
    (15, 256, 292), // Q8_K
    (16, 256, 66),  // IQ2_XXS
    (17, 256, 74),  // IQ2_XS
    (18, 256, 98),  // IQ3_XXS
    (19, 256, 50),  // IQ1_S
    (20, 32, 18),   // IQ4_NL
    (21, 256, 110), // IQ3_S
    (22, 256, 82),  // IQ2_S
    (23, 256, 136), // IQ4_XS
    (24, 1, 1),     // I8
    (25, 1, 2),     // I16
    (26, 1, 4),     // I32
    (27, 1, 8),     // I64
    (28, 1, 8),     // F64
    (29, 256, 56),  // IQ1_M
    (30, 1, 2),     // BF16
    (34, 256, 54),  // TQ1_0
    (35, 256, 66),  // TQ2_0
    (39, 32, 17),   // MXFP4
    (40, 64, 36),   // NVFP4
];
