//! Optical character recognition, in the child: a grey page goes in, text with word boxes and confidences comes out.
//!
//! * [`raster`]: the grey page
//! * [`engine`]: the narrow face of one warm Tesseract engine
//! * [`page_plan`]: what is done to a page: blank check, first reading, what to try when that reading is poor
//! * [`page_look`], [`ink_cells`]: what can be seen of a page without reading it
//! * [`orientation`]: pages that lie on their side or upside down; [`skew`]: pages that lie askew
//! * [`grain`]: the noise of scanned paper
//! * [`vertical`]: the size of vertical writing; [`stamp_ink`]: coloured stamps over print
//! * [`page_lines`]: the text out of the engine's lines: wrapped words whole again, cells apart
//! * [`clean`]: the text as readers and search engines want it
//! * [`models`], [`fingerprint`]: where the models are and what names their work; pure, used by the parent too

pub mod clean;
pub mod engine;
pub mod fingerprint;
pub mod grain;
pub mod ink_cells;
pub mod models;
pub mod orientation;
pub mod page_lines;
pub mod page_look;
pub mod page_plan;
pub mod raster;
pub mod skew;
pub mod stamp_ink;
pub mod vertical;

pub use engine::Engine;
pub use raster::Raster;
