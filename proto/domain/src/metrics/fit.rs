//! Whether a model fits into memory, before anybody tries: weights, key-value cache, picture encoder, scratch space, and what is in
//! use already.

use serde::{Deserialize, Serialize};

/// What an engine keeps of every token that it has read: a key and a value for each layer and head.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct KvCache {
    /// Layers of the language model.
    pub layers: u64,
    /// Heads that have keys and values of their own; fewer than heads where they are grouped.
    pub kv_heads: u64,
    /// Numbers in the key of one head.
    pub head_size: u64,
    /// Most tokens of one request, prompt, picture and answer.
    pub context: u64,
    /// Requests at once.
    pub slots: u64,
    /// How the numbers are stored.
    pub kind: CacheKind,
}

/// How the numbers of a key-value cache are stored.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheKind {
    /// 4 bytes.
    F32,
    /// 2 bytes.
    #[default]
    F16,
    /// 2 bytes.
    Bf16,
    /// 1 byte.
    Fp8,
    /// 32 numbers in 34 bytes.
    Q8_0,
    /// 32 numbers in 22 bytes.
    Q5_0,
    /// 32 numbers in 18 bytes.
    Q4_0,
}

/// What a model needs, in bytes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Needs {
    /// Of the language model's file.
    pub weights_bytes: u64,
    /// 2 · layers · KV heads · head size · context · slots · bytes of a number.
    pub kv_cache_bytes: u64,
    /// Of the picture encoder and projector.
    pub encoder_bytes: u64,
    /// Scratch space of the engine.
    pub scratch_bytes: u64,
    /// In use before the model is loaded; absent where nobody knows, and then not counted.
    pub baseline_bytes: Option<u64>,
}

impl CacheKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Fp8,
        Self::Q8_0,
        Self::Q5_0,
        Self::Q4_0,
    ];

    /// The name under which it is given and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Fp8 => "fp8",
            Self::Q8_0 => "q8_0",
            Self::Q5_0 => "q5_0",
            Self::Q4_0 => "q4_0",
        }
    }

    fn bytes_of_32(self) -> u64 {
        match self {
            Self::F32 => 128,
            Self::F16 | Self::Bf16 => 64,
            Self::Fp8 => 32,
            Self::Q8_0 => 34,
            Self::Q5_0 => 22,
            Self::Q4_0 => 18,
        }
    }
}

impl KvCache {
    /// 2 · layers · KV heads · head size · context · slots · bytes of a number; as many as there are at most where that is more.
    pub fn bytes(&self) -> u64 {
        let factors = [
            2,
            self.layers,
            self.kv_heads,
            self.head_size,
            self.context,
            self.slots,
            self.kind.bytes_of_32(),
        ];
        let bytes = factors
            .into_iter()
            .map(u128::from)
            .fold(1, u128::saturating_mul)
            / 32;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

impl Needs {
    /// All of it.
    pub fn total_bytes(&self) -> u64 {
        let parts = [
            self.weights_bytes,
            self.kv_cache_bytes,
            self.encoder_bytes,
            self.scratch_bytes,
            self.baseline_bytes.unwrap_or(0),
        ];
        parts.into_iter().fold(0, u64::saturating_add)
    }

    /// What would be left of so many bytes; below 0 if it does not fit.
    pub fn headroom_bytes(&self, total: u64) -> i64 {
        let left = i128::from(total) - i128::from(self.total_bytes());
        i64::try_from(left).unwrap_or(i64::MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CACHE: KvCache = KvCache {
        layers: 28,
        kv_heads: 8,
        head_size: 128,
        context: 8192,
        slots: 1,
        kind: CacheKind::F16,
    };

    #[test]
    fn a_cache_has_a_key_and_a_value_for_every_layer_head_and_token() {
        // 2 · 28 · 8 · 128 · 8192 · 2 bytes: 896 MiB, as llama.cpp prints for Llama 3.2 3B at that context.
        assert_eq!(CACHE.bytes(), 896 << 20);
        let eight = KvCache {
            slots: 8,
            kind: CacheKind::Q8_0,
            ..CACHE
        };
        assert_eq!(eight.bytes(), (896 << 20) * 8 * 34 / 64);
        let absurd = KvCache {
            context: u64::MAX,
            slots: u64::MAX,
            ..CACHE
        };
        assert_eq!(absurd.bytes(), u64::MAX);
    }

    #[test]
    fn the_parts_add_up_and_what_is_left_may_be_less_than_nothing() {
        // The study's split: 2.3 GB, 494 MB, 441 MB are 3.24 GB and not the 3.7 GB it states.
        let needs = Needs {
            weights_bytes: 2_300_000_000,
            kv_cache_bytes: 494_000_000,
            encoder_bytes: 0,
            scratch_bytes: 441_000_000,
            baseline_bytes: None,
        };
        assert_eq!(needs.total_bytes(), 3_235_000_000);
        assert_eq!(needs.headroom_bytes(4_400_000_000), 1_165_000_000);
        let beside = Needs {
            baseline_bytes: Some(2_000_000_000),
            ..needs
        };
        assert_eq!(beside.headroom_bytes(4_400_000_000), -835_000_000);
    }

    #[test]
    fn every_kind_is_read_by_its_name() {
        for kind in CacheKind::ALL {
            let name = format!("\"{}\"", kind.as_str());
            assert_eq!(serde_json::from_str::<CacheKind>(&name).unwrap(), kind);
        }
    }
}
