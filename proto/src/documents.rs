//! The documents that programs read: their JSON Schemas, as text for validators and for people.

/// JSON Schema of `bench --format json`: a document `tokwatt.bench/1`.
pub const BENCH_SCHEMA: &str = include_str!("../schema/json/bench.schema.json");

/// JSON Schema of `swap --format json`: a document `tokwatt.swap/1`.
pub const SWAP_SCHEMA: &str = include_str!("../schema/json/swap.schema.json");

/// JSON Schema of `rank --format json`: a document `tokwatt.rank/1`, a [`Board`](tokwatt_domain::leaderboard::Board).
pub const RANK_SCHEMA: &str = include_str!("../schema/json/rank.schema.json");

/// JSON Schema of `compare A B --format json`: a document `tokwatt.compare/1`.
pub const COMPARE_SCHEMA: &str = include_str!("../schema/json/compare.schema.json");

/// JSON Schema of `compare --over KEY --format json`: a document `tokwatt.history/1`.
pub const HISTORY_SCHEMA: &str = include_str!("../schema/json/history.schema.json");

/// JSON Schema of `recommend NAME --format json`: a document `tokwatt.recommend/1`.
pub const RECOMMEND_SCHEMA: &str = include_str!("../schema/json/recommend.schema.json");

/// JSON Schema of `estimate … --format json`: a document `tokwatt.estimate/1`.
pub const ESTIMATE_SCHEMA: &str = include_str!("../schema/json/estimate.schema.json");

/// JSON Schema of `rank --allow-mixed-scope --format json`: a document `tokwatt.boards/1`, [`Boards`](tokwatt_domain::leaderboard::Boards),
/// each of which is one of [`RANK_SCHEMA`].
pub const BOARDS_SCHEMA: &str = include_str!("../schema/json/boards.schema.json");

/// JSON Schema of `campaign show NAME --format json`: a document `tokwatt.campaign/1`, a
/// [`CampaignView`](tokwatt_domain::campaign::CampaignView).
pub const CAMPAIGN_SCHEMA: &str = include_str!("../schema/json/campaign.schema.json");
