//! Pictures of figures: what is shown, and how it is drawn.
