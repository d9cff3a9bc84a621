//! What energy costs.

/// J / 3,600,000 · price: what so much energy costs at a price per kWh, in whatever the price is in.
pub fn electricity(joules: f64, price_per_kwh: f64) -> f64 {
    kilowatt_hours(joules) * price_per_kwh
}

/// J / 3,600,000.
pub fn kilowatt_hours(joules: f64) -> f64 {
    joules / JOULES_PER_KWH
}

const JOULES_PER_KWH: f64 = 3.6e6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kilowatt_for_an_hour_costs_its_price() {
        assert_eq!(electricity(1000.0 * 3600.0, 0.3), 0.3);
        // The study's 0.051 J a token: a million of them are 14 Wh.
        assert!((kilowatt_hours(0.051 * 1e6) - 0.014_167).abs() < 1e-6);
    }
}
