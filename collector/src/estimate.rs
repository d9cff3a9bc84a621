//! What a plan comes to: memory, time, energy, money.
